//! Texts that are longer than the model sees, in every function that reads.

use super::{ask, bare, code, fixture, function, refused};
use crate::function::api;
use crate::function::embed::Embed;
use crate::function::options::TooLong;
use crate::function::sentiment::Sentiment;
use crate::function::{Function, offline};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn long() -> String {
    "Anna lives in a big city. She works in London, and he was from Paris; it is a small city in the river. ".repeat(8)
}

fn mood(folder: &str, options: Value) -> Arc<dyn Function> {
    let options = options.as_object().unwrap().clone();
    Arc::new(Sentiment::new(super::open(&fixture(folder))).unwrap().with(&options).unwrap())
}

fn vectors(options: Value) -> Arc<dyn Function> {
    let options = options.as_object().unwrap().clone();
    Arc::new(Embed::new(super::open(&fixture("fill"))).with(&options).unwrap())
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Would catch: a policy that a function takes and passes over, an answer that does not say which it was, a refusal of another field.
#[tokio::test]
async fn every_function_that_reads_cuts_slides_or_refuses() {
    let question = || json!({ "question": "who lives?", "context": long() });
    let compared = || json!({ "source_sentence": "good", "sentences": ["film", long()] });
    let candidates = || json!({ "query": "film?", "texts": ["good", long()] });
    let masked = || json!(format!("[MASK] {}", long()));
    let replies = json!({ "replies": ["It is on its way."], "min_score": -1.0 });
    for (name, folder, own, input, field) in [
        ("sentiment", "one", json!({}), json!(long()), "text"),
        ("classify", "one", json!({}), json!(long()), "text"),
        ("embed", "fill", json!({}), json!(long()), "text"),
        ("similar", "fill", json!({}), compared(), "sentences.1"),
        ("rerank", "fill", json!({}), candidates(), "texts.1"),
        ("rerank", "rank", json!({}), candidates(), "texts.1"),
        ("fill", "fill", json!({}), masked(), "text"),
        ("answer", "answer", json!({}), question(), "context"),
        ("tag", "tag", json!({}), json!(long()), "text"),
        ("reply", "fill", replies, json!(long()), "text"),
    ] {
        let of = |policy: &str| {
            let mut options = own.clone();
            options["too_long"] = policy.into();
            match name {
                "sentiment" => mood(folder, options),
                "embed" => vectors(options),
                name => function(name, &fixture(folder), options),
            }
        };
        let one = std::slice::from_ref(&input);
        let cut = ask(&*of("truncate"), one).await.remove(0);
        assert_eq!(cut["truncated"], true, "{name} {folder}: {cut}");
        let slid = ask(&*of("window"), one).await.remove(0);
        if name == "fill" {
            assert!(slid["truncated"] == true && slid["tokens"] == 64, "it sees one window: {slid}");
        } else {
            assert!(slid["truncated"] == false && slid["windows"].as_u64() > Some(2), "{name} {folder}: {slid}");
            assert!(slid["tokens"].as_u64() > cut["tokens"].as_u64(), "{name} {folder}: {slid}");
        }
        let refused = ask(&*of("reject"), one).await.remove(0);
        assert_eq!(code(&refused), ("text_too_long".to_owned(), field.to_owned()), "{name} {folder}: {refused}");
        // A short text is the same to all three.
        let short = function_example(&*of("reject"));
        let short = std::slice::from_ref(&short);
        let (a, b, c) = (ask(&*of("truncate"), short).await, ask(&*of("window"), short).await, ask(&*of("reject"), short).await);
        let without = |mut answer: Value| {
            answer.as_object_mut().unwrap().remove("windows");
            answer
        };
        assert_eq!(without(a[0].clone()), without(b[0].clone()), "{name} {folder}");
        assert_eq!(a, c, "{name} {folder}");
    }
}

fn function_example(function: &dyn Function) -> Value {
    function.requests().unwrap().about().example
}

/// Would catch: windows of `sentiment` that are not those of `classify`, logits that are shown as probabilities, labels out of order.
#[tokio::test]
async fn sentiment_answers_as_classify_does() {
    for (folder, apply) in [("one", Value::Null), ("one", json!("none")), ("many", json!("softmax")), ("regression", Value::Null)]
    {
        let own = json!({ "too_long": "window", "stride": 10, "function_to_apply": apply });
        let mut all = own.clone();
        all["top_k"] = Value::Null;
        if folder == "many" {
            all["threshold"] = (-100.0).into();
        }
        let class = ask(&*function("classify", &fixture(folder), all), &[json!(long()), json!("good film")]).await;
        let mut own = own;
        own["top_k"] = Value::Null;
        let mood = ask(&*mood(folder, own), &[json!(long()), json!("good film")]).await;
        for (mood, class) in mood.iter().zip(&class) {
            assert_eq!((&mood["labels"], &mood["windows"]), (&class["labels"], &class["windows"]), "{folder} {apply}");
            assert_eq!(mood["label"], class["labels"][0]["label"]);
        }
    }
    let plain = mood("one", json!({}));
    let two = bare(&*plain, &json!("good film"), json!({ "top_k": 2 })).await;
    let one = bare(&*plain, &json!("good film"), json!({})).await;
    assert_eq!((two.as_array().unwrap().len(), one.as_array().unwrap().len(), &two[0]), (2, 1, &one[0]));
    let output = ask(&*plain, &[json!("good film")]).await.remove(0);
    assert!(output.get("labels").is_none() && output.get("windows").is_none(), "as it was before there were options: {output}");
}

/// Would catch: vectors of windows that are not weighted, a prompt that is not read, a shortened vector that has no longer length 1.
#[tokio::test]
async fn vectors_have_prompts_lengths_and_windows() {
    let text = long();
    let embed = async |options: Value, text: &str| {
        let output = ask(&*vectors(options), &[json!(text)]).await.remove(0);
        numbers(&output["embedding"])
    };
    let length = |vector: &[f64]| vector.iter().map(|v| v * v).sum::<f64>().sqrt();
    let whole = embed(json!({}), "good film").await;
    assert!((length(&whole) - 1.0).abs() < 1e-5);
    let pooled = embed(json!({ "normalize": false }), "good film").await;
    let long_pooled = length(&pooled);
    assert!((long_pooled - 1.0).abs() > 1e-3);
    assert!(whole.iter().zip(&pooled).all(|(a, b)| (a - b / long_pooled).abs() < 1e-5));
    let short = embed(json!({ "dimensions": 4 }), "good film").await;
    let own = length(&whole[..4]);
    assert!(short.len() == 4 && short.iter().zip(&whole).all(|(a, b)| (a - b / own).abs() < 1e-5), "{short:?}");
    let prompted = embed(json!({ "prompt": "a bad " }), "good film").await;
    assert_eq!(prompted, embed(json!({}), "a bad good film").await);
    // Windows that follow each other: each is a text of its own, but for the pieces of words at its ends.
    let slid = embed(json!({ "too_long": "window", "stride": 0 }), &text).await;
    let encoder = super::open(&fixture("fill"));
    let cut = crate::inference::Cut { stride: Some(0), ..Default::default() };
    let windows = encoder.windows(vec![text.as_str().into()], cut).await.unwrap().remove(0);
    let tokens: Vec<usize> = windows.iter().map(|window| window.ids.len()).collect();
    let answers = encoder.answer_windows(crate::inference::Head::Embed, windows).await.unwrap();
    let mut mean = vec![0.0; slid.len()];
    let all: usize = tokens.iter().sum();
    for (answer, tokens) in answers.iter().zip(&tokens) {
        let share = *tokens as f64 / all as f64;
        mean.iter_mut().zip(&answer.values).for_each(|(mean, value)| *mean += f64::from(*value) * share);
    }
    let own = length(&mean);
    assert!(slid.iter().zip(&mean).all(|(a, b)| (a - b / own).abs() < 1e-5), "{slid:?} {mean:?}");
}

/// Would catch: a name of a prompt that is not looked up in the model's folder, one that is passed over.
#[tokio::test]
async fn prompts_of_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("fill")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let config = json!({ "prompts": { "query": "a bad " }, "default_prompt_name": null });
    std::fs::write(folder.path().join("config_sentence_transformers.json"), config.to_string()).unwrap();
    let named = api::embed(&folder.path().display().to_string()).unwrap();
    let plain = named.clone().call("a bad good film").unwrap();
    assert_eq!(named.clone().option("prompt_name", "query").unwrap().call("good film").unwrap(), plain);
    let unknown = named.option("prompt_name", "passage").err().unwrap().to_string();
    assert!(unknown.contains("the model knows query"), "{unknown}");
    for (name, options, said) in [
        ("similar", json!({ "prompt": "a", "prompt_name": "b" }), "two places for one thing"),
        ("similar", json!({ "prompt_name": "b" }), "names no prompts"),
        ("similar", json!({ "dimensions": 17 }), "`dimensions` is 17; the model's vectors have 16"),
        ("similar", json!({ "stride": 33 }), "`stride` is 33"),
    ] {
        let error = refused(name, &fixture("fill"), options);
        assert!(error.contains(said), "{error}");
    }
    let options = json!({ "fields": { "text": "a.b" } });
    let moved = Embed::new(super::open(&fixture("fill"))).with(options.as_object().unwrap()).err().unwrap();
    assert!(moved.contains("`fields.text`"), "{moved}");
    let error = refused("rerank", &fixture("rank"), json!({ "query_prompt": "query: " }));
    assert!(error.contains("`query_prompt` is for models that embed"), "{error}");
}

