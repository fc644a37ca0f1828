//! Held against the pipelines of transformers 4.57.1 (`tests/fixtures/functions/truth.json`): every score to 1e-4.

use super::{bare, cut, fixture, function};
use crate::inference::parity;
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-4;

fn truth(name: &str) -> Vec<Value> {
    let bytes = std::fs::read(fixture("truth.json")).unwrap();
    let all: Value = serde_json::from_slice(&bytes).unwrap();
    all[name].as_array().unwrap().clone()
}

fn score(item: &Value) -> f64 {
    item["score"].as_f64().unwrap()
}

/// Items in one order with the same scores, and the same names where no neighbour has nearly the same score. The name is that of the
/// pipeline.
fn same(pipeline: &str, ours: &Value, theirs: &Value, names: &[&str], about: &Value) {
    let (ours, theirs) = (ours.as_array().unwrap(), theirs.as_array().unwrap());
    assert_eq!(ours.len(), theirs.len(), "{about}\nours {ours:?}\ntheirs {theirs:?}");
    for (place, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let tie = theirs.iter().enumerate().any(|(other, item)| other != place && (score(item) - score(b)).abs() < 1e-5);
        let named = tie || names.iter().all(|name| a[*name] == b[*name]);
        let off = (score(a) - score(b)).abs();
        assert!(off <= TOLERANCE && named, "{about}\nours {a}\ntheirs {b}");
        parity::seen("function", pipeline, "scores", off as f32);
    }
}

#[tokio::test]
async fn labels_have_the_scores_of_text_classification() {
    for (name, options) in [
        ("one", json!({})),
        ("many", json!({ "top_k": null, "threshold": 0.0 })),
        ("regression", json!({ "top_k": null })),
        ("single", json!({ "top_k": null })),
    ] {
        let function = function("classify", &fixture(name), options);
        for case in truth(name) {
            let parameters = if case["parameters"].is_null() { json!({}) } else { case["parameters"].clone() };
            let ours = bare(&*function, &case["inputs"], parameters).await;
            same("text-classification", &ours, &case["output"], &["label"], &case);
        }
    }
}

/// The model's rows are neutral, entailment, contradiction: an order that the pipeline itself does not find its way in.
#[tokio::test]
async fn candidate_labels_have_the_scores_of_zero_shot_classification() {
    let function = function("classify", &fixture("nli"), json!({}));
    for case in truth("nli") {
        let ours = bare(&*function, &case["inputs"], case["parameters"].clone()).await;
        same("zero-shot-classification", &ours, &case["output"], &["label"], &case);
    }
}

#[tokio::test]
async fn entities_are_those_of_token_classification() {
    let function = function("tag", &fixture("tag"), json!({}));
    for case in truth("tag") {
        let ours = bare(&*function, &case["inputs"], case["parameters"].clone()).await;
        same("token-classification", &ours, &case["output"], &["entity", "entity_group", "start", "end", "index"], &case);
        for one in ours.as_array().unwrap() {
            assert_eq!(cut(case["inputs"].as_str().unwrap(), &one["start"], &one["end"]), one["word"].as_str().unwrap());
        }
    }
}

#[tokio::test]
async fn answers_have_the_scores_of_question_answering() {
    let function = function("answer", &fixture("answer"), json!({ "hf_compatible": true }));
    for case in truth("answer") {
        let ours = bare(&*function, &case["inputs"], case["parameters"].clone()).await;
        // The pipeline fills up with spans of no probability, such as one that ends before it starts.
        let theirs = case["output"].as_array().unwrap().iter().filter(|one| score(one) > 0.0).cloned().collect();
        same("question-answering", &ours, &theirs, &["answer", "start", "end"], &case);
        for one in ours.as_array().unwrap() {
            assert_eq!(
                cut(case["inputs"]["context"].as_str().unwrap(), &one["start"], &one["end"]),
                one["answer"].as_str().unwrap()
            );
        }
    }
}

#[tokio::test]
async fn words_have_the_scores_of_fill_mask() {
    let function = function("fill", &fixture("fill"), json!({}));
    for case in truth("fill") {
        let ours = bare(&*function, &case["inputs"], case["parameters"].clone()).await;
        let names = ["token", "token_str", "sequence"];
        if case["output"][0].is_array() {
            for (ours, theirs) in ours.as_array().unwrap().iter().zip(case["output"].as_array().unwrap()) {
                same("fill-mask", ours, theirs, &names, &case);
            }
        } else {
            same("fill-mask", &ours, &case["output"], &names, &case);
        }
    }
}
