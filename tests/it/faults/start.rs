//! A worker whose neighbours are not there when it starts.

use crate::process::Process;
use crate::support::stage::{Stage, Worker};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::net::TcpListener;
use std::time::Duration;

/// An address of loopback at which nothing listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Would catch: a start that hangs, ends in success, or does not say who is away.
fn ends_and_names(worker: &mut Worker, who: &str) {
    assert_eq!(worker.end().code(), Some(1), "{}", worker.log());
    let log = worker.log();
    let last = log.lines().rfind(|line| line.starts_with("millrace: ")).unwrap_or_else(|| panic!("no last word; log:\n{log}"));
    assert!(last.contains(who), "the last word does not say that {who} is away: {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_the_start_fails_and_says_so() {
    let stage = Stage::new("").await;
    stage.reconfigure(&format!("brokers = \"{}\"", stage.brokers), &format!("brokers = \"{}\"", nobody()));
    ends_and_names(&mut stage.worker(), "Kafka does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_start_fails_and_says_so() {
    let stage = Stage::new("").await;
    let url = format!("postgres://postgres@{}/nowhere", nobody());
    stage.reconfigure(&stage.url, &url);
    ends_and_names(&mut stage.worker(), "Postgres");
}

/// Would catch: a pipeline that joins its group, and may claim partitions, before its neighbours could be built.
#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_cannot_be_built_leaves_the_others_unstarted() {
    let stage = Stage::new("").await;
    let mut text = std::fs::read_to_string(stage.config()).unwrap();
    text.push_str(
        "\n[[pipeline]]\nname = \"bad\"\ntopic = \"there-is-no-such-topic\"\nevent = \"transaction\"\nfunction = \"copy\"\n",
    );
    std::fs::write(stage.config(), text).unwrap();
    ends_and_names(&mut stage.worker(), "there-is-no-such-topic");
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &stage.brokers).create().unwrap();
    let groups = consumer.fetch_group_list(Some(&stage.name), Duration::from_secs(30)).unwrap();
    let joined: Vec<&str> = groups.groups().iter().map(|group| group.state()).filter(|state| *state != "Dead").collect();
    assert!(joined.is_empty(), "the good pipeline has joined its group: {joined:?}");
}

/// Would catch: a worker that has nothing to do and says that all went well.
#[test]
fn without_a_pipeline_the_start_is_wrong_usage() {
    let mut process = Process::start("[admin]\nlisten = \"127.0.0.1:0\"", &[("DATABASE_URL", "postgres://nobody")]);
    assert_eq!(process.end(), Some(2), "{}", process.log());
    assert!(process.log().contains("has no [[pipeline]]"), "{}", process.log());
}

/// Would catch: an old worker that is refused after a newer `migrate` in a rolling deploy, and one that goes on when a migration has
/// taken away what it uses; a `migrate` that tells its own version instead of the database's.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_only_when_it_says_so() {
    let stage = Stage::new("").await;
    let newer = "INSERT INTO millrace.migration (version, name, digest) VALUES (1000, 'of a newer program', '')";
    stage.execute(newer).await;
    let mut worker = stage.worker();
    stage.send(0, 10);
    stage.decided(10).await;
    worker.drain();
    let migrate = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_millrace"));
        let output = command.arg("migrate").arg("--config").arg(stage.config()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(migrate(), "schema millrace is at version 1000 (0 applied now)\n");
    stage.execute("UPDATE millrace.migration SET min_compatible = 999 WHERE version = 1000").await;
    ends_and_names(&mut stage.worker(), "works with programs from version 999 on");
    stage.execute("DELETE FROM millrace.migration WHERE version > 2").await;
    ends_and_names(&mut stage.worker(), "run `millrace migrate`");
}
