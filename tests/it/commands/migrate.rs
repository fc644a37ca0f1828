//! What a migration would do, told before.

use crate::support::{database, empty_database};
use sqlx::{Connection, PgConnection, query_scalar};
use std::process::Command;

fn plan(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("millrace.toml");
    std::fs::write(&config, "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'transaction'\nfunction = 'copy'\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let ended = command.args(["migrate", "--plan", "--config"]).arg(&config).env("DATABASE_URL", url).output().unwrap();
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
