//! Long texts, thresholds, windows on one scale, words that are split already.

use super::{ask, bare, code, cut, fixture, function};
use crate::inference::{Encoder, Options};
use serde_json::{Value, json};

fn long() -> String {
    "Anna lives in a big city. She works in London, and he was from Paris; it is a small city in the river. ".repeat(8)
}

/// Would catch: a text that is cut in silence, windows that are not weighted, a limit that is not told.
#[tokio::test]
async fn a_long_text_is_cut_slid_over_or_refused() {
    let classify = function("classify", &fixture("one"), json!({ "top_k": null }));
    let cut = ask(&*classify, &[json!(long())]).await.remove(0);
    assert_eq!((&cut["tokens"], &cut["truncated"], &cut["windows"]), (&json!(64), &json!(true), &json!(1)));
    let windows = function("classify", &fixture("one"), json!({ "top_k": null, "too_long": "window", "stride": 10 }));
    let slid = ask(&*windows, &[json!(long()), json!("good film")]).await;
    assert!(slid[0]["windows"].as_u64() > Some(2) && slid[0]["truncated"] == json!(false), "{}", slid[0]);
    let total: f64 = slid[0]["labels"].as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");
    assert_eq!(slid[1], ask(&*classify, &[json!("good film")]).await[0], "a short text is one window");
    // A label that takes half of the window, and windows that overlap by as much.
    let labels = json!({ "candidate_labels": ["a ".repeat(28), "b".to_owned()], "too_long": "window", "stride": 32, "hypothesis_template": "{}" });
    let infer = ask(&*function("classify", &fixture("nli"), labels), &[json!(long())]).await.remove(0);
    assert!(infer["windows"].as_u64() > Some(5) && infer["truncated"] == json!(false), "{infer}");
    let reject = function("classify", &fixture("one"), json!({ "too_long": "reject" }));
    let outputs = ask(&*reject, &[json!(long()), json!("good film")]).await;
    assert_eq!(code(&outputs[0]), ("text_too_long".to_owned(), "text".to_owned()));
    let detail = outputs[0]["rejected"]["detail"].as_str().unwrap();
    assert!(detail.contains("limit of the model is 64"), "{detail}");
    let told: usize = detail.split_whitespace().next().unwrap().parse().unwrap();
    assert!(told > 100, "{detail}");
    assert!(outputs[1]["label"].is_string());
}

/// Would catch: many labels of which the best is always given, an abstention that hides its score.
#[tokio::test]
async fn thresholds_decide_what_is_said() {
    let text = json!("the film was very good");
    let many = function("classify", &fixture("many"), json!({}));
    let all = bare(&*many, &text, json!({ "threshold": 0.0 })).await;
    let scores: Vec<f64> = all.as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 3);
    let between = (scores[0] + scores[1]) / 2.0;
    let above = bare(&*many, &text, json!({ "threshold": between })).await;
    assert_eq!(above.as_array().unwrap().len(), 1);
    // Training writes the threshold beside the weights; what is asked for goes first.
    let trained = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture("many").join(file), trained.path().join(file)).unwrap();
    }
    let config = std::fs::read(fixture("many").join("config.json")).unwrap();
    let written = |threshold: Value| {
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["threshold"] = threshold;
        std::fs::write(trained.path().join("config.json"), config.to_string()).unwrap();
    };
    written(json!(between));
    let own = function("classify", trained.path(), json!({}));
    assert_eq!(bare(&*own, &text, json!({})).await, above);
    assert_eq!(bare(&*own, &text, json!({ "threshold": 0.0 })).await, all);
    written(json!(1.5));
    let refused = Encoder::open("x", trained.path(), None, &Options::default()).err().unwrap().to_string();
    assert!(refused.contains("`threshold` is 1.5"), "{refused}");
    let none = function("classify", &fixture("many"), json!({ "threshold": 1.5 }));
    let none = ask(&*none, std::slice::from_ref(&text)).await.remove(0);
    assert_eq!((&none["label"], &none["labels"], &none["reason"]), (&Value::Null, &json!([]), &json!("below_threshold")));
    assert_eq!(none["scores"].as_object().unwrap().len(), 3);
    let one = function("classify", &fixture("one"), json!({ "labels": ["a", "b", "c"], "min_score": 0.999_999 }));
    let unsure = ask(&*one, std::slice::from_ref(&text)).await.remove(0);
    assert!(
        unsure["label"].is_null() && unsure["score"].as_f64() > Some(0.3) && unsure["reason"] == "below_threshold",
        "{unsure}"
    );
    let named = unsure["labels"][0]["label"].as_str().unwrap();
    assert!(["a", "b", "c"].contains(&named), "{unsure}");
}

