//! Who may run which command, and what a refusal says.

use crate::support::command::Ended;
use crate::support::empty_database;
use crate::support::stage::Stage;

fn assert_refused(ended: &Ended, needs: &str) {
    assert!(ended.code == Some(1) && ended.err.contains("42501") && ended.err.contains(needs), "{needs}: {ended:?}");
}

/// Would catch: a refusal that sends an operator to the worker's role, with which it is refused again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_role_that_is_missing() {
    let stage = Stage::drained(20).await;
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let id = format!("{user}/1/{user}/1/3/0");
    for command in ["discard", "redrive"] {
        assert_refused(&stage.millrace(&["dead-letters", command, &id]), "needs the role millrace_owner");
    }
    assert_eq!(stage.millrace(&["verify"]).code, Some(0));
    stage.execute(&format!("GRANT millrace_owner TO {user}")).await;
    assert_eq!(stage.millrace(&["dead-letters", "discard", &id]).code, Some(0));
    stage.execute(&format!("REVOKE millrace_owner, millrace_worker FROM {user}")).await;
    assert_refused(&stage.millrace(&["verify"]), "needs the role millrace_worker");
    stage.execute(&format!("DROP ROLE {user}")).await;
}

/// Would catch: a migration that makes roles which are there, and so needs a right that the owner of a database has not.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_database_migrates_it_when_the_roles_are_there() {
    let stage = Stage::small().await;
    let (user, url) = (format!("{}_o", stage.name), empty_database().await);
    stage.execute(&format!("CREATE ROLE {user} LOGIN")).await;
    stage.reconfigure(&stage.url, &url.replace("postgres://postgres@", &format!("postgres://{user}@")));
    assert_refused(&stage.millrace(&["migrate"]), "needs the owner of the database");
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    stage.execute(&format!("ALTER DATABASE {database} OWNER TO {user}")).await;
    let ended = stage.millrace(&["migrate"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}
