//! `classify` by a causal model: a tiny random network, held against transformers (`tests/fixtures/writer/make.py`).

use super::{ask, code, map};
use crate::function::classify::Passage;
use crate::function::model::{Kind, Model, Opened};
use crate::function::{Function, api, text_function};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/writer/llama")
}

fn model() -> Model {
    Model::open("tiny", &folder(), "classify", &map(json!({}))).unwrap()
}

fn function(options: Value) -> Arc<dyn Function> {
    text_function("classify", model(), &map(options)).unwrap()
}

fn truth() -> Vec<Value> {
    let bytes = std::fs::read(folder().with_file_name("truth.json")).unwrap();
    serde_json::from_slice::<Value>(&bytes).unwrap()["classified"].as_array().unwrap().clone()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
    scores.iter().map(|score| (score - most).exp() / sum).collect()
}

/// The scores of a case, by sum (0) or mean (1) of its tokens.
fn scores(case: &Value, which: usize) -> Vec<f64> {
    case["scores"].as_array().unwrap().iter().map(|score| score[which].as_f64().unwrap()).collect()
}

/// By the order of the labels that were asked.
fn answered(output: &Value, labels: &Value) -> Vec<f64> {
    let found = |label: &Value| {
        output["labels"].as_array().unwrap().iter().find(|one| one["label"] == *label).unwrap()["score"].as_f64().unwrap()
    };
    labels.as_array().unwrap().iter().map(found).collect()
}

fn near(ours: &[f64], theirs: &[f64], about: &Value) {
    assert!(
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-4),
        "{about}\n{ours:?}\n{theirs:?}"
    );
}

/// Would catch: a label that is read with another blank than in its text, a token that is counted twice or not at all, labels of one event that
/// another sees.
#[tokio::test]
async fn labels_have_the_probability_of_their_tokens() {
    for (normalize, which) in [("token", 1), ("sum", 0)] {
        for template in ["Text: {text}\nLabel: {}", "Review: {text}\nSentiment: {}."] {
            let classify = function(json!({ "normalize": normalize, "hypothesis_template": template }));
            let cases: Vec<Value> = truth().into_iter().filter(|case| case["template"] == template).collect();
            let asked: Vec<Value> =
                cases.iter().map(|case| json!({ "text": case["text"], "candidate_labels": case["labels"] })).collect();
            for (case, output) in cases.iter().zip(ask(&*classify, &asked).await) {
                near(&answered(&output, &case["labels"]), &softmax(&scores(case, which)), case);
                assert!(output["label"] == output["labels"][0]["label"] && output["windows"] == 1, "{output}");
            }
        }
    }
}

