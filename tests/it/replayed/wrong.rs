//! What is wrong is told before anything is read or written.

use super::{changed, replay};
use crate::support::stage::Stage;
use crate::support::unique;

/// Would catch: a replay that feeds a pipeline of the config, one that never ends or silently does nothing, words that are taken for others.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_says_why() {
    let stage = Stage::drained(20).await;
    let config = stage.config().display().to_string();
    let (name, output, dead) = (&stage.name, stage.output(), stage.dead_letters());
    for (args, text) in [
        (&["--from", "earliest", "--pipeline", "nobody"][..], "has no pipeline \"nobody\""),
        (&["--yes"], "where does it begin?"),
        (&["--id", "4", "--yes"], "There is no replay 4"),
        (&["--from", "noon"], "write `earliest`"),
        (&["--from", "3"], "name it with --partition"),
        (&["--from", "900", "--partition", "0"], "beyond the end of"),
        (&["--from", "0", "--until", "900", "--partition", "0"], "beyond the end of"),
        (&["--from", "2030-01-01"], "nothing stands between"),
        (&["--from", "earliest", "--partition", "9"], "has no partition 9"),
        (&["--from", "earliest", "--fold-from", "earliest"], "remembers nothing"),
        (&["--from", "earliest", "--rate", "0"], "above 0"),
        (&["--from", "earliest", "--yield-lag", "some"], "yield-lag"),
        (&["--from", "earliest", "--yield-lag", "0"], "would wait for ever"),
        (&["--from", "earliest", "--id", "2147483647", "--yes"], "from 1 to 1000000"),
        (&["--from", "earliest", "--id", "0", "--yes"], "from 1 to 1000000"),
        (&["--from", "earliest", "--publish-to", name], "is the input of"),
        (&["--from", "earliest", "--publish-to", &output], "is the output topic of"),
        (&["--from", "earliest", "--publish-to", &dead], "is the dead-letter topic of"),
    ] {
        let ended = replay(&stage, &config, args);
        assert!(ended.code == Some(2) && ended.err.contains(text), "{args:?}: {ended:?}");
    }
    let missing = unique("missing");
    let ended = replay(&stage, &config, &["--from", "earliest", "--publish-to", &missing]);
    assert!(ended.code == Some(1) && ended.err.contains("does not exist"), "{ended:?}");
    let own = changed(
        &stage,
        "own.toml",
        "[[pipeline]]",
        &format!(
            "[[pipeline]]\nname = \"{name}.replay-1\"\ntopic = \"x\"\nevent = \"transaction\"\nfunction = \"copy\"\noptions = {{ fields = [\"amount\"] }}\n[[pipeline]]"
        ),
    );
    let ended = replay(&stage, &own, &["--from", "earliest", "--pipeline", name, "--yes"]);
    assert!(ended.code == Some(2) && ended.err.contains("rename it"), "{ended:?}");
    assert_eq!(stage.number("SELECT count(*) FROM millrace.replay").await, 0);
}

/// Would catch: a replay that a worker's user may not do, and a removal that he may.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_replays_and_the_owner_removes() {
    let stage = Stage::drained(20).await;
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let config = stage.config().display().to_string();
    let done = replay(&stage, &config, &["--from", "earliest", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let refused = stage.millrace(&["replay", "remove", "1", "--yes"]);
    assert!(refused.code == Some(1) && refused.err.contains("needs the role millrace_owner"), "{refused:?}");
    stage.execute(&format!("REVOKE millrace_worker FROM {user}; GRANT millrace_reader TO {user}")).await;
    assert_eq!(stage.millrace(&["replay", "list"]).code, Some(0));
    stage.execute(&format!("GRANT millrace_owner TO {user}")).await;
    let removed = stage.millrace(&["replay", "remove", "1", "--yes"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    stage.execute(&format!("REVOKE millrace_reader, millrace_owner FROM {user}; DROP ROLE {user}")).await;
}
