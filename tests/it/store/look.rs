//! Look-ups that read records back from the newest on, held against the whole table.

use super::*;
use millrace::store::postgres::{LetterFilter, Look, Place, Search, Wanted};
use std::time::Duration;

const DAY: i64 = 1_770_000_000_000_000;

/// Two partitions of 30,000 and 5,000 events, one event a second, in two runs; of partition 0 each thousandth event has 400 records. Every
/// offset is followed by a gap. Keys are rare.
async fn filled() -> String {
    let url = database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for statement in [
        "INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, start_offset, mode) \
         VALUES ('p', 1, 'in', 0, 90000, 0, 0, 0, 'both'), ('p', 2, 'in', 1, 90000, 0, 0, 0, 'both'), ('q', 1, 'in', 0, 7, 0, 0, 5, 'both')"
            .to_owned(),
        format!(
            "INSERT INTO millrace.record (stream, pipeline, run, topic, partition, \"offset\", n, kind, out_topic, key, value, function, model, \
             config, label, decided_at) SELECT p.stream, 'p', p.run, 'in', p.partition, e * 3, n, 'prediction', 'out', \
             convert_to('k' || e % 6997, 'UTF8'), json_build_object('event_id', 'e' || e % 4000, 'event', json_build_object('a.\"}}b', e % 9000)), 'copy', '', 'c', NULL, \
             to_timestamp({DAY} / 1000000.0) + e * interval '1 s' \
             FROM millrace.stream_partition p, generate_series(0, 29999) AS e, \
             LATERAL generate_series(0, CASE WHEN p.partition = 0 AND e % 1000 = 0 THEN 399 ELSE 0 END) AS n \
             WHERE p.pipeline = 'p' AND (p.partition = 0 OR e < 5000)"
        ),
        "ANALYZE millrace.record".to_owned(),
    ] {
        sqlx::raw_sql(&statement).execute(&mut connection).await.unwrap();
    }
    url
}

