//! What a migration would do, told before, and what it is refused.

use crate::support::{database, empty_database};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, query_scalar};
use std::path::Path;
use std::process::{Command, Output};
use std::str::FromStr;

fn migrate(url: &str, option: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("millrace.toml");
    std::fs::write(&config, "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'transaction'\nfunction = 'copy'\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("migrate").arg("--config").arg(&config).args(option.split_whitespace()).env("DATABASE_URL", url).output().unwrap()
}

fn plan(url: &str) -> String {
    let ended = migrate(url, "--plan");
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

/// Would catch: a plan that migrates; one that does not say that workers must be stopped; one that is wrong about what is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_whether_workers_must_be_stopped_and_changes_nothing() {
    let empty = empty_database().await;
    let said = plan(&empty);
    assert!(said.contains("at version 0") && said.contains("narrow key") && !said.contains("CONTRACTS"), "{said}");
    let mut connection = PgConnection::connect(&empty).await.unwrap();
    let there: bool = query_scalar("SELECT to_regnamespace('millrace') IS NOT NULL").fetch_one(&mut connection).await.unwrap();
    assert!(!there, "the plan made a schema");

    let url = database().await;
    assert!(plan(&url).contains("nothing to migrate"), "{}", plan(&url));
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM millrace.migration WHERE version > 4").execute(&mut connection).await.unwrap();
    let said = plan(&url);
    assert!(
        said.contains("at version 4") && said.contains("narrow key  CONTRACTS") && said.contains("Stop all workers first"),
        "{said}"
    );
    sqlx::query("INSERT INTO millrace.migration (version, name, digest) VALUES (5, 'narrow key', '')")
        .execute(&mut connection)
        .await
        .unwrap();
    let said = plan(&url);
    assert!(!said.contains("CONTRACTS") && said.contains("Workers may go on"), "{said}");
}

/// A database as the first migrations leave it.
async fn at_version(last: usize) -> (String, PgConnection) {
    let url = empty_database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let known = "CREATE SCHEMA millrace; CREATE TABLE millrace.migration (version integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL, \
                 applied_at timestamptz NOT NULL DEFAULT now(), min_compatible integer NOT NULL DEFAULT 1)";
    sqlx::raw_sql(known).execute(&mut connection).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    for (place, file) in files.iter().take(last).enumerate() {
        let text = std::fs::read_to_string(file).unwrap();
        sqlx::raw_sql(&text).execute(&mut connection).await.unwrap();
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        sqlx::query("INSERT INTO millrace.migration (version, name, digest) VALUES ($1, 'as it was', $2)")
            .bind(place as i32 + 1)
            .bind(digest)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    (url, connection)
}

/// Would catch: a migration that takes away what workers use while they run, under a chart's hook or by hand; one that is refused halfway; a way that
/// stays closed once they are gone, or where a pooler keeps what they had.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_contracts_waits_for_workers_to_be_stopped() {
    for option in ["", "--force"] {
        let (url, mut connection) = at_version(3).await;
        let worker = PgConnectOptions::from_str(&url).unwrap().application_name("millrace").connect().await.unwrap();
        let refused = migrate(&url, "");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(said.contains("migration 5 (narrow key)") && said.contains("are open here: 1, of postgres"), "{said}");
        let version: i32 = query_scalar("SELECT max(version) FROM millrace.migration").fetch_one(&mut connection).await.unwrap();
        assert_eq!(version, 3, "it was refused halfway");
        if option.is_empty() {
            worker.close().await.unwrap();
            // Postgres may take a moment to see it.
            let sessions =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'millrace'";
            while query_scalar::<_, i64>(sessions).fetch_one(&mut connection).await.unwrap() > 0 {}
        }
        let migrated = migrate(&url, option);
        assert!(migrated.status.success(), "{option}: {migrated:?}");
        assert!(plan(&url).contains("nothing to migrate"));
    }
}
