//! Kafka's own commands on the pages: each logs in, and runs with the rights that are given for it.

use super::files::{blocks, pages, text};
use crate::deployed::{ran, shipped, tools};
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, Stage};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

/// Pages beside the runbooks that name commands of Kafka's.
const OTHERS: [&str; 5] = ["delivery", "migrating", "operations", "stopped", "upgrading"];

/// Each command of a page, fenced or in a sentence, that is more than a name.
fn commands(page: &str) -> Vec<String> {
    let inline = page.split('`').skip(1).step_by(2);
    let lines = page.lines().chain(inline).map(str::trim);
    let is_one = |line: &&str| line.starts_with("kafka-") && line.is_ascii() && line.contains(".sh ");
    lines.filter(is_one).map(str::to_owned).collect()
}

fn runbooks() -> Vec<(String, String)> {
    let lists = ["README", "halts/README"].map(|list| (list.to_owned(), text(&format!("docs/runbooks/{list}.md"))));
    pages().into_iter().chain(lists).collect()
}

/// Would catch: a command that gives a login to no broker, and ends in a time-out on each cluster that asks for one.
#[test]
fn kafka_commands_of_the_pages_log_in() {
    let others = OTHERS.map(|page| (page.to_owned(), text(&format!("docs/{page}.md"))));
    let mut found = 0;
    for (page, text) in runbooks().into_iter().chain(others) {
        for command in commands(&text) {
            let consumes = command.starts_with("kafka-console-");
            let login = if consumes { r#" --consumer.config "$CLIENT""# } else { r#" "${KAFKA[@]}""# };
            assert!(command.contains(login), "{page}: `{command}` does not log in: it lacks{login}");
            assert!(
                consumes || !command.contains("--bootstrap-server"),
                "{page}: `{command}` names brokers beside those of KAFKA"
            );
            found += 1;
        }
    }
    assert!(found > 12, "{found}");
}

/// Would catch: a line typed at night that makes a topic keep less than it did, and so deletes what it is to save; one that is typed before anybody has seen
/// what it changes.
#[test]
fn no_command_of_the_pages_shortens_what_a_topic_keeps() {
    let mut found = 0;
    for (page, text) in runbooks() {
        let commands = commands(&text);
        for (at, changes) in commands.iter().enumerate().filter(|(_, command)| command.contains(" --add-config ")) {
            assert!(changes.ends_with(" --add-config retention.ms=-1,retention.bytes=-1"), "{page}: `{changes}`");
            let seen = commands[..at].iter().any(|before| before.contains("--describe --all --entity-type topics"));
            assert!(seen, "{page}: `{changes}` comes before the look at what the topic keeps");
            found += 1;
        }
    }
    assert!(found > 0);
}

/// What stands in the block of README that everybody begins with.
fn array() -> String {
    let all = blocks(&text("docs/runbooks/README.md"), "sh").join("\n");
    all.lines().find(|line| line.starts_with("KAFKA=(")).unwrap().to_owned()
}

/// As whoever the file of properties in `home` is; as a superuser on a listener that asks for no login.
fn typed(stage: &Stage, brokers: &str, home: &Path, command: &str) -> Output {
    let client = if *brokers == stage.brokers { "/dev/null".into() } else { home.join("client.properties") };
    let command = command.replace("TOPIC", &stage.name).replace(" N ", " 0 ").replace("OFFSET", "0").replace("-id ID", "-id 1");
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euc", &format!("{}\n{command}", array())]).env("PATH", path).env("BROKERS", brokers);
    bash.env("CLIENT", client).env("PIPELINE", &stage.name).output().unwrap()
}

fn said(ended: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr))
}

/// Would catch: a right that a command of the runbooks takes and `acls.sh --look` does not give; a command that Kafka does not know; rights that are there
/// without it, so that the option is for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_commands_of_the_runbooks_run_with_the_rights_to_look() {
    // A Kafka of its own: on the common one the user is given topics by other tests too, and not with their settings.
    let kafka = tokio::task::spawn_blocking(|| Service::up(Kind::Kafka)).await.unwrap();
    let (brokers, stage) =
        (kafka.limited(), Stage::of(Plan { partitions: 1, brokers: kafka.address(), ..Plan::default() }).await);
    stage.send(0, 5);
    stage.run_until(5).await;
    let folder = tempfile::tempdir().unwrap();
    let home = tools(folder.path());
    let login =
        "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"limited\" password=\"limited-development\";";
    let properties = format!("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={login}\n");
    std::fs::write(folder.path().join("client.properties"), properties).unwrap();
    let all: BTreeSet<String> = runbooks().iter().flat_map(|(_, text)| commands(text)).collect();
    assert!(all.len() >= 8, "{all:?}");

    let group = all.iter().find(|command| command.contains("--group")).unwrap();
    let refused = typed(&stage, &brokers, folder.path(), group);
    assert!(said(&refused).contains("GroupAuthorizationException"), "{refused:?}");
    let topics = [stage.name.clone(), stage.output(), stage.dead_letters()].join(",");
    let mut look = Command::new(shipped("kafka/acls.sh"));
    ran(look.args(["--look", &stage.brokers, "User:limited", &stage.name, &topics]).env("KAFKA_HOME", &home));
    for command in &all {
        // Who may look may change nothing: that takes a right of its own, as the page says.
        let changes = command.contains(" --alter ");
        let refused = changes.then(|| said(&typed(&stage, &brokers, folder.path(), command)));
        assert!(refused.as_ref().is_none_or(|said| said.contains("AuthorizationException")), "{refused:?}");
        let ended = typed(&stage, if changes { &stage.brokers } else { &brokers }, folder.path(), command);
        let said = said(&ended);
        assert!(ended.status.success() && !said.contains("Exception") && !said.contains("Error"), "{command}: {said}");
    }
}
