//! What is forgotten, by hand; that it is the same whenever rows are deleted, see the tests of the cache.

use super::*;
use crate::state::dialogue::DialogueFold;
use crate::state::dialogue::tests::{fold, message};
use crate::state::in_memory::InMemory;
use serde_json::{Value, json};

/// After the first messages of a partition, all of minute 0: its clock is set.
fn forgetting(after_minutes: i64) -> InMemory<Forgetting<DialogueFold>> {
    let mut states = InMemory::new(Forgetting::new(fold("gap = '30m'"), after_minutes * 60_000));
    (0..IN_A_ROW).for_each(|i| _ = turn(&mut states, &format!("first {i}"), "first", 0));
    states
}

/// Which message of its session it is.
fn turn(states: &mut InMemory<Forgetting<DialogueFold>>, id: &str, conversation: &str, minute: i64) -> Value {
    let event = message(id, conversation, minute, &json!({ "text": "x" }));
    states.apply(&event).unwrap().document.unwrap()["turn"].clone()
}

/// Would catch: a conversation that is forgotten by its own clock alone, or too early; one that is never forgotten.
#[test]
fn a_state_is_forgotten_by_the_clock_of_the_partition() {
    let mut states = forgetting(60);
    assert_eq!([turn(&mut states, "1", "a", 0), turn(&mut states, "2", "a", 10)], [1, 2]);
    // A message that comes late, while the partition is at minute 70: just not forgotten.
    assert_eq!(turn(&mut states, "3", "b", 70), 1);
    assert_eq!(turn(&mut states, "4", "a", 20), 3);
    // One minute more behind: nothing is known any more, though the session would go on.
    assert_eq!(turn(&mut states, "5", "b", 81), 2);
    assert_eq!(turn(&mut states, "6", "a", 25), 1);
    assert_eq!(turn(&mut states, "7", "a", 26), 2);
    // What is older than all of that is forgotten at once; the clock does not go back.
    assert_eq!([turn(&mut states, "8", "c", 10), turn(&mut states, "9", "c", 11)], [1, 1]);
}

/// The clock of a partition.
fn clock(states: &InMemory<Forgetting<DialogueFold>>) -> Clock {
    match states.all().into_iter().find(|(key, _)| *key == CLOCK) {
        Some((_, Kept::Clock(clock))) => *clock,
        other => panic!("{other:?}"),
    }
}

const MINUTES_A_DAY: i64 = 1_440;

/// Would catch: one producer whose clock is wrong, and a partition that forgets all; a partition that was silent and never forgets again.
#[test]
fn a_single_time_that_is_wrong_moves_no_clock() {
    let mut states = forgetting(30 * MINUTES_A_DAY);
    let far = 3_000 * MINUTES_A_DAY;
    assert_eq!(turn(&mut states, "1", "a", 10), 1);
    // Among others, however many they are.
    for i in 0..100 {
        let wrong = turn(&mut states, &format!("wrong {i}"), &format!("wrong {i}"), far + i);
        assert_eq!((wrong, turn(&mut states, &format!("right {i}"), "a", 11)), (1.into(), (i + 2).into()));
    }
    assert_eq!(clock(&states).newest_ms, clock(&forgetting(1)).newest_ms + 11 * 60_000);
    // A day ahead moves it at once.
    turn(&mut states, "2", "b", 11 + MINUTES_A_DAY);
    assert_eq!(clock(&states).ahead, 0);
    assert_eq!(turn(&mut states, "3", "a", 12), 102);
    // After a silence of the whole partition all are ahead.
    for i in 0..i64::from(IN_A_ROW) {
        assert_eq!(clock(&states).ahead, i as u32);
        turn(&mut states, &format!("after {i}"), "c", 40 * MINUTES_A_DAY + 100 - i);
    }
    let earliest = 40 * MINUTES_A_DAY + 100 - i64::from(IN_A_ROW - 1);
    assert_eq!(clock(&states), Clock::at(clock(&forgetting(1)).newest_ms + earliest * 60_000));
    assert_eq!(turn(&mut states, "4", "a", 13), 1);
}

/// Would catch: a partition whose first event is of another century.
#[test]
fn a_first_time_that_is_wrong_sets_no_clock() {
    let mut states = InMemory::new(Forgetting::new(fold("gap = '30m'"), 60 * 60_000));
    turn(&mut states, "1", "wrong", 3_000 * MINUTES_A_DAY);
    for i in 1..i64::from(IN_A_ROW) {
        assert_eq!(clock(&states).newest_ms, i64::MIN);
        turn(&mut states, &format!("first {i}"), "a", 50 - i);
    }
    assert_eq!(clock(&states), Clock::at(clock(&forgetting(1)).newest_ms + (51 - i64::from(IN_A_ROW)) * 60_000));
}

#[test]
fn states_are_read_as_they_were_written() {
    let mut states = forgetting(60);
    turn(&mut states, "1", "a", 3);
    let all = states.all();
    assert_eq!(all.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["clock", "conversation:a", "conversation:first"]);
    for (key, state) in all {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        // `millrace.forget` is told what the row of the clock says.
        assert_eq!(newest_of(&bytes).ok().flatten(), (key == CLOCK).then(|| clock(&states).newest_ms));
        assert_eq!(&<Forgetting<DialogueFold> as Fold>::State::decode(&bytes).unwrap(), state);
        assert!(state.cost_bytes() > 0);
    }
    type State = <Forgetting<DialogueFold> as Fold>::State;
    assert_eq!((State::decode(&[]), newest_of(&[])), (Ok(Kept::Nothing), Ok(None)));
    for broken in [&[1][..], &[1, 2, 3], &[1, 2, 3, 4, 5], &[0, 2, 9], &[7]] {
        assert!(State::decode(broken).is_err(), "{broken:?}");
    }
}

/// Would catch: states of another length of memory that are gone on with, a conversation whose name no row can hold.
#[test]
fn the_digest_tells_the_length() {
    let digest = |minutes: i64| Forgetting::new(fold(""), minutes * 60_000).digest().to_owned();
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
    assert_ne!(digest(1), fold("").digest());
    let event = message("1", "a\0b", 0, &json!({ "text": "x" }));
    assert_eq!(Forgetting::new(fold(""), 1).read(&event).err().unwrap().code, "nul_character");
}
