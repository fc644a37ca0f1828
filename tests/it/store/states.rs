//! States and newest records: written with the round that moves their partition, and with no other.

use super::*;
use millrace::store::StateRow;

/// Up to this many rows a round is one statement, above it goes by COPY.
const SMALL: i64 = 3;
const LARGE: i64 = 2_500;

fn state(as_of: i64, bytes: &[u8]) -> StateRow {
    StateRow { as_of, newest_ms: 7, bytes: bytes.into() }
}

fn folding() -> Provenance {
    Provenance { fold: Some("0123456789ab".into()), keeps_latest: true, ..provenance() }
}

/// With a key of its own a record, but for the last two, which share one.
fn keyed(mut advance: Advance) -> Advance {
    let mut records = (*advance.records).clone();
    let last = records.len();
    for (number, record) in records.iter_mut().enumerate() {
        record.key = Some(format!("k{}", number.min(last - 2)).into_bytes().into());
    }
    advance.records = Arc::new(records);
    advance
}

async fn latest(url: &str) -> Vec<(String, i64)> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_as("SELECT convert_from(key, 'UTF8'), \"offset\" FROM millrace.latest ORDER BY \"offset\"")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

async fn states(store: &PostgresStore, partition: i32) -> Vec<(Box<str>, StateRow)> {
    let mut found = store.states(&key(partition), &["a".into(), "b".into(), "none".into()]).await.unwrap();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

async fn with_the_round(events: i64) {
    let url = database().await;
    let (store, first, second) = opened(&url).await;
    let moves = Advance {
        states: vec![("a".into(), state(11, b"one")), ("b".into(), state(12, b""))],
        fold_from: 11,
        ..keyed(advance(0, first, 10..10 + events))
    };
    let stale = Advance { states: vec![("a".into(), state(99, b"never"))], ..keyed(advance(1, Uuid::new_v4(), 10..20)) };
    assert_eq!(store.decide(&folding(), &[moves, stale]).await.unwrap(), [input(0)]);
    assert_eq!(states(&store, 0).await, [("a".into(), state(11, b"one")), ("b".into(), state(12, b""))]);
    assert_eq!(states(&store, 1).await, []);
    let found = row(&store, 0).await;
    assert_eq!((found.fold_from, found.fold.as_deref()), (11, Some("0123456789ab")));
    let newest = latest(&url).await;
    assert_eq!(newest.len() as i64, events - 1, "each key once");
    assert_eq!(newest.last().unwrap().1, 10 + events - 1, "the later record of the key that two share");
    // A decide that stands still brings states alone; the newest record of a key gives way.
    let end = 10 + events;
    let still = Advance {
        states: vec![("a".into(), state(end, b"two"))],
        fold_from: end,
        records: Arc::default(),
        events: 0,
        ..advance(0, first, end..end)
    };
    assert_eq!(store.decide(&folding(), &[still]).await.unwrap(), [input(0)]);
    assert_eq!(states(&store, 0).await[0], ("a".into(), state(end, b"two")));
    assert_eq!(row(&store, 0).await.fold_from, end);
    let newer = keyed(advance(1, second, 10..12));
    assert_eq!(store.decide(&folding(), &[newer]).await.unwrap(), [input(1)]);
    assert_eq!(latest(&url).await.len() as i64, events - 1, "the key was there");
    assert_eq!(latest(&url).await.iter().filter(|(key, offset)| key == "k0" && *offset == 11).count(), 1);
}

/// Would catch: states of a partition that did not move, states left out, S or the fold's digest not written, a key twice.
#[tokio::test]
async fn states_and_newest_records_go_with_a_small_round() {
    with_the_round(SMALL).await;
}

/// Would catch the same where the round goes by COPY.
#[tokio::test]
async fn states_and_newest_records_go_with_a_large_round() {
    with_the_round(LARGE).await;
}

/// Would catch: one that was given up and is carried out after the rest was written: S would stay below P in an idle partition, and what somebody
/// deleted under the same claim would be there again.
#[tokio::test]
async fn a_late_decide_that_stands_still_takes_nothing_back() {
    let url = database().await;
    let (store, claim, _) = opened(&url).await;
    let moves = Advance { fold_from: 10, ..advance(0, claim, 10..13) };
    let still = |fold_from: i64, key: &str| Advance {
        states: vec![(key.into(), state(13, key.as_bytes()))],
        fold_from,
        records: Arc::default(),
        events: 0,
        ..advance(0, claim, 13..13)
    };
    assert_eq!(store.decide(&folding(), &[moves]).await.unwrap(), [input(0)]);
    assert_eq!(store.decide(&folding(), &[still(11, "a")]).await.unwrap(), [input(0)]);
    assert_eq!(store.decide(&folding(), &[still(13, "b")]).await.unwrap(), [input(0)]);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM millrace.state").execute(&mut connection).await.unwrap();
    assert_eq!(store.decide(&folding(), &[still(11, "a")]).await.unwrap(), [], "nothing is left to write");
    assert_eq!(row(&store, 0).await.fold_from, 13);
    assert_eq!(states(&store, 0).await, []);
}

/// Would catch: a state that goes back behind what a later decide has written, while a long past is folded: what lies between would be in no state.
#[tokio::test]
async fn a_late_decide_takes_no_state_back() {
    let url = database().await;
    let (store, claim, _) = opened(&url).await;
    let moves = Advance { fold_from: 10, ..advance(0, claim, 10..13) };
    let still = |fold_from: i64, bytes: &[u8]| Advance {
        states: vec![("a".into(), state(fold_from, bytes))],
        fold_from,
        records: Arc::default(),
        events: 0,
        ..advance(0, claim, 13..13)
    };
    assert_eq!(store.decide(&folding(), &[moves]).await.unwrap(), [input(0)]);
    assert_eq!(store.decide(&folding(), &[still(12, b"newer")]).await.unwrap(), [input(0)]);
    assert_eq!(store.decide(&folding(), &[still(11, b"older")]).await.unwrap(), [input(0)]);
    assert_eq!(row(&store, 0).await.fold_from, 12);
    assert_eq!(states(&store, 0).await, [("a".into(), state(12, b"newer"))]);
}
