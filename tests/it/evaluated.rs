//! Functions on rows with the right answers, with the program itself.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).display().to_string()
}

fn starter(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name).display().to_string()
}

fn millrace(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).args(arguments).output().unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn rows(&self, name: &str, rows: &[Value]) -> PathBuf {
        self.text(name, &rows.iter().map(|row| format!("{row}\n")).collect::<String>())
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn files() -> Files {
    Files(tempfile::tempdir().unwrap())
}

fn report(function: &str, input: &Path, more: &[&str]) -> Value {
    let arguments = [&["eval", function, "--json", "--input", input.to_str().unwrap()], more].concat();
    let output = millrace(&arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn figure(report: &Value, model: usize, name: &str) -> f64 {
    report["models"][model][name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn called(function: &str, model: &str, options: &str, input: &str) -> Value {
    let output = millrace(&["call", function, "--model", model, "--options", options, "--text", input]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Would catch: rows out of order, a wanted answer that is not compared, texts that are ranked by their place.
#[test]
fn texts_and_replies_are_ranked() {
    let files = files();
    let texts = json!(["A refund takes five days.", "The opening hours are nine to five.", "Parcels come by bike."]);
    let row = |query: &str, relevant: Value| json!({ "query": query, "texts": texts, "relevant": relevant });
    let rows = [row("How long does my refund take?", json!([0])), row("When do you open?", json!({ "1": 2 }))];
    let model = starter("minilm-en");
    let good = report("rerank", &files.rows("good.jsonl", &rows), &["--model", &model, "--against", &model]);
    assert_eq!((figure(&good, 0, "NDCG@10"), figure(&good, 1, "MRR"), figure(&good, 0, "refused")), (100.0, 100.0, 0.0));
    assert_eq!((good["compared"]["difference"].as_f64(), good["compared"]["p_value"].as_f64()), (Some(0.0), Some(1.0)));
    // A row whose texts are none is refused, and counts as wrong.
    let rows = [rows[0].clone(), json!({ "query": "x", "texts": "y", "relevant": [0] })];
    let half = report("rerank", &files.rows("half.jsonl", &rows), &["--model", &model]);
    assert_eq!((figure(&half, 0, "hits@1"), figure(&half, 0, "refused")), (50.0, 1.0));
    assert!(half["models"][0]["first_refusal"].as_str().unwrap().contains("half.jsonl line 2"), "{half}");

    let bank = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/replies.csv");
    let options = json!({ "bank": bank, "fill": { "name": "Ada" } }).to_string();
    let rows =
        "text\treply\nI want my money back.\trefund\nIt was broken when I opened the box.\tbroken\nWhere is my parcel?\tnone\n";
    let replies = report("reply", &files.text("answered.tsv", rows), &["--model", &model, "--options", &options]);
    assert!((figure(&replies, 0, "hits@1") - 200.0 / 3.0).abs() < 1e-9, "{replies}");
}

/// Would catch: spans in bytes, labels that are cut differently, files of words read otherwise than they were trained on.
#[test]
fn pieces_and_masked_words_are_compared_with_the_right_ones() {
    let files = files();
    let (model, first) = (fixture("functions/tag"), r#"{"aggregation_strategy": "first"}"#);
    let text = "anna has a cab";
    let said = called("tag", &model, first, text);
    let entities = said["entities"].as_array().unwrap();
    assert!(!entities.is_empty(), "{said}");
    let rows = [json!({ "text": text, "spans": entities })];
    let all = report("tag", &files.rows("same.jsonl", &rows), &["--model", &model]);
    assert_eq!((figure(&all, 0, "F1"), figure(&all, 0, "recall")), (100.0, 100.0));
    let mut wrong = entities.clone();
    wrong[0]["entity_group"] = json!("nothing");
    let rows = [json!({ "text": text, "spans": wrong })];
    let most = report("tag", &files.rows("wrong.jsonl", &rows), &["--model", &model]);
    let share = 100.0 * (entities.len() - 1) as f64 / entities.len() as f64;
    assert!((figure(&most, 0, "precision") - share).abs() < 1e-9 && figure(&most, 0, "F1 of nothing") == 0.0, "{most}");
    // Words are the file's own: the tokens of one stay together, whatever the pre-tokeniser would do.
    let words = ["anna", "has", "a.cab", "in", "a", "cab,ab"];
    let input = json!({ "words": words }).to_string();
    let output = Command::new("sh")
        .args(["-c", "printf '%s' \"$0\" | \"$1\" call tag --model \"$2\" --options \"$3\""])
        .args([&input, env!("CARGO_BIN_EXE_millrace"), &model, first])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let (mut lines, mut start) = (String::new(), 0);
    for word in words {
        let of = said["entities"]
            .as_array()
            .unwrap()
            .iter()
            .find(|of| (of["start"].as_u64().unwrap()..of["end"].as_u64().unwrap()).contains(&start));
        let tag = of.map_or("O".into(), |of| {
            let begins = of["start"] == start;
            format!("{}-{}", if begins { "B" } else { "I" }, of["entity_group"].as_str().unwrap())
        });
        lines += &format!("{word}\t{tag}\n");
        start += word.len() as u64 + 1;
    }
    assert!(lines.contains("B-"), "{said}");
    let whole = report("tag", &files.text("dev.conll", &lines), &["--model", &model]);
    assert_eq!(figure(&whole, 0, "F1"), 100.0, "{whole} {lines}");

    let (model, text) = (fixture("functions/fill"), "a [MASK] is here");
    let fills = called("fill", &model, "{}", text)["fills"].clone();
    let rows = [json!({ "text": text, "words": fills[1]["token_str"] })];
    let second = report("fill", &files.rows("masked.jsonl", &rows), &["--model", &model]);
    assert_eq!((figure(&second, 0, "MRR"), figure(&second, 0, "hits@1"), figure(&second, 0, "hits@5")), (50.0, 0.0, 100.0));
}

#[test]
fn summaries_and_translations_are_compared_with_those_of_people() {
    let files = files();
    let text = "The worker reads events from a topic. It scores each event once. The weather was fine.";
    let model = starter("minilm-en");
    let options = r#"{"max_sentences": 1}"#;
    let summary = called("summarize", &model, options, text)["summary_text"].clone();
    let rows = [json!({ "text": text, "summary": ["of no use", summary] })];
    let same = report("summarize", &files.rows("news.jsonl", &rows), &["--model", &model, "--options", options]);
    assert_eq!((figure(&same, 0, "ROUGE-1"), figure(&same, 0, "ROUGE-L")), (100.0, 100.0));

    let model = fixture("translate/marian");
    let said = called("translate", &model, r#"{"max_new_tokens": 12}"#, "the cat is here")["translation_text"].clone();
    let rows = [json!({ "text": "the cat is here", "translation": said })];
    let more = ["--model", &model, "--options", r#"{"max_new_tokens": 12}"#];
    let same = report("translate", &files.rows("pairs.jsonl", &rows), &more);
    assert!((figure(&same, 0, "chrF2") - 100.0).abs() < 1e-9, "{same} {said}");
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let files = files();
    let refused = |function: &str, input: &Path, more: &[&str]| {
        let output = millrace(&[&["eval", function, "--input", input.to_str().unwrap()], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let rows = files.rows("a.jsonl", &[json!({ "query": "a", "texts": ["b"], "relevant": [1] })]);
    let (code, said) = refused("rerank", &rows, &["--model", &starter("minilm-en")]);
    assert!(code == Some(1) && said.contains("a.jsonl line 1, field `relevant`") && said.contains("no text 1"), "{said}");
    let (code, said) = refused("rerank", &rows, &["--model", &starter("minilm-en"), "--options", "{\"topk\": 1}"]);
    assert!(code == Some(2) && said.contains("topk"), "{said}");
    let pair = files.rows("b.jsonl", &[json!({ "text": "a", "translation": "b" })]);
    let (code, said) = refused("translate", &pair, &[]);
    assert!(code == Some(2) && said.contains("no starter model"), "{said}");
    let (_, said) = refused("summarize", &rows, &[]);
    assert!(said.contains("no field `summary`"), "{said}");
}
