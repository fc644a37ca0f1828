//! The store against a real Postgres: fences, counts, rights.

use crate::support::{database, empty_database, store, unique};
use millrace::event::TopicPartition;
use millrace::record::{Kind, Mode, Provenance, Record};
use millrace::store::postgres::{Endings, PostgresSettings, PostgresStore, SCHEMA_VERSION, endings, migrate};
use millrace::store::{Advance, PartitionKey, PartitionRow, Store, StoreError};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

mod begins;
mod heads;
mod indexed;
mod login;
mod look;
mod read_again;
mod shadow;
mod states;

const PIPELINE: &str = "p";
const OWN: &str = "own@1";

fn provenance() -> Provenance {
    Provenance {
        pipeline: PIPELINE.into(),
        run: 1,
        function: "copy/1".into(),
        model: OWN.into(),
        config: "c".into(),
        fold: None,
        keeps_latest: false,
    }
}

fn input(partition: i32) -> TopicPartition {
    TopicPartition::new("in", partition)
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey { pipeline: PIPELINE.into(), run: 1, partition: input(partition) }
}

fn record(partition: i32, offset: i64, n: i16, kind: Kind) -> Record {
    Record {
        partition,
        offset,
        n,
        kind,
        out_topic: "out".into(),
        key: Some([0xff, 0][..].into()),
        traceparent: (n == 0).then(|| "00-a\"b".into()),
        value: format!("{{\"offset\": {offset}, \"text\":\"naïve 😂\"}}").into(),
        label: Some("positive".into()),
        score: Some(0.1),
        model: None,
        config: None,
    }
}

/// As the rows tell them: each names its model.
fn named(records: &[Record]) -> Vec<Record> {
    let model = |record: &Record| record.model.clone().or(Some(OWN.into()));
    let config = |record: &Record| record.config.clone().or(Some("c".into()));
    records.iter().map(|record| Record { model: model(record), config: config(record), ..record.clone() }).collect()
}

/// Decides the events at `offsets`, each with one prediction.
fn advance(partition: i32, claim: Uuid, offsets: std::ops::Range<i64>) -> Advance {
    Advance {
        partition: input(partition),
        claim,
        from: offsets.start,
        to: offsets.end,
        event_time_ms: Some(1_704_067_200_123),
        events: offsets.end - offsets.start,
        skipped: 0,
        dead: 0,
        published_offset: offsets.start,
        fold_from: offsets.end,
        states: Vec::new(),
        records: Arc::new(offsets.map(|offset| record(partition, offset, 0, Kind::Prediction)).collect()),
    }
}

/// A store with the partitions 0 and 1 open at offset 10, and one claim of 0.
async fn opened_by(url: &str, owner: &str) -> PostgresStore {
    let store = store(url).await;
    store.open(PIPELINE, 1, Mode::Both, &[(input(0), 10), (input(1), 10)]).await.unwrap();
    store.claim(&key(0), Uuid::new_v4(), owner).await.unwrap();
    store
}

/// A store with the partitions 0 and 1 open at offset 10, and one claim of each.
async fn opened(url: &str) -> (PostgresStore, Uuid, Uuid) {
    let store = store(url).await;
    store.open(PIPELINE, 1, Mode::Both, &[(input(0), 10), (input(1), 10)]).await.unwrap();
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    for (partition, claim) in [(0, first), (1, second)] {
        let row = store.claim(&key(partition), claim, "a").await.unwrap().unwrap();
        assert_eq!((row.claim, row.epoch, row.next_offset, row.published_offset, row.idle_claims), (claim, 1, 10, 10, 1));
    }
    (store, first, second)
}

async fn row(store: &PostgresStore, partition: i32) -> PartitionRow {
    store.read(&key(partition), true).await.unwrap().unwrap()
}

async fn rows(store: &PostgresStore, partition: i32) -> Vec<Record> {
    store.records(&key(partition), 0, i64::MAX, None, 1000).await.unwrap()
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let url = empty_database().await;
    let (first, second) = (migrate(&url).await.unwrap(), migrate(&url).await.unwrap());
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let files = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "sql")).count();
    assert_eq!((first.applied, second.applied, second.version), (files, 0, SCHEMA_VERSION));
    store(&url).await;
}