fn search<'a>(pipelines: &'a [&'a str], wanted: Wanted) -> Search<'a> {
    let time = Duration::from_secs(30);
    Search { pipelines, wanted, since: None, until: None, limit: 1_000, time, value_bytes: 1_000 }
}

/// Ids of all rows that have it, in a look over the whole table.
async fn truth(url: &str, condition: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let query = format!(
        "SELECT concat_ws('/', pipeline, run, topic, partition, \"offset\", n) FROM millrace.record r WHERE {condition} \
         ORDER BY decided_at DESC, pipeline, run DESC, topic, partition, \"offset\" DESC, n"
    );
    sqlx::query_scalar(&query).fetch_all(&mut connection).await.unwrap()
}

async fn found(look: &Look, search: &Search<'_>) -> Vec<String> {
    let found = look.search(search).await.unwrap();
    assert!(!found.more && found.reached.is_none(), "{found:?}");
    found.records.iter().map(|row| row.id.to_string()).collect()
}

/// Would catch: a record between two steps that is passed over, an event that is cut by a step, bounds of time that are off by one, an
/// index that gives another answer, a time that is over without saying how far it went.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_back_for_is_what_stands_there() {
    let url = filled().await;
    let look = Look::new(&url).unwrap();
    let at = |second: i64| DAY + second * 1_000_000;
    let key = || Wanted::Key(b"k2000".to_vec());
    let event_id = || Wanted::Field { paths: vec![vec!["event_id".to_owned()]], value: "e1500".to_owned() };
    let odd = Wanted::Field { paths: vec![vec!["event".to_owned(), "a.\"}b".to_owned()]], value: "17".to_owned() };
    let whole = truth(&url, "key = 'k2000'").await;
    // Event 2,000 of partition 0 has 400 records.
    assert_eq!(whole.len(), 400 + 4 + 1);
    let mut answers = Vec::new();
    for round in 0..2 {
        answers.push(found(&look, &search(&["p"], key())).await);
        answers.push(found(&look, &search(&["p", "q"], event_id())).await);
        for (since, until) in [(2_000, 9_000), (2_001, 9_000), (2_000, 2_001), (1_999, 2_000), (0, 100_000), (50_000, 60_000)] {
            let narrow = Search { since: Some(at(since)), until: Some(at(until)), ..search(&["p"], key()) };
            let condition = format!(
                "key = 'k2000' AND decided_at >= to_timestamp({}/1e6) AND decided_at < to_timestamp({}/1e6)",
                at(since),
                at(until)
            );
            let narrow = found(&look, &narrow).await;
            assert_eq!(narrow, truth(&url, &condition).await, "{since} to {until}, round {round}");
            answers.push(narrow);
        }
        if round == 0 {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            for wanted in [key(), event_id()] {
                let index = wanted.index().unwrap();
                sqlx::raw_sql(&index).execute(&mut connection).await.unwrap();
                let by_index = look.search(&search(&["p"], wanted)).await.unwrap();
                assert_eq!(by_index.looked_at, None, "{index} is not used");
            }
        }
    }
    assert_eq!(answers[0], whole);
    assert_eq!(answers[1], truth(&url, "value ->> 'event_id' = 'e1500'").await);
    assert_eq!(answers[..8], answers[8..], "the index says the same");
    assert_eq!(found(&look, &search(&["p"], odd.clone())).await.len(), 5);
    assert!(found(&look, &search(&["q"], odd.clone())).await.is_empty());

    let short = look.search(&Search { time: Duration::ZERO, ..search(&["p"], odd.clone()) }).await.unwrap();
    assert_eq!((short.looked_at, short.reached, short.more), (Some(0), Some(at(29_999)), true));
    let few = look.search(&Search { limit: 1, ..search(&["p"], odd) }).await.unwrap();
    assert_eq!((few.records.len(), few.more), (1, true));
    assert_eq!(few.records[0].id.to_string(), "p/1/in/0/81051/0");
    assert!(few.reached.is_some(), "it ends when it has enough: {few:?}");
}

/// Would catch: a place that is looked for in another run, an empty answer that does not tell why, a value without a bound.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_found_in_each_run_that_decided_it() {
    let url = filled().await;
    let look = Look::new(&url).unwrap();
    let place = |run, partition, offset, n| Place { run, topic: "in".into(), partition, offset, n };
    let ids = async |pipelines: &[&str], place: Place, limit| {
        let (reached, rows) = look.at(pipelines, &place, limit, 10).await.unwrap();
        assert!(rows.iter().all(|row| row.value.is_none() && row.value_bytes > 10));
        (reached, rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>())
    };
    let (reached, rows) = ids(&["p", "q"], place(None, 0, 6_000, None), 10).await;
    assert_eq!((reached.len(), rows.len()), (2, 10));
    assert_eq!(rows[9], "p/1/in/0/6000/9");
    let (_, one) = ids(&["p"], place(Some(1), 0, 6_000, Some(399)), 10).await;
    assert_eq!(one, ["p/1/in/0/6000/399"]);
    let (reached, none) = ids(&["q"], place(Some(1), 0, 6, None), 10).await;
    assert!(none.is_empty() && (reached[0].start_offset, reached[0].next_offset) == (Some(5), 7), "{reached:?}");
    assert!(ids(&["q"], place(Some(2), 0, 6, None), 10).await.0.is_empty());
}

/// Would catch: look-ups that take more connections than their own, or fail when there are more of them than connections.
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_have_few_connections_of_their_own() {
    let url = filled().await;
    let look = Look::new(&url).unwrap();
    let filter = LetterFilter { pipelines: &["p"], limit: 5, ..LetterFilter::default() };
    let all = futures_util::future::join_all((0..20).map(|_| look.letters(&filter)));
    assert!(all.await.into_iter().all(|letters| letters.unwrap().is_empty()));
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let sessions: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millrace look-up'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!((1..=3).contains(&sessions), "{sessions} connections");
}
