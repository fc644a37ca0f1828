//! On the encoder that is shipped.

use super::{ask, bare, map, open};
use crate::function::{Function, text_function};
use crate::inference::Encoder;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Opened once.
fn minilm() -> Arc<Encoder> {
    static MODEL: OnceLock<Arc<Encoder>> = OnceLock::new();
    MODEL.get_or_init(|| open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/minilm-en"))).clone()
}

fn function(name: &str, model: &Arc<Encoder>, options: Value) -> Arc<dyn Function> {
    text_function(name, model.clone(), &map(options)).unwrap()
}

/// Would catch: labels of one event that another sees, a cache that mixes templates, a temperature that does nothing.
#[tokio::test]
async fn labels_without_training_go_by_meaning() {
    let model = minilm();
    let classify = function("classify", &model, json!({ "candidate_labels": ["refund", "delivery delay", "praise"] }));
    let texts = ["I want my money back", "my parcel is three weeks late", "you were wonderful, thank you"].map(Value::from);
    let outputs = ask(&*classify, &texts).await;
    let labels: Vec<&str> = outputs.iter().map(|output| output["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["refund", "delivery delay", "praise"]);
    let total: f64 = outputs[0]["labels"].as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).sum();
    assert!(outputs[0]["labels"].as_array().unwrap().len() == 3 && (total - 1.0).abs() < 1e-5);
    let own = json!({ "text": "the striker scored twice", "candidate_labels": ["sport", "politics"] });
    assert_eq!(ask(&*classify, &[own]).await[0]["label"], "sport");
    let first = |of: &Value| of[0]["score"].as_f64().unwrap();
    let (sharp, flat) = (
        bare(&*classify, &texts[0], json!({ "temperature": 0.01 })).await,
        bare(&*classify, &texts[0], json!({ "temperature": 1 })).await,
    );
    assert!(first(&sharp) > first(&flat), "{sharp} {flat}");
    let template = bare(&*classify, &texts[0], json!({ "hypothesis_template": "a message about {}" })).await;
    let again = bare(&*classify, &texts[0], json!({})).await;
    assert_ne!(template, again);
    assert_eq!(again, outputs[0]["labels"]);
}

#[tokio::test]
async fn near_sentences_are_near() {
    let model = minilm();
    let sentences = ["My card is missing.", "What is the exchange rate?", "I lost my card."];
    let similar = function("similar", &model, json!({}));
    let input = json!({ "source_sentence": "I lost my card.", "sentences": sentences });
    let scores = bare(&*similar, &input, json!({})).await;
    let score = |i: usize| scores[i].as_f64().unwrap();
    assert!(score(0) > 0.5 && score(0) > score(1) + 0.3 && (score(2) - 1.0).abs() < 1e-5, "{scores}");
    let rerank = function("rerank", &model, json!({ "top_k": 2 }));
    let ranks = bare(&*rerank, &json!({ "query": "I lost my card.", "texts": sentences }), json!({})).await;
    assert_eq!((&ranks[0]["index"], &ranks[1]["index"]), (&json!(2), &json!(0)));
    assert_eq!(ranks[1]["score"], scores[0]);
}

/// Would catch: sentences out of order, a summary that says one thing twice, one that changes with what else is asked.
#[tokio::test]
async fn a_summary_is_sentences_of_the_text_in_order() {
    let model = minilm();
    let text = "The parcel with my new phone arrived two weeks late. The parcel with the phone came two weeks late. \
        I called Dr. Jones of the support team five times. The screen of the phone was broken. 😀 I want a refund.";
    let summarize = function("summarize", &model, json!({ "max_sentences": 2 }));
    let outputs = ask(&*summarize, &[json!(text), json!("One sentence only")]).await;
    let sentences = outputs[0]["sentences"].as_array().unwrap();
    assert_eq!(sentences.len(), 2, "{}", outputs[0]);
    assert!(sentences[0]["end"].as_u64() < sentences[1]["start"].as_u64());
    for one in sentences {
        assert_eq!(super::cut(text, &one["start"], &one["end"]), one["text"].as_str().unwrap());
    }
    let both = |start: &str| sentences.iter().filter(|one| one["text"].as_str().unwrap().starts_with(start)).count();
    assert!(both("The parcel") <= 1, "{}", outputs[0]);
    assert_eq!(outputs[1]["summary_text"], "One sentence only");
    assert_eq!(ask(&*summarize, &[json!(text)]).await[0], outputs[0]);
    let half = bare(&*summarize, &json!(text), json!({ "ratio": 0.4, "max_sentences": null })).await;
    assert!(half["summary_text"].is_string());
}

/// Would catch: a text whose answer depends on its slice.
#[tokio::test]
async fn neighbours_do_not_matter() {
    let model = minilm();
    let classify = function("classify", &model, json!({ "candidate_labels": "anger, joy", "too_long": "window" }));
    let texts: Vec<Value> = (0..5).map(|i| json!("I am so happy today. ".repeat(1 + i * 25))).collect();
    let together = ask(&*classify, &texts).await;
    for (text, output) in texts.iter().zip(&together) {
        let alone = ask(&*classify, std::slice::from_ref(text)).await.remove(0);
        assert_eq!(alone["label"], output["label"]);
        assert!((alone["score"].as_f64().unwrap() - output["score"].as_f64().unwrap()).abs() < 1e-5);
    }
    assert!(together[4]["windows"].as_u64() > Some(2), "{}", together[4]);
}
