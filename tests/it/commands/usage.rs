//! Exit code 2 is for words and config that must be changed, 1 for what may be tried again.

use crate::support::command::Ended;
use crate::support::services::{Kind, Service};
use crate::support::stage::Stage;
use std::time::{Duration, Instant};

/// Would catch: a program that tries again what can never succeed.
#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_changed_ends_with_2() {
    let stage = Stage::small().await;
    stage.reconfigure(&format!("url = \"{}\"", stage.url), "");
    for command in [&["run"][..], &["migrate"], &["verify"], &["adopt"], &["dead-letters", "list"]] {
        let ended = stage.millrace(command);
        assert!(ended.code == Some(2) && ended.err.contains("no database is named"), "{command:?}: {ended:?}");
    }
    stage.reconfigure("[postgres]", &format!("[telemetry]\nlevel = \"loud=very\"\n[postgres]\nurl = \"{}\"", stage.url));
    let ended = stage.millrace(&["run"]);
    assert!(ended.code == Some(2) && ended.err.contains("loud=very"), "{ended:?}");
    for (args, text) in [(&["sing"][..], "there is no function"), (&["copy", "--options", "{"], "--options")] {
        let ended = stage.without_config(&[&["call"], args].concat());
        assert!(ended.code == Some(2) && ended.err.contains(text), "{ended:?}");
    }
}

/// Would catch: an outage told as a fault of the config.
#[tokio::test(flavor = "multi_thread")]
async fn check_ends_with_1_when_a_service_is_down_and_2_when_something_is_wrong() {
    let kafka = Service::up(Kind::Kafka);
    let stage = Stage::small_at(&kafka.address()).await;
    let check = || stage.millrace(&["check", "--connect", "--json"]);
    let away = |ended: &Ended, about: &str| {
        let findings = ended.json()["findings"].as_array().unwrap().clone();
        findings.iter().any(|finding| finding["level"] == "away" && finding["about"] == about)
    };
    // A broker that has just started may not tell of new topics at once.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut ended = check();
    while ended.code != Some(0) && Instant::now() < deadline {
        ended = check();
    }
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let port = stage.url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
    stage.reconfigure(&format!(":{port}/"), ":1/");
    let ended = check();
    assert!(ended.code == Some(1) && away(&ended, "postgres") && !away(&ended, "kafka"), "{ended:?}");
    stage.reconfigure(":1/", &format!(":{port}/"));
    kafka.tell(&["stop"]);
    let ended = check();
    assert!(ended.code == Some(1) && away(&ended, "kafka") && !away(&ended, "postgres"), "{ended:?}");
    assert!(ended.out.contains("tried security.protocol `plaintext`"), "{ended:?}");
    stage.reconfigure("amount / 100", "amount / (");
    let ended = check();
    assert_eq!(ended.code, Some(2), "both: what is wrong counts: {ended:?}");
}
