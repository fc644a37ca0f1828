//! What is forgotten, by hand; that it is the same whenever rows are deleted, see the tests of the cache.

use super::*;
use crate::state::dialogue::DialogueFold;
use crate::state::dialogue::tests::{fold, message};
use crate::state::in_memory::InMemory;
use serde_json::{Value, json};

fn forgetting(after_minutes: i64) -> InMemory<Forgetting<DialogueFold>> {
    InMemory::new(Forgetting::new(fold("gap = '30m'"), after_minutes * 60_000))
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

#[test]
fn states_are_read_as_they_were_written() {
    let mut states = forgetting(60);
    turn(&mut states, "1", "a", 3);
    let all = states.all();
    assert_eq!(all.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["clock", "conversation:a"]);
    for (_, state) in all {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        assert_eq!(&<Forgetting<DialogueFold> as Fold>::State::decode(&bytes).unwrap(), state);
        assert!(state.cost_bytes() > 0);
    }
    type State = <Forgetting<DialogueFold> as Fold>::State;
    assert_eq!(State::decode(&[]), Ok(Kept::Nothing));
    for broken in [&[1][..], &[1, 2, 3], &[0, 2, 9], &[7]] {
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