/// Would catch: a text that is worth the mean of its windows or its beginning alone, a query that is cut in a window.
#[tokio::test]
async fn a_text_is_worth_its_best_window() {
    let needle = "the film was very good";
    for folder in ["rank", "fill"] {
        let rerank = function("rerank", &fixture(folder), json!({ "too_long": "window", "stride": 0 }));
        let text = long() + needle;
        let ranks = bare(&*rerank, &json!({ "query": needle, "texts": [text] }), json!({})).await;
        let found = ranks[0]["score"].as_f64().unwrap();
        let (encoder, query) = (super::open(&fixture(folder)), needle.to_owned());
        let cut = crate::inference::Cut { give: crate::inference::Give::Second, stride: Some(0), ..Default::default() };
        let best = match folder {
            "rank" => {
                let pair = crate::inference::Text::pair(query, text.as_str());
                let windows = encoder.windows(vec![pair], cut).await.unwrap().remove(0);
                assert!(windows.len() > 2);
                let answers = encoder.answer_windows(crate::inference::Head::Logits, windows).await.unwrap();
                let best = answers.iter().map(|answer| answer.values[0]).fold(f32::NEG_INFINITY, f32::max);
                f64::from(1.0 / (1.0 + (-best).exp()))
            }
            _ => {
                let windows = encoder.windows(vec![text.as_str().into()], cut).await.unwrap().remove(0);
                let of_text = encoder.answer_windows(crate::inference::Head::Embed, windows).await.unwrap();
                let of_query = encoder.answer(crate::inference::Head::Embed, vec![query]).await.unwrap().remove(0);
                let cosine = |answer: &crate::inference::Answer| {
                    answer.values.iter().zip(&of_query.values).map(|(a, b)| f64::from(a * b)).sum::<f64>()
                };
                of_text.iter().map(cosine).fold(f64::NEG_INFINITY, f64::max)
            }
        };
        assert!((found - best).abs() < 1e-5, "{folder}: {found} {best}");
    }
    let rerank = function("rerank", &fixture("rank"), json!({ "too_long": "window" }));
    let asked = [json!({ "query": "a ".repeat(40), "texts": ["b"] }), json!({ "query": "a", "texts": ["b"] })];
    let outputs = ask(&*rerank, &asked).await;
    assert_eq!(code(&outputs[0]), ("query_too_long".to_owned(), "query".to_owned()));
    assert!(outputs[1]["ranks"].is_array(), "{}", outputs[1]);
}

