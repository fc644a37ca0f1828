//! `millrace eval risk` as it is called.

use crate::support::absent::absent;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn eval(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["eval", "risk"]).args(arguments).current_dir(folder);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn report(folder: &Path, arguments: &[&str], code: i32) -> Value {
    let (ended, out, err) = eval(folder, &[arguments, &["--json"]].concat());
    assert_eq!(ended, Some(code), "{err}");
    serde_json::from_str(&out).unwrap()
}

/// The margin is the sum of the account's amounts in a day, less ten.
const CONFIG: &str = r#"
[models.sum]
path = "sum.json"
[[pipeline]]
name = "p"
topic = "t"
event = "json"
function = "risk"
model = "sum"
options = { policy = "policy.toml" }
[pipeline.risk]
feature = [
  { name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d", filter = "kind == 'payment'" },
]
"#;

/// Sums 1, 3, 3, 3, 8 of five asked accounts; the second and the fifth are bad; the third is asked twice, a day later with nothing.
const EVENTS: &str = "id,time,account,kind,amount,bad,half,foretold\n\
    1,0,A,payment,1,,,\n2,0,B,payment,3,,,\n3,0,C,payment,1,,,\n4,1,C,payment,2,,,\n5,1,D,payment,3,,,\n6,1,E,payment,8,,,\n\
    7,2,A,asked,,0,x,0.0001233945759862\n8,2,B,asked,,1,y,0.0009110511944006\n9,2,C,asked,,0,x,0.0009110511944006\n\
    10,2,D,asked,,false,y,0.0009110511944006\n11,2,E,asked,,true,x,0.1192029220221176\n12,86500,C,asked,,0,y,0.0000453978687024\n\
    13,86500,,asked,,1,y,\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = r#"{"features":["sum"],"mean":[0],"scale":[1],"coef":[1],"intercept":-10}"#;
    let other = model.replace("\"coef\":[1]", "\"coef\":[-1]");
    let files = [
        ("millrace.toml", CONFIG),
        ("policy.toml", "version = \"1\"\n"),
        ("sum.json", model),
        ("other.json", &other),
        ("events.csv", EVENTS),
    ];
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Six are asked, two of them bad, one of these tied with two that are good: of the eight pairs of a bad and a good one six stand right
/// and two are ties; precision is 1/1, then 2/4; above 8 stand a half of the bad, above 3 all of them and a half of the good.
fn assert_measures(of: &Value) {
    let near = |name: &str, known: f64| {
        let found = of[name].as_f64().unwrap();
        assert!((found - known).abs() < 1e-12, "{name}: {found} instead of {known}");
    };
    assert_eq!((of["rows"].as_i64(), of["bad"].as_i64()), (Some(6), Some(2)));
    near("auc", 7.0 / 8.0);
    near("average_precision", 0.75);
    near("ks", 0.5);
    near("precision_at_top", (1.0 + 1.0 / 3.0) / 2.0);
}

/// Would catch: events that are measured without a label or not folded without one, a window that does not move, ties counted as right,
/// and a probability that differs without a word.
#[test]
fn scores_of_events_by_hand_have_the_known_measures() {
    let folder = folder();
    let asked = ["--input", "events.csv", "--label", "bad", "--expected", "foretold", "--top", "2"];
    let found = report(folder.path(), &asked, 0);
    assert_measures(&found["measures"]["all"]);
    assert_measures(&found["expected"]["measures"]["all"]);
    assert_eq!(
        (&found["events"], &found["keys"], &found["rejected"]["missing_field account"]),
        (&13.into(), &5.into(), &1.into())
    );
    assert_eq!((&found["expected"]["compared"], &found["expected"]["differing"]), (&6.into(), &0.into()), "{found}");
    std::fs::write(folder.path().join("events.csv"), EVENTS.replace("0.1192029", "0.1192049")).unwrap();
    let found = report(folder.path(), &asked, 1);
    assert_eq!(found["expected"]["differing"], 1, "{found}");
    let other = report(folder.path(), &["--input", "events.csv", "--label", "bad", "--model", "other.json"], 0);
    assert_eq!(other["measures"]["all"]["auc"], 0.125, "the other way round: {other}");
    assert!(other.get("expected").is_none(), "{other}");
}

/// Would catch: a fold that is scored by the model of another, and one without a model that is left out without a word.
#[test]
fn each_fold_is_scored_by_its_model() {
    let folder = folder();
    let asked = ["--input", "events.csv", "--label", "bad", "--fold", "half", "--expected", "foretold"];
    let found = report(folder.path(), &[&asked[..], &["--model", "x=sum.json", "--model", "y=other.json"]].concat(), 1);
    let (folds, of_expected) = (&found["measures"]["folds"], &found["expected"]["measures"]["folds"]);
    assert_eq!(
        (&folds["x"]["auc"], &folds["y"]["auc"], &of_expected["y"]["auc"]),
        (&1.0.into(), &0.25.into(), &0.75.into()),
        "{found}"
    );
    assert_eq!((&found["measures"]["mean"]["auc"], &found["expected"]["differing"]), (&0.625.into(), &2.into()), "{found}");
    let found = report(folder.path(), &[&asked[..], &["--model", "x=sum.json"]].concat(), 0);
    assert_eq!((&found["measures"]["all"]["rows"], &found["unscored"]["no_model of fold y"]), (&3.into(), &3.into()), "{found}");
    assert_eq!(found["expected"]["measures"]["all"]["rows"], 6);
}

/// Would catch: wrong usage that ends like a failure, or figures of nothing.
#[test]
fn what_cannot_be_measured_is_told() {
    let folder = folder();
    let refused = |arguments: &[&str], code: i32, said: &str| {
        let (ended, _, err) = eval(folder.path(), &[&["--input", "events.csv"], arguments].concat());
        assert!(ended == Some(code) && err.contains(said), "{ended:?} instead of {code}, {err}");
    };
    refused(&["--label", "frauds"], 1, "has a label in `frauds`");
    refused(&["--label", "amount"], 1, "`amount` is neither true or false nor 1 or 0");
    refused(&["--label", "bad", "--model", "sum.json", "--model", "other.json"], 2, "--fold");
    refused(&["--label", "bad", "--model", "sum.json", "--fold", "half"], 2, "FOLD=FILE");
    refused(&["--label", "bad", "--model", "x=sum.json", "--fold", "third"], 1, "no fold in `third`");
    refused(&["--label", "bad", "--pipeline", "q"], 2, "no pipeline");
    let configure = |text: &str| std::fs::write(folder.path().join("millrace.toml"), text).unwrap();
    configure(&CONFIG.replace("model = \"sum\"\noptions = { policy = \"policy.toml\" }", ""));
    refused(&["--label", "bad"], 2, "neither a model nor rules");
    let (_, features) = CONFIG.split_once("[pipeline.risk]").unwrap();
    configure(&format!("[risk]{features}"));
    refused(&["--label", "bad"], 2, "name a model with --model");
    let asked = ["--input", "events.csv", "--label", "bad", "--model", "sum.json", "--top", "2"];
    assert_measures(&report(folder.path(), &asked, 0)["measures"]["all"]);
    let of_a_day = ["--from", "1970-01-01T00:00:02Z", "--until", "1970-01-02T00:00:00Z"];
    let found = report(folder.path(), &[&asked[..], &of_a_day].concat(), 0);
    assert_eq!(found["measures"]["all"]["rows"], 5, "{found}");
}

/// The log without the statements of the clients that no model is there for, and how many events it has.
fn of_scored(log: &str) -> (String, usize) {
    let field = |line: &str, place: usize| line.split(',').nth(place).unwrap_or_default().to_owned();
    let [kind, client, fold] = [1, 3, 13];
    let others: HashSet<String> = log
        .lines()
        .filter(|line| ["2", "3", "4"].contains(&field(line, fold).as_str()))
        .map(|line| field(line, client))
        .collect();
    assert_eq!(others.len(), 18_000);
    let is_scored = |line: &&str| field(line, kind) != "statement" || !others.contains(&field(line, client));
    let lines: Vec<&str> = log.lines().filter(is_scored).collect();
    (lines.join("\n"), lines.len() - 1)
}

/// Would catch: a history that is not the table's columns, a probability that is not the library's, and measures that are not those of
/// scikit-learn. Needs the UCI table beside the repository.
#[test]
fn credit_scores_of_the_uci_table_are_those_of_its_models() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("MILLRACE_RISK_DIR")
        .map_or_else(|| root.join("../shared/data/risk"), PathBuf::from)
        .join("uci_credit_default");
    if !data.exists() {
        absent(format!("{} is not here", data.display()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = Command::new(root.join("deploy/samples/risk-credit-events.sh")).arg(&data).output().unwrap();
    assert!(log.status.success(), "{log:?}");
    let (log, rows) = of_scored(&String::from_utf8(log.stdout).unwrap());
    std::fs::write(folder.path().join("credit.csv"), log).unwrap();
    let config = root.join("deploy/samples/risk-credit.toml");
    let models = [0, 1].map(|fold| format!("{fold}={}", data.join(format!("golden/lgb_fold{fold}.txt")).display()));
    let asked = ["--input", "credit.csv", "--config", config.to_str().unwrap(), "--label", "has_default", "--fold", "fold"];
    let more = ["--expected", "expected", "--model", &models[0], "--model", &models[1]];
    let found = report(folder.path(), &[&asked[..], &more].concat(), 0);
    assert_eq!((&found["events"], &found["keys"], &found["late"]), (&rows.into(), &30_000.into(), &0.into()));
    assert!(found["rejected"].as_object().unwrap().is_empty(), "{found}");
    assert_eq!((&found["expected"]["compared"], &found["expected"]["differing"]), (&12_000.into(), &0.into()), "{found}");
    let golden: Value = serde_json::from_slice(&std::fs::read(data.join("golden/metrics.json")).unwrap()).unwrap();
    let four_decimals =
        |measure: &Value| ["auc", "average_precision", "ks"].map(|name| (measure[name].as_f64().unwrap() * 1e4).round() / 1e4);
    let known = |row: &Value| [0, 1, 2].map(|place| row[place].as_f64().unwrap());
    for fold in 0..5 {
        let (name, golden) = (fold.to_string(), known(&golden["per_fold"][fold]));
        assert_eq!(four_decimals(&found["expected"]["measures"]["folds"][&name]), golden, "fold {fold}");
        if fold < 2 {
            assert_eq!(four_decimals(&found["measures"]["folds"][&name]), golden, "fold {fold}");
        }
    }
    assert_eq!(four_decimals(&found["expected"]["measures"]["mean"]), known(&golden["mean"]));
}