/// Would catch: rows that lose their partition, or partitions that share a number, when the narrow key meets a filled database.
#[tokio::test]
async fn the_narrow_key_keeps_every_row_with_its_partition() {
    let mut connection = PgConnection::connect(&empty_database().await).await.unwrap();
    let before = [
        "CREATE SCHEMA millrace; CREATE TABLE millrace.migration (version integer PRIMARY KEY)",
        include_str!("../../migrations/0001_streams_and_records.sql"),
        include_str!("../../migrations/0002_roles.sql"),
        include_str!("../../migrations/0003_dead_letter_marks.sql"),
        include_str!("../../migrations/0004_start_offset.sql"),
        "INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, mode) \
         SELECT 'p', run, 'in', partition, 10, 0, 0, 'both' FROM generate_series(1, 2) run, generate_series(0, 2) partition",
        // Partition 3 has rows and no row of its own.
        "INSERT INTO millrace.record (pipeline, run, topic, partition, \"offset\", n, kind, out_topic, value, function, model, config) \
         SELECT 'p', run, 'in', partition, number, 0, 'prediction', 'out', '{}', 'copy', '', '' \
         FROM generate_series(1, 2) run, generate_series(0, 3) partition, generate_series(0, 9) number",
        include_str!("../../migrations/0005_narrow_key.sql"),
        "INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, next_offset, published_offset, fold_from, mode) \
         VALUES ('p', 3, 'in', 0, 0, 0, 0, 'both')",
    ];
    for text in before {
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    }
    let counts: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE p.stream IS NULL), count(DISTINCT r.stream), count(*) FILTER (WHERE p.run = 3) \
         FROM millrace.record r LEFT JOIN millrace.stream_partition p ON p.stream = r.stream \
         AND (p.run = 3 OR (p.pipeline, p.run, p.topic, p.partition) = (r.pipeline, r.run, r.topic, r.partition))",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(counts, (80, 20, 8, 0), "rows, those without a partition, numbers, rows of the partition that came later");
}

/// Would catch: a row that names the pipeline's model though another one made the record (in a large round too, see below).
#[tokio::test]
async fn a_decide_moves_the_offset_and_writes_the_rows() {
    let (store, claim, _) = opened(&database().await).await;
    let mut mixed = advance(0, claim, 10..13);
    let mut records = mixed.records.to_vec();
    (records[1].model, records[1].config) = (Some("other@2".into()), Some("d".into()));
    mixed.records = Arc::new(records);
    let round = [mixed];
    assert_eq!(store.decide(&provenance(), &round).await.unwrap(), [input(0)]);
    let row = row(&store, 0).await;
    assert_eq!((row.next_offset, row.fold_from, row.events, row.records, row.idle_claims), (13, 13, 3, 3, 0));
    assert_eq!(rows(&store, 0).await, named(&round[0].records), "a row is the record, byte for byte");
    let after = store.records(&key(0), 10, 13, Some((10, 0)), 1).await.unwrap();
    assert_eq!(after.iter().map(|record| record.offset).collect::<Vec<_>>(), [11]);
}

#[tokio::test]
async fn a_second_claim_fences_the_first_one_and_no_other_partition() {
    let (store, old, other) = opened(&database().await).await;
    let new = Uuid::new_v4();
    assert_eq!(store.claim(&key(0), new, "b").await.unwrap().unwrap().epoch, 2);
    let round = [advance(0, old, 10..12), advance(1, other, 10..12)];
    assert_eq!(store.decide(&provenance(), &round).await.unwrap(), [input(1)]);
    assert_eq!((row(&store, 0).await.next_offset, rows(&store, 0).await.len()), (10, 0));
    assert_eq!((row(&store, 1).await.next_offset, rows(&store, 1).await.len()), (12, 2));
    assert_eq!(store.decide(&provenance(), &[advance(0, new, 10..12)]).await.unwrap(), [input(0)]);
}

#[tokio::test]
async fn a_repeated_decide_writes_nothing() {
    let (store, claim, _) = opened(&database().await).await;
    let round = [advance(0, claim, 10..12)];
    assert_eq!(store.decide(&provenance(), &round).await.unwrap().len(), 1);
    let before = (row(&store, 0).await, rows(&store, 0).await);
    assert_eq!(store.decide(&provenance(), &round).await.unwrap(), []);
    assert_eq!((row(&store, 0).await, rows(&store, 0).await), before);
}

/// Events of a round that goes by COPY; those of the other tests go by the statement over arrays.
const LARGE: i64 = 4_000;