/// Would catch: a mask behind the first window that is cut off, words that are not those of the same text alone.
#[tokio::test]
async fn a_window_stands_around_the_masks() {
    let fill = function("fill", &fixture("fill"), json!({ "too_long": "window" }));
    let before = "a ".repeat(80);
    let inputs = [
        json!(format!("{before} [MASK] b")),
        json!(format!("[MASK] {before}")),
        json!(format!("[MASK] {before} [MASK]")),
        json!(format!("good [MASK] {before}")),
    ];
    let outputs = ask(&*fill, &inputs).await;
    assert_eq!(outputs[0]["fills"].as_array().unwrap().len(), 5);
    let far = code(&outputs[2]);
    assert_eq!(far, ("text_too_long".to_owned(), "text".to_owned()));
    // Where the mask stands in the first window, it is the same as cut.
    let cut = ask(&*function("fill", &fixture("fill"), json!({})), &inputs).await;
    assert_eq!((code(&cut[0]).0.as_str(), &cut[1], &cut[3]), ("no_mask", &outputs[1], &outputs[3]));
}

/// Would catch: options by method that are passed over.
#[test]
fn one_line_of_rust_says_what_becomes_of_long_texts() {
    let path = |name: &str| fixture(name).display().to_string();
    let (text, policy) = (long(), TooLong::Window);
    let similar = api::similar(&path("fill")).unwrap().too_long(policy).load().unwrap();
    assert!(similar.call(("good", [text.as_str()])).unwrap().windows > 2);
    let rerank = api::rerank(&path("rank")).unwrap().too_long(policy).load().unwrap();
    assert!(rerank.call(("good", [text.as_str()])).unwrap().windows > 2);
    let fill = api::fill(&path("fill")).unwrap().too_long(policy).load().unwrap();
    assert!(fill.call(format!("{text} [MASK]")).unwrap().truncated);
    let answer = api::answer(&path("answer")).unwrap().too_long(TooLong::Truncate).load().unwrap();
    let cut = answer.call(("who?", text.as_str())).unwrap();
    assert_eq!((cut.windows, cut.truncated), (1, true));
    let embed = api::embed(&path("fill")).unwrap();
    let slid = embed.clone().too_long(policy).unwrap().call(&text).unwrap();
    assert_ne!(slid, embed.call(&text).unwrap());
    let error = embed.too_long(TooLong::Reject).unwrap().call_batch(["good", text.as_str()]).unwrap_err().to_string();
    assert!(error.starts_with("input 1, field `text`: ") && error.contains("limit of the model is 64"), "{error}");
    let replies = api::reply(&path("fill")).unwrap().replies(["It is on its way."]).min_score(-1.0).too_long(policy);
    assert!(replies.load().unwrap().call(text.as_str()).unwrap().windows > Some(2));
}

/// Would catch: a slice of long texts in windows that is called at once, whatever it takes.
#[tokio::test]
async fn windows_of_many_texts_are_bounded() {
    use crate::function::{CallError, Input};
    use futures_util::FutureExt;
    let slice: Vec<Input> = (0..20).map(|n| offline::input(n, &Value::from("a ".repeat(19_000)))).collect();
    for function in [mood("one", json!({ "too_long": "window" })), vectors(json!({ "too_long": "window" }))] {
        assert!(matches!(function.call(&slice).now_or_never(), Some(Err(CallError::TooMuch(_)))));
    }
}