/// Would catch: a temperature that does nothing, a content-free text that is not taken off, or is remembered for other labels.
#[tokio::test]
async fn what_labels_score_behind_nothing_is_taken_off() {
    let cases = truth();
    let (case, nothing) = (&cases[0], &cases[4]);
    let classify = function(json!({ "content_free": nothing["text"], "temperature": 2.0, "candidate_labels": case["labels"] }));
    let difference: Vec<f64> = scores(case, 1).iter().zip(scores(nothing, 1)).map(|(a, b)| (a - b) / 2.0).collect();
    let few = json!({ "text": case["text"], "candidate_labels": [case["labels"][2], case["labels"][0]] });
    let outputs = ask(&*classify, &[case["text"].clone(), few, case["text"].clone()]).await;
    near(&answered(&outputs[0], &case["labels"]), &softmax(&difference), case);
    near(&answered(&outputs[1], &json!([case["labels"][2], case["labels"][0]])), &softmax(&[difference[2], difference[0]]), case);
    assert_eq!(outputs[0], outputs[2]);
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let classify = function(json!({ "candidate_labels": "refund, delay" }));
    let long = "the parcel is late ".repeat(20);
    let asked = [
        json!(long),
        json!({ "text": "a", "candidate_labels": ["x", " x"] }),
        json!({ "text": "a", "text_pair": "b" }),
        json!({ "text": "a", "candidate_labels": ["y", "x".repeat(500)] }),
        json!("a <|endoftext|> b"),
        json!({ "text": "a", "candidate_labels": ["x"] }),
    ];
    let outputs = ask(&*classify, &asked).await;
    assert!(outputs[0]["truncated"] == true && outputs[0]["tokens"].as_u64().unwrap() <= 64 + 12, "{outputs:?}");
    assert_eq!(code(&outputs[1]), ("colliding_labels".into(), "candidate_labels".into()));
    assert_eq!(code(&outputs[2]), ("unexpected_field".into(), "text_pair".into()));
    assert_eq!(code(&outputs[3]), ("label_too_long".into(), "candidate_labels.1".into()));
    assert!(outputs[4]["label"].is_string(), "control tokens in a text are words: {outputs:?}");
    assert_eq!(code(&outputs[5]), ("one_label".into(), "candidate_labels".into()));
    let none = function(json!({ "too_long": "reject" }));
    let outputs = ask(&*none, &[json!("a"), json!({ "text": long, "candidate_labels": "x,y" })]).await;
    assert_eq!(code(&outputs[0]), ("missing_field".into(), "candidate_labels".into()));
    assert_eq!(code(&outputs[1]), ("text_too_long".into(), "text".into()));
    assert!(ask(&*none, &[none.requests().unwrap().about().example]).await[0]["label"].is_string());
    for (options, said) in [
        (json!({ "multi_label": true }), "`multi_label` does not go with"),
        (json!({ "backend": "nli" }), "`backend`"),
        (json!({ "too_long": "window" }), "`too_long`"),
        (json!({ "hypothesis_template": "{text}: no place" }), "must have {} where the label goes"),
        (json!({ "content_free": " " }), "`content_free` is empty"),
        (json!({ "temperature": 0 }), "`temperature`"),
        (json!({ "candidate_labels": ["x"] }), "name at least two"),
    ] {
        let error = text_function("classify", model(), &map(options)).err().unwrap();
        assert!(error.starts_with("classify: ") && error.contains(said), "{error}");
    }
    for (name, options, said) in [
        ("nli", json!({ "temperature": 0.5 }), "`temperature`"),
        ("fill", json!({ "backend": "continuation" }), "needs a causal model"),
        ("one", json!({ "normalize": "sum" }), "`normalize`"),
    ] {
        let error = super::refused("classify", &super::fixture(name), options);
        assert!(error.contains(said), "{error}");
    }
}

/// Would catch: a causal folder that is opened as one that reads, or the other way round.
#[test]
fn a_folder_tells_what_its_model_does() {
    let kind = |folder: &Path| Kind::of(folder).unwrap();
    assert_eq!(kind(&folder()), Kind::Writer);
    assert_eq!(kind(&super::translate::folder("marian")), Kind::TextToText);
    assert_eq!(kind(&super::translate::folder("t5")), Kind::TextToText);
    assert_eq!(kind(&super::fixture("nli")), Kind::Encoder);
    let wanted = |name: &str, folder: &Path| Kind::wanted(name, folder, &map(json!({}))).unwrap();
    assert_eq!(wanted("classify", &super::translate::folder("bart")), Kind::Encoder);
    assert_eq!(wanted("summarize", &folder()), Kind::Encoder);
    assert_eq!(wanted("translate", &super::fixture("nli")), Kind::TextToText);
    let classify = api::classify(&folder().display().to_string()).unwrap().candidate_labels(["refund", "delay"]).load().unwrap();
    let answer = classify.call(Passage::from("the parcel is late").among(["delay", "praise", "refund"])).unwrap();
    assert!((answer.labels.iter().map(|label| label.score).sum::<f64>() - 1.0).abs() < 1e-5 && answer.labels.len() == 3);
}