/// Would catch: a COPY that writes the rows of what did not move, loses some, encodes a column in another way, or keeps its
/// transaction open on a connection that others get.
#[tokio::test]
async fn a_large_round_is_fenced_and_written_as_a_small_one_is() {
    let (store, old, other) = opened(&database().await).await;
    let new = Uuid::new_v4();
    store.claim(&key(0), new, "b").await.unwrap().unwrap();
    let mut large = advance(1, other, 10..10 + LARGE);
    let mut records: Vec<Record> = large.records.to_vec();
    (records[1].key, records[1].label, records[1].score, records[1].traceparent) = (None, None, None, None);
    (records[2].n, records[2].kind, records[2].model) = (1, Kind::DeadLetter, Some("other@2".into()));
    (records[3].model, records[4].config) = (Some("third@3".into()), Some("e".into()));
    large.records = Arc::new(records);
    let round = [advance(0, old, 10..10 + LARGE), large];
    assert_eq!(store.decide(&provenance(), &round).await.unwrap(), [input(1)]);
    assert_eq!((row(&store, 0).await.next_offset, rows(&store, 0).await.len()), (10, 0));
    let moved = row(&store, 1).await;
    assert_eq!((moved.next_offset, moved.events, moved.records, moved.idle_claims), (10 + LARGE, LARGE, LARGE, 0));
    let found = store.records(&key(1), 0, i64::MAX, None, 2 * LARGE).await.unwrap();
    assert_eq!(found, named(&round[1].records), "a row is the record, byte for byte");
    assert_eq!(store.decide(&provenance(), &round).await.unwrap(), [], "a repeated round writes nothing");
    assert_eq!(store.decide(&provenance(), &[advance(0, new, 10..10 + LARGE)]).await.unwrap(), [input(0)]);
    assert_eq!(store.records(&key(0), 0, i64::MAX, None, 2 * LARGE).await.unwrap().len() as i64, LARGE);
}

/// Would catch: a refusal of the data that is taken for another trouble, or that leaves a part of the round behind.
#[tokio::test]
async fn data_that_postgres_refuses_is_told_as_such_and_leaves_nothing() {
    let (store, claim, _) = opened(&database().await).await;
    for events in [3, LARGE] {
        for spoil in [|record: &mut Record| record.value = "{".into(), |record: &mut Record| record.label = Some("a\0b".into())] {
            let mut bad = advance(0, claim, 10..10 + events);
            let mut records = bad.records.to_vec();
            spoil(records.last_mut().unwrap());
            bad.records = Arc::new(records);
            let error = store.decide(&provenance(), &[bad]).await.unwrap_err();
            assert!(matches!(&error, StoreError::Data(detail) if !detail.contains('{')), "{error}");
            assert_eq!((row(&store, 0).await.next_offset, rows(&store, 0).await.len()), (10, 0));
        }
    }
    assert_eq!(store.decide(&provenance(), &[advance(0, claim, 10..13)]).await.unwrap(), [input(0)]);
}

#[tokio::test]
async fn counts_add_up() {
    let url = database().await;
    let (store, claim, other) = opened(&url).await;
    // 10: two predictions; 11: skipped; 12: a dead letter; 13: one prediction.
    let mut mixed = advance(0, claim, 10..14);
    (mixed.skipped, mixed.dead) = (1, 1);
    mixed.records = Arc::new(vec![
        record(0, 10, 0, Kind::Prediction),
        record(0, 10, 1, Kind::Prediction),
        record(0, 12, 0, Kind::DeadLetter),
        record(0, 13, 0, Kind::Prediction),
    ]);
    store.decide(&provenance(), &[mixed, advance(1, other, 10..12)]).await.unwrap();
    store.decide(&provenance(), &[advance(0, claim, 14..15)]).await.unwrap();
    let row = row(&store, 0).await;
    assert_eq!((row.events, row.records, row.skipped, row.dead), (5, 5, 1, 1));
    let found = endings(&url, PIPELINE).await.unwrap();
    assert_eq!(found, Endings { events: 7, predictions: 6, dead_letters: 1, distinct_events: 6 });
}

