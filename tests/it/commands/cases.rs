//! `millrace test`, as it is run in the repository's folder.

use serde_json::{Value, json};
use std::process::{Command, Output};

fn test(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("test").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("DATABASE_URL");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Would catch: a sample whose expectations do not hold, with the models that are shipped.
#[test]
fn the_samples_pass() {
    for (args, count) in [
        (&["--config", "deploy/millrace.toml", "deploy/samples/millrace.cases.jsonl"][..], 6),
        (&["--config", "deploy/samples/risk-text.toml", "--pipeline", "account-risk", "deploy/samples/risk-text.cases.jsonl"], 4),
        (&["--config", "deploy/samples/reply-stream.toml", "deploy/samples/reply-stream.cases.jsonl"], 3),
    ] {
        let ended = test(&[args, &["--json"]].concat());
        let told: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        assert_eq!((ended.status.code(), &told["passed"]), (Some(0), &json!(count)), "{told:#}{}", text(&ended.stderr));
    }
    let every = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples")).unwrap();
    let cases = every.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".cases.jsonl")).count();
    assert_eq!(cases, 3, "a file of cases is not run here");
}

const CONFIG: &str = "[[pipeline]]\nname = \"a\"\ntopic = \"a\"\nevent = \"transaction\"\nfunction = \"copy\"\n\
                      options = { fields = [\"amount\"], score = \"amount / 3\" }\n";

/// Would catch: a failure that passes, a difference that cannot be read, an update that changes what it should not, a report without its failure.
#[test]
fn a_failure_is_told_and_an_update_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, cases, junit) = (folder.path().join("c.toml"), folder.path().join("x.jsonl"), folder.path().join("j.xml"));
    std::fs::write(&config, CONFIG).unwrap();
    let event = |amount: f64| json!({ "id": 1, "account": "a", "amount": amount, "currency": "EUR", "time": 1 });
    let good = json!({ "name": "good", "event": event(3.0), "expect": { "score": 1.0 } }).to_string();
    let near = json!({ "name": "near", "event": event(1.0), "expect": { "score": 0.33 }, "tolerance": 0.05 }).to_string();
    let bad = json!({ "name": "bad", "event": event(1.0), "expect": { "score": 0.33, "gone": 1 } }).to_string();
    let empty = json!({ "name": "empty", "event": event(6.0) }).to_string();
    std::fs::write(&cases, [good.clone(), near.clone(), bad, empty].join("\n")).unwrap();
    let run = |more: &[&str]| {
        let paths = ["--config", config.to_str().unwrap(), folder.path().to_str().unwrap()];
        test(&[&paths[..], more].concat())
    };
    let failed = run(&["--junit", junit.to_str().unwrap()]);
    let said = text(&failed.stdout);
    assert_eq!(failed.status.code(), Some(1), "{said}");
    for part in [
        "ok      good",
        "ok      near",
        "FAILED  bad (line 3",
        "score is another number: expected 0.33, found 0.3333",
        "gone is not there",
        "2 passed, 2 failed",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = std::fs::read_to_string(&junit).unwrap();
    assert!(report.contains("failures=\"2\"") && report.contains("gone is not there"), "{report}");

    let updated = run(&["--update"]);
    assert!(updated.status.success() && text(&updated.stdout).contains("2 cases now expect"), "{}", text(&updated.stdout));
    let lines: Vec<String> = std::fs::read_to_string(&cases).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines[..2], [good, near]);
    assert!(lines[2].ends_with(r#""expect": {"score":0.3333333333333333}}"#), "{}", lines[2]);
    assert!(lines[3].contains(r#""score":2.0"#), "{}", lines[3]);
    assert_eq!(run(&[]).status.code(), Some(0));

    std::fs::write(&cases, "{\"event\": 1, \"expect\": {}}\n{\"evnt\": 1}").unwrap();
    let wrong = run(&[]);
    assert!(
        wrong.status.code() == Some(2) && text(&wrong.stderr).contains("x.jsonl:2: unknown field"),
        "{}",
        text(&wrong.stderr)
    );
    std::fs::write(&cases, "{\"events\": [1, 2], \"expect\": {}}").unwrap();
    let wrong = run(&[]);
    assert!(wrong.status.code() == Some(2) && text(&wrong.stderr).contains("remembers nothing"), "{}", text(&wrong.stderr));
}
