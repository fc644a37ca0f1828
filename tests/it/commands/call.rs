//! `millrace call` as it is called, for a function with a fold.

use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
[risk]
feature = [
  { name = "amount", field = "amount" },
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
]
[models.small]
path = "model.json"
[[pipeline]]
name = "stage"
topic = "payments"
event = "json"
fields = { id = "id", time = "time" }
function = "risk"
[[pipeline]]
name = "scored"
topic = "payments"
event = "json"
fields = { id = "id", time = "time" }
function = "risk"
model = "small"
options = { policy = "policy.toml", timings = false }
"#;

fn call(folder: &Path, arguments: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["call", "risk"]).args(arguments).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, lines) = (child.stdin.take().unwrap(), lines.to_owned());
    // A command that refuses its arguments closes its input.
    let writer = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn answers(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Would catch: states that are forgotten between slices, lines answered out of turn, files looked for where the program was started.
#[test]
fn lines_are_events_of_one_log() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("c")).unwrap();
    write("c/millrace.toml", CONFIG);
    let config = &["--config", "c/millrace.toml"][..];
    let pay = |id: usize| json!({ "id": id, "time": 60_000 + id, "card": "A", "amount": 2.5 }).to_string() + "\n";
    let mut lines: String = (1..=1_500).map(pay).collect();
    lines.push_str("{\"id\": 9, \"time\": 60000}\nno event\n");

    let found = answers(&call(folder.path(), &[config, &["--pipeline", "stage"]].concat(), &lines));
    assert_eq!(found.len(), 1_502);
    for (number, answer) in found[..1_500].iter().enumerate() {
        assert_eq!(
            *answer,
            json!({ "event_id": (number + 1).to_string(), "status": "ok", "features": { "amount": 2.5, "n": (number + 1) as f64 } })
        );
    }
    let codes = |answers: &[Value]| answers.iter().map(|answer| answer["rejected"]["code"].clone()).collect::<Vec<_>>();
    assert_eq!(codes(&found[1_500..]), [json!("missing_field"), json!("not_an_object")]);

    let scored = &[config, &["--pipeline", "scored"]].concat()[..];
    let refused = call(folder.path(), scored, "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("pipeline `scored`") && said.contains("c/model.json"), "{said}");
    write("c/model.json", r#"{"features":["amount","n"],"mean":[0,0],"scale":[1,1],"coef":[0,1],"intercept":-2}"#);
    write("c/policy.toml", "version = \"1\"\n[thresholds]\nreview = 700\n");
    let found = answers(&call(folder.path(), scored, &(1..=3).map(pay).collect::<String>()));
    let decisions: Vec<_> = found.iter().map(|answer| (answer["score"].as_u64().unwrap(), &answer["decision"])).collect();
    assert_eq!(decisions, [(269, &json!("approve")), (500, &json!("approve")), (731, &json!("review"))]);
    assert_eq!(found[2]["reasons"][0]["feature"], "n");
}

/// Would catch: a pipeline that is guessed, and words that do not say what to add.
#[test]
fn which_pipeline_is_never_guessed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("millrace.toml"), CONFIG).unwrap();
    for (arguments, said) in [
        (&[][..], "name its file with --config"),
        (&["--config", "millrace.toml"], "which pipeline?"),
        (&["--config", "millrace.toml", "--pipeline", "stag"], "did you mean \"stage\""),
        (&["--pipeline", "stage"], "--config"),
    ] {
        let output = call(folder.path(), arguments, "");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(said), "{text}");
    }
}

fn millrace(arguments: &[&str], lines: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("call").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, lines) = (child.stdin.take().unwrap(), lines.to_owned());
    let writer = std::thread::spawn(move || drop(stdin.write_all(lines.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Would catch: a text that is waited for on standard input, flags that are passed over, a broken line that shifts the answers.
#[test]
fn a_text_and_its_fields_come_from_the_command_line() {
    let model = |name: &str| format!("tests/fixtures/functions/{name}");
    let one = answers(&millrace(&["sentiment", "This is wonderful, I love it."], "")).remove(0);
    assert_eq!(one["label"], "positive");
    let top = &["classify", "--model", &model("one"), "--top-k", "2", "--text", "good film"];
    assert_eq!(answers(&millrace(top, ""))[0]["labels"].as_array().unwrap().len(), 2);
    let labels = &["classify", "--model", &model("nli"), "--labels", "sport,food", "good film"];
    assert_eq!(answers(&millrace(labels, ""))[0]["labels"].as_array().unwrap().len(), 2);

    let folder = tempfile::tempdir().unwrap();
    let context = folder.path().join("context.txt");
    std::fs::write(&context, "Anna lives in Paris.").unwrap();
    let set = format!("context=@{}", context.display());
    let asked = &["answer", "--model", &model("answer"), "--set", &set];
    let alone = answers(&millrace(&[&asked[..], &["who lives?"]].concat(), ""));
    let lines = "who lives?\n{\"question\": \"who lives?\"}\n{\"question\": \"\\ud800\"}\n\"who lives?\"\n";
    let found = answers(&millrace(asked, lines));
    assert_eq!(found.len(), 4);
    for place in [0, 1, 3] {
        assert_eq!(found[place], alone[0], "line {place}");
    }
    assert_eq!(found[2]["rejected"]["code"], "invalid_json");

    let refused = millrace(&["tag", "--model", &model("tag"), "--top-k", "2", "Anna"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("known: aggregation_strategy"), "{said}");
}

/// Would catch: a bank that is looked for elsewhere than is said, words of the command line that do not reach the function.
#[test]
fn replies_come_from_a_bank() {
    let asked = r#"{"text": "where is my parcel", "customer": {"name": "Ann"}}"#;
    let found = answers(&millrace(&["reply", "--config", "deploy/samples/reply.toml"], asked)).remove(0);
    assert_eq!(found["suggestions"][0]["source"], "parcel", "{found}");
    assert!(found["sentiment"]["label"].is_string(), "{found}");
    let options = r#"{"bank": "deploy/samples/replies.csv", "min_score": -1}"#;
    let arguments = ["reply", "--model", "models/minilm-en", "--options", options, "--top-k", "2", "I was charged twice."];
    let found = answers(&millrace(&arguments, "")).remove(0);
    assert_eq!(
        (&found["suggestions"][0]["source"], found["suggestions"].as_array().unwrap().len()),
        (&json!("charged-twice"), 2)
    );
    let refused = millrace(&["reply", "--model", "models/minilm-en", "a"], "");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("option `bank`"), "{said}");
}

/// Would catch: a version that the pipeline's own settings answer for, or an unknown one.
#[test]
fn a_version_of_the_pipeline_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("millrace.toml");
    let text = "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'\noptions = { score = 'amount / 100' }\n\
                [pipeline.version.v2]\noptions = { score = 'amount / 50' }\n";
    std::fs::write(&path, text).unwrap();
    let config = path.display().to_string();
    let of = |more: &[&str]| millrace(&[&["copy", "--config", &config], more].concat(), "{\"amount\": 100}\n");
    let score = |more: &[&str]| answers(&of(more))[0]["score"].as_f64();
    assert_eq!([score(&[]), score(&["--version", "base"]), score(&["--version", "v2"])], [Some(1.0), Some(1.0), Some(2.0)]);
    let unknown = of(&["--version", "v3"]);
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("it has base, v2"), "{said}");
}