#[tokio::test]
async fn the_worker_may_decide_but_neither_delete_nor_alter_nor_rewrite_a_record() {
    let url = database().await;
    let (store, claim, _) = opened(&url).await;
    store.decide(&provenance(), &[advance(0, claim, 10..12)]).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("SET ROLE millrace_worker").execute(&mut connection).await.unwrap();
    for forbidden in [
        "DELETE FROM millrace.record",
        "DELETE FROM millrace.stream_partition",
        "TRUNCATE millrace.record",
        "UPDATE millrace.record SET value = '{}'",
        "ALTER TABLE millrace.record ADD COLUMN x int",
        "ALTER TABLE millrace.stream_partition DROP COLUMN claim",
        "DROP TABLE millrace.record",
        "CREATE TABLE millrace.x (a int)",
    ] {
        let error = sqlx::raw_sql(forbidden).execute(&mut connection).await.expect_err(forbidden);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{forbidden}: {error}");
    }
    for allowed in
        ["UPDATE millrace.stream_partition SET owner = 'w'", "SELECT * FROM millrace.record", "SELECT * FROM millrace.migration"]
    {
        sqlx::raw_sql(allowed).execute(&mut connection).await.expect(allowed);
    }
    connection.close().await.unwrap();
    assert_eq!(rows(&store, 0).await.len(), 2);
}

/// Would catch: an event condemned by deaths that were not its own, by claims without any death, or by a statement said twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_counted_each_time_it_is_in_work_alone() {
    let store = opened_by(&database().await, "first").await;
    let claims = |owner: &'static str, claim| {
        let store = &store;
        async move {
            let row = store.claim(&key(0), claim, owner).await.unwrap().unwrap();
            (row.idle_claims, row.suspect_offset)
        }
    };
    let (a, b, c) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(claims("second", a).await, (2, None), "two claims without progress");
    assert_eq!(claims("second", a).await, (2, None), "who claims again what it held has not died");
    assert_eq!(claims("third", a).await, (3, None));
    for _ in 0..2 {
        assert!(store.suspect(&key(0), a, 10, 1).await.unwrap());
    }
    assert_eq!(claims("fourth", b).await, (1, Some(10)), "in work alone once; the claim itself counts nothing");
    assert!(!store.suspect(&key(0), a, 11, 1).await.unwrap(), "the old claim names no suspect");
    assert!(store.suspect(&key(0), b, 10, 2).await.unwrap());
    assert_eq!(claims("fifth", c).await, (2, Some(10)), "and once more");
    store.published(&key(0), c, 10, false).await.unwrap();
    assert_eq!(row(&store, 0).await.suspect_offset, Some(10), "what is published stands below the suspect");
    store.published(&key(0), c, 10, true).await.unwrap();
    let row = row(&store, 0).await;
    assert_eq!((row.idle_claims, row.suspect_offset), (0, None), "an orderly handover suspects nobody");
}

/// Would catch: partitions that are silently left out because their number is taken, to be opened later at another start.
#[tokio::test]
async fn a_partition_whose_number_is_taken_is_not_left_out_in_silence() {
    let url = database().await;
    let (store, ..) = opened(&url).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // As after a load without the sequence.
    sqlx::raw_sql("ALTER SEQUENCE millrace.stream_partition_stream_seq RESTART").execute(&mut connection).await.unwrap();
    let error = store.open(PIPELINE, 1, Mode::Both, &[(input(2), 10)]).await.unwrap_err();
    assert!(matches!(&error, StoreError::Fatal(text) if text.contains("setval")), "{error}");
    // A row that is there stays as it is.
    sqlx::raw_sql("SELECT setval('millrace.stream_partition_stream_seq', 100)").execute(&mut connection).await.unwrap();
    store.open(PIPELINE, 1, Mode::Both, &[(input(1), 70), (input(2), 10)]).await.unwrap();
    assert_eq!((row(&store, 1).await.next_offset, row(&store, 2).await.next_offset), (10, 10));
}

/// Would catch: a database that cannot hold every text, found at the first event it refuses.
#[tokio::test]
async fn a_database_of_another_encoding_is_refused_by_migrate_and_connect() {
    let url = empty_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let name = unique("latin");
    let made = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    sqlx::raw_sql(&made).execute(&mut connection).await.unwrap();
    let latin = PgConnectOptions::from_str(&url).unwrap().database(&name).to_url_lossy().to_string();
    let settings = PostgresSettings { max_connections: 1, statement_timeout_ms: 10_000, acquire_timeout_ms: 10_000 };
    for error in [migrate(&latin).await.err(), PostgresStore::connect(&latin, &settings).await.err()] {
        let error = error.expect("refused").to_string();
        assert!(error.contains("LATIN1") && error.contains("UTF8"), "{error}");
    }
}
