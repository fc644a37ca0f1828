//! The first rows of a run: where a worker begins, where somebody has chosen, and with whose states.

use super::*;
use millrace::store::StateRow;
use millrace::store::postgres::Begin;

fn state(as_of: i64, bytes: &[u8]) -> (Box<str>, StateRow) {
    ("a".into(), StateRow { as_of, newest_ms: 7, bytes: bytes.into() })
}

fn begin(partition: i32, (fold_from, from): (i64, i64), keeps: Option<i32>) -> Begin {
    Begin { partition: input(partition), fold_from, from, keeps }
}

async fn begun(store: &PostgresStore, run: i32, begins: &[Begin]) -> Result<(), StoreError> {
    store.new_run(PIPELINE, run, Mode::Both, begins).await?.commit().await
}

/// P, S, the fold and where it began to fold, by partition.
async fn standing(url: &str, run: i32) -> Vec<(i64, i64, Option<String>, Option<i64>)> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_as(
        "SELECT next_offset, fold_from, fold, fold_start FROM millrace.stream_partition WHERE run = $1 ORDER BY partition",
    )
    .bind(run)
    .fetch_all(&mut connection)
    .await
    .unwrap()
}

/// Would catch: a new run without the states that it was to keep, with those of another partition, of another run or of a moment before; an earlier run that
/// loses its own; a row that does not say by which fold, or since when.
#[tokio::test]
async fn a_new_run_goes_on_with_states_where_they_stand() {
    let url = database().await;
    let (store, first, second) = opened(&url).await;
    assert_eq!(standing(&url, 1).await, vec![(10, 10, None, Some(10)); 2], "a worker says where it begins");
    let by = Provenance { fold: Some("0123456789ab".into()), ..provenance() };
    let moves = |partition, claim| Advance {
        states: vec![state(14, format!("of {partition}").as_bytes())],
        fold_from: 14,
        ..advance(partition, claim, 10..15)
    };
    store.decide(&by, &[moves(0, first), moves(1, second)]).await.unwrap();

    // 1 has moved since somebody looked; S of 0 has gone back, which nothing does.
    for stale in [begin(1, (13, 14), Some(1)), begin(0, (15, 15), Some(1)), begin(1, (14, 15), Some(7))] {
        let refused = begun(&store, 2, &[begin(0, (14, 15), Some(1)), stale]).await;
        assert!(matches!(&refused, Err(StoreError::Fatal(text)) if text.contains("has moved")), "{refused:?}");
    }
    assert_eq!(standing(&url, 2).await, [], "nothing was changed");

    begun(&store, 2, &[begin(0, (3, 12), None), begin(1, (14, 15), Some(1))]).await.unwrap();
    let kept = (15, 14, Some("0123456789ab".to_owned()), Some(10));
    assert_eq!(standing(&url, 2).await, [(12, 3, None, Some(3)), kept]);
    let states = async |run, partition| store.states(&PartitionKey { run, ..key(partition) }, &["a".into()]).await.unwrap();
    assert_eq!(states(2, 0).await, []);
    assert_eq!((states(2, 1).await, states(1, 1).await), (vec![state(14, b"of 1")], vec![state(14, b"of 1")]));
    assert!(begun(&store, 2, &[begin(0, (3, 12), None)]).await.is_err(), "the run is there");
}

/// Would catch: a run that is said to have folded what retention had taken; one that has states already, or somebody else's, and whose S is moved.
#[tokio::test]
async fn where_a_run_begins_to_fold_goes_up_before_it_has_states_alone() {
    let url = database().await;
    let store = store(&url).await;
    begun(&store, 1, &[begin(0, (3, 12), None)]).await.unwrap();
    let claim = Uuid::new_v4();
    store.claim(&key(0), claim, "a").await.unwrap();
    store.folds_from(&key(0), Uuid::new_v4(), 6).await.unwrap();
    assert_eq!(standing(&url, 1).await, [(12, 3, None, Some(3))], "another's claim");
    for (to, stands) in [(6, 6), (5, 6), (99, 12)] {
        store.folds_from(&key(0), claim, to).await.unwrap();
        assert_eq!(standing(&url, 1).await, [(12, stands, None, Some(stands))]);
    }
    begun(&store, 2, &[begin(0, (3, 12), None)]).await.unwrap();
    let key = PartitionKey { run: 2, ..key(0) };
    store.claim(&key, claim, "a").await.unwrap();
    let by = Provenance { run: 2, fold: Some("0123456789ab".into()), ..provenance() };
    let stands_still =
        Advance { states: vec![state(4, b"x")], fold_from: 4, records: Arc::default(), ..advance(0, claim, 12..12) };
    assert_eq!(store.decide(&by, &[stands_still]).await.unwrap(), [input(0)]);
    store.folds_from(&key, claim, 9).await.unwrap();
    assert_eq!(standing(&url, 2).await, [(12, 4, Some("0123456789ab".to_owned()), Some(3))]);
}
