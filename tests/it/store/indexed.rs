//! The index that `millrace migrate` builds beside workers that write.

use super::{PIPELINE, advance, input, key, provenance};
use crate::support::{database, store};
use millrace::record::Mode;
use millrace::store::Store;
use millrace::store::postgres::{SCHEMA_VERSION, migrate};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use uuid::Uuid;

const VALID: &str =
    "SELECT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('millrace.record_decided_at')), false)";
const BUILDS: &str = "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database())";

async fn is(connection: &mut PgConnection, question: &str) -> bool {
    sqlx::query_scalar(question).fetch_one(connection).await.unwrap()
}

/// Would catch: a build that holds up decides, one that takes what an interrupted build left for the index, two migrations of which one
/// waits inside a transaction that the other's build waits for.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_is_built_while_rows_are_written_and_anew_after_an_interruption() {
    let url = database().await;
    let mut old = PgConnection::connect(&url).await.unwrap();
    let mut other = PgConnection::connect(&url).await.unwrap();
    let worker = store(&url).await;
    worker.open(PIPELINE, 1, Mode::Both, &[(input(0), 10)]).await.unwrap();
    let claim = Uuid::new_v4();
    worker.claim(&key(0), claim, "w").await.unwrap();
    let undone = "DROP INDEX millrace.record_decided_at; DELETE FROM millrace.migration WHERE version = 10";
    sqlx::raw_sql(undone).execute(&mut other).await.unwrap();

    // An older transaction that has written: a build waits for it. One that was given up leaves an index that cannot be used.
    sqlx::raw_sql("BEGIN; LOCK TABLE millrace.record IN ROW EXCLUSIVE MODE; SELECT pg_current_xact_id()")
        .execute(&mut old)
        .await
        .unwrap();
    sqlx::raw_sql("SET statement_timeout = '500ms'").execute(&mut other).await.unwrap();
    let given_up = sqlx::raw_sql("CREATE INDEX CONCURRENTLY record_decided_at ON millrace.record USING brin (decided_at)")
        .execute(&mut other)
        .await;
    assert!(given_up.is_err());
    sqlx::raw_sql("RESET statement_timeout").execute(&mut other).await.unwrap();
    assert!(is(&mut other, "SELECT to_regclass('millrace.record_decided_at') IS NOT NULL").await && !is(&mut other, VALID).await);

    let migrating = || {
        let (url, runtime) = (url.clone(), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || runtime.block_on(migrate(&url)))
    };
    let migrations = [migrating(), migrating()];
    let waits =
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype IN ('virtualxid', 'transactionid', 'relation'))";
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is(&mut other, waits).await {
        assert!(Instant::now() < deadline, "nothing waits for the older transaction");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // While it waits, decides go on: a lock that refuses writers, or queues before them, would hold this one.
    let (provenance, round) = (provenance(), [advance(0, claim, 10..13)]);
    let moved = tokio::time::timeout(Duration::from_secs(4), worker.decide(&provenance, &round)).await;
    assert_eq!(moved.expect("a decide waits for the migration").unwrap(), [input(0)]);
    assert!(migrations.iter().all(|migration| !migration.is_finished()));
    sqlx::raw_sql("COMMIT").execute(&mut old).await.unwrap();
    let mut applied = 0;
    for migration in migrations {
        let migrated = migration.await.unwrap().unwrap();
        assert_eq!(migrated.version, SCHEMA_VERSION);
        applied += migrated.applied;
    }
    assert_eq!(applied, 1);
    assert!(is(&mut other, VALID).await && !is(&mut other, BUILDS).await);
    let pages: String = sqlx::query_scalar("SELECT pg_get_indexdef(to_regclass('millrace.record_decided_at'))")
        .fetch_one(&mut other)
        .await
        .unwrap();
    assert!(pages.contains("pages_per_range") && pages.contains("32"), "it is still what the interrupted build began: {pages}");
}
