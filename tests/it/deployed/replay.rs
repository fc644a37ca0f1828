//! Who may replay: the rights that `acls.sh` gives and the runbooks name.

use super::{ran, shipped, tools};
use crate::support::stage::{Plan, Stage};
use crate::support::{create_topic, read_committed};
use std::process::Command;

/// Would catch: rights of `acls.sh --replay` that are not enough for a replay; a table of the runbooks that names a login which is refused; a
/// replay that goes with the workers' rights alone, so that the option is for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_takes_the_rights_that_the_runbooks_name() {
    let stage = Stage::of(Plan { partitions: 1, ..Plan::default() }).await;
    let side = format!("{}.side", stage.name);
    create_topic(&side, 1).await;
    stage.send(0, 5);
    stage.run_until(5).await;
    let folder = tempfile::tempdir().unwrap();
    let home = tools(folder.path());
    let (name, output, dead) = (&*stage.name, stage.output(), stage.dead_letters());
    // As roles.sql has them; that one changes logins of the whole server, beside the other test.
    let [app, owner] = ["app", "owner"].map(|login| format!("{name}_{login}"));
    for (login, role) in [(&app, "millrace_worker"), (&owner, "millrace_owner")] {
        stage.execute(&format!("CREATE ROLE {login} LOGIN; GRANT {role} TO {login}")).await;
    }
    let allow = |words: &[&str]| ran(Command::new(shipped("kafka/acls.sh")).args(words).env("KAFKA_HOME", &home));
    allow(&[&stage.brokers, "User:limited", name, name, &output, &dead]);
    let limited = std::env::var("MILLRACE_LOCAL_LIMITED_BROKERS").expect("run this test through `make test`");
    let login =
        "security = \"sasl_plaintext\"\nsasl_mechanism = \"PLAIN\"\nusername = \"limited\"\npassword = \"limited-development\"";
    stage.reconfigure(&format!("brokers = \"{}\"", stage.brokers), &format!("brokers = \"{limited}\"\n{login}"));
    stage.reconfigure("postgres://postgres@", &format!("postgres://{app}@"));

    // Slowly: it reads what it may, and might be done before Kafka has refused it the group.
    let refused = stage.millrace(&["replay", "--from", "earliest", "--rate", "0.2", "--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("may read it and the group"), "{refused:?}");
    allow(&["--replay", &stage.brokers, "User:limited", name, name, &side]);
    let done = stage.millrace(&["replay", "--id", "1", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = stage.millrace(&["replay", "--from", "earliest", "--publish-to", &side, "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(read_committed(&side).len(), 5);

    let remove = ["replay", "remove", "1", "--yes"];
    let refused = stage.millrace(&remove);
    assert!(refused.code == Some(1) && refused.err.contains("millrace_owner"), "{refused:?}");
    stage.reconfigure(&format!("postgres://{app}@"), &format!("postgres://{owner}@"));
    let removed = stage.millrace(&remove);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    stage.execute(&format!("DROP ROLE {app}; DROP ROLE {owner}")).await;
}