/// Would catch: windows whose spans are normalised each by itself, answers that depend on how a context is cut, "no answer" that
/// always or never wins.
#[tokio::test]
async fn spans_of_all_windows_are_on_one_scale() {
    let answer = function("answer", &fixture("answer"), json!({ "top_k": 5 }));
    let input = json!({ "question": "who lives where?", "context": long() });
    let output = ask(&*answer, std::slice::from_ref(&input)).await.remove(0);
    assert!(output["windows"].as_u64() > Some(1), "{output}");
    let scores: Vec<f64> = output["answers"].as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).collect();
    assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]) && scores.iter().sum::<f64>() <= 1.0 + 1e-6, "{scores:?}");
    let all = bare(&*answer, &input, json!({ "top_k": 1000, "handle_impossible_answer": true })).await;
    let all = all.as_array().unwrap();
    let total: f64 = all.iter().map(|one| one["score"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-4, "{total}");
    assert_eq!(all.iter().filter(|one| one["answer"] == "").count(), 1);
    let mut texts: Vec<String> = all.iter().map(|one| one["answer"].as_str().unwrap().to_lowercase()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), all.len(), "equal answers are one");
    for one in all {
        assert_eq!(cut(&long(), &one["start"], &one["end"]), one["answer"].as_str().unwrap());
    }
}

#[tokio::test]
async fn entities_of_long_texts_are_found_to_the_end() {
    let tag = function("tag", &fixture("tag"), json!({ "aggregation_strategy": "first", "ignore_labels": [] }));
    let outputs = ask(&*tag, &[json!(long())]).await;
    let entities = outputs[0]["entities"].as_array().unwrap();
    let end = |one: &Value| one["end"].as_u64().unwrap();
    assert!(outputs[0]["windows"].as_u64() > Some(2));
    assert_eq!(end(entities.last().unwrap()) as usize, long().trim_end().len());
    assert!(entities.windows(2).all(|pair| end(&pair[0]) <= pair[1]["start"].as_u64().unwrap()), "none overlap");
    let words = json!({ "words": ["Anna", "lives", "in", "New-York"] });
    let found = bare(&*tag, &words, json!({ "delimiter": "  " })).await;
    for one in found.as_array().unwrap() {
        assert_eq!(cut("Anna  lives  in  New-York", &one["start"], &one["end"]), one["word"].as_str().unwrap());
    }
}

/// Would catch: texts that are not put in order, places that are lost.
#[tokio::test]
async fn a_cross_encoder_puts_texts_in_order() {
    let rerank = function("rerank", &fixture("rank"), json!({ "return_texts": true }));
    let texts = ["good film", "bad film", "the river", "Anna"];
    let input = json!({ "query": "film?", "texts": texts });
    let ranks = bare(&*rerank, &input, json!({})).await;
    let ranks = ranks.as_array().unwrap();
    let score = |one: &Value| one["score"].as_f64().unwrap();
    assert!(ranks.len() == 4 && ranks.windows(2).all(|pair| score(&pair[0]) >= score(&pair[1])), "{ranks:?}");
    for one in ranks {
        assert_eq!(one["text"], texts[one["index"].as_u64().unwrap() as usize]);
        let alone = json!({ "query": "film?", "texts": [one["text"]] });
        let alone = bare(&*rerank, &alone, json!({ "raw_scores": true })).await;
        let sigmoid = 1.0 / (1.0 + (-score(&alone[0])).exp());
        assert!((sigmoid - score(one)).abs() < 1e-5, "{one} {alone}");
    }
    assert_eq!(bare(&*rerank, &input, json!({ "top_k": 2 })).await.as_array().unwrap().len(), 2);
}
