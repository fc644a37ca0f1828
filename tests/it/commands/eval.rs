//! `millrace eval recommend` as it is called.

use crate::support::absent::absent;
use std::path::Path;
use std::process::Command;

fn eval(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["eval", "recommend"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Would catch a protocol that does not run, figures without their support, and a seed that does nothing.
#[test]
fn every_protocol_runs_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken.tsv");
    let mut text = String::from("user\titem\tts\n");
    for number in 0..600u64 {
        text += &format!("{}\t{}\t{}\n", number % 40, (number * number + number / 40) % 60, 1_700_000_000 + number * 60);
    }
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let with = |protocol: &str, sample: &str, more: &[&str]| {
        let config = format!("deploy/samples/{sample}.toml");
        let arguments = ["--protocol", protocol, "--input", file, "--config", &config, "--json"];
        let (code, out, err) = eval(&[&arguments[..], more].concat());
        assert_eq!(code, Some(0), "{protocol}: {err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let cases = [("uni100", 40), ("full", 40), ("full-filter", 40), ("prequential", 480), ("session", 0)];
    for (protocol, support) in cases {
        let report = with(protocol, "recommend-fresh", &[]);
        assert_eq!(report["support"], support, "{report}");
        assert!(["HR@10", "NDCG@10", "MRR@20", "HitRate@20", "seconds"].iter().all(|name| report[name].is_number()), "{report}");
    }
    assert_eq!(with("session", "recommend-sessions", &["--test", file])["support"], 560);
    let seeded = |seed: &str| with("uni100", "recommend-sequence", &["--seed", seed])["NDCG@10"].clone();
    assert!(seeded("1") == seeded("1") && seeded("1") != seeded("2"));
}

/// Would catch wrong usage that ends like a failure, or without a word of what to do.
#[test]
fn a_config_without_signals_is_wrong_usage() {
    let (code, _, err) = eval(&["--protocol", "full", "--input", "x", "--config", "deploy/millrace.toml"]);
    assert!(code == Some(2) && err.contains("[recommend]"), "{code:?} {err}");
    let (code, _, err) = eval(&["--protocol", "full", "--input", "none.tsv", "--config", "deploy/samples/recommend-fresh.toml"]);
    assert!(code == Some(1) && err.contains("none.tsv"), "{code:?} {err}");
}

/// Would catch session neighbours that foresee less than the published ones. Needs the click sessions beside the repository.
#[test]
fn session_neighbours_are_as_good_as_published() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/recsys/serenade-toy");
    let (train, test) = (folder.join("train.txt.gz"), folder.join("valid.txt"));
    if !train.exists() || !test.exists() {
        absent(format!("{} is not here", train.display()));
        return;
    }
    let (train, test) = (train.to_string_lossy().into_owned(), test.to_string_lossy().into_owned());
    let config = "deploy/samples/recommend-sessions.toml";
    let (code, out, err) = eval(&["--protocol", "session", "--input", &train, "--test", &test, "--config", config, "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let figure = |name: &str| report[name].as_f64().unwrap();
    assert!(figure("HitRate@20") >= 0.64 && figure("MRR@20") >= 0.33, "{report}");
}
