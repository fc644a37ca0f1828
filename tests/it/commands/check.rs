//! `millrace check --connect` finds what would stop `run`.

use crate::support::command::Ended;
use crate::support::stage::Stage;
use crate::support::{create_topic_with, empty_database};

fn check(stage: &Stage) -> Ended {
    stage.millrace(&["check", "--connect", "--json"])
}

fn assert_wrong(stage: &Stage, text: &str) {
    let ended = check(stage);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let wrong: Vec<_> =
        ended.json()["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "wrong").cloned().collect();
    assert!(wrong.len() == 1 && wrong[0]["text"].as_str().unwrap().contains(text), "{text:?} alone is wrong: {wrong:#?}");
}

/// Would catch: false alarms, and checks that do not run.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_good_is_good_and_too_many_rights_are_a_warning() {
    let stage = Stage::small().await;
    let ended = check(&stage);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in [
        "answers, 1 brokers",
        "has 2 partitions",
        "takes messages of",
        "is at version",
        "may DELETE on millrace.record",
        "function copy answers",
    ] {
        assert!(ended.out.contains(text), "{text}: {ended:?}");
    }
    // A user with the worker's role alone.
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    let ended = check(&stage);
    assert!(ended.code == Some(0) && !ended.out.contains("\"warning\""), "{ended:?}");
    stage.execute(&format!("REVOKE millrace_worker FROM {user}; GRANT millrace_reader TO {user}")).await;
    let ended = check(&stage);
    assert!(ended.code == Some(2) && ended.out.contains("may not INSERT on millrace.record"), "{ended:?}");
    stage.execute(&format!("DROP ROLE {user}")).await;
}

/// Would catch: a check that asks for less than `run` needs.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_stop_a_worker_is_found() {
    let stage = Stage::small().await;
    let (name, url) = (stage.name.clone(), stage.url.clone());
    stage.reconfigure(&format!("{name}.out"), "not-there");
    assert_wrong(&stage, "`not-there` does not exist");

    let small = format!("{name}.small");
    create_topic_with(&small, 1, &[("max.message.bytes", "50000")]).await;
    stage.reconfigure("not-there", &small);
    assert_wrong(&stage, "takes messages of 50000 bytes");
    stage.reconfigure(&small, &format!("{name}.out"));

    stage.reconfigure(&url, &empty_database().await);
    assert_wrong(&stage, "millrace migrate");
    stage.reconfigure("/t_", "/no_such_");
    assert_wrong(&stage, "the database cannot be used");
}

/// Would catch: a model folder that is not opened, or whose digest is not compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_is_found() {
    let stage = Stage::small().await;
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/sentiment-en");
    stage.reconfigure("event = \"transaction\"", "event = \"chat_message\"\nmodel = \"starter\"");
    stage.reconfigure("function = \"copy\"", "function = \"sentiment\"");
    stage.reconfigure("fields = [\"amount\"], score = \"amount / 100\"", "max_text_tokens = 100");
    stage.reconfigure("[[pipeline]]", &format!("[models.starter]\npath = \"{model}\"\n[[pipeline]]"));
    let ended = check(&stage);
    assert!(ended.code == Some(0) && ended.out.contains("function sentiment answers with model starter@"), "{ended:?}");
    stage.reconfigure("[[pipeline]]", &format!("digest = \"{}\"\n[[pipeline]]", "0".repeat(64)));
    assert_wrong(&stage, "has sha256");
}

/// Would catch: a look at a machine in trouble that loads all models once more; one that leaves out brokers or database with them.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_without_models_loads_none() {
    let stage = Stage::small().await;
    let broken = stage.config().with_file_name("broken");
    std::fs::create_dir(&broken).unwrap();
    stage.reconfigure("event = \"transaction\"", "event = \"chat_message\"\nmodel = \"broken\"");
    stage.reconfigure("function = \"copy\"", "function = \"sentiment\"");
    stage.reconfigure("fields = [\"amount\"], score = \"amount / 100\"", "max_text_tokens = 100");
    stage.reconfigure("[[pipeline]]", &format!("[models.broken]\npath = {:?}\n[[pipeline]]", broken.display().to_string()));
    assert_eq!(check(&stage).code, Some(2), "a model that cannot be loaded is good");
    let look = || stage.millrace(&["check", "--connect", "--no-models", "--json"]);
    let ended = look();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in ["answers, 1 brokers", "has 2 partitions", "takes messages of", "is at version"] {
        assert!(ended.out.contains(text), "{text}: {ended:?}");
    }
    stage.reconfigure(&format!("{}.out", stage.name), "not-there");
    assert!(look().out.contains("`not-there` does not exist"));
    let alone = stage.millrace(&["check", "--no-models"]);
    assert!(alone.code == Some(2) && alone.err.contains("--connect"), "{alone:?}");
}
