//! `summarize` with `method = "generate"`: tiny random networks, held against the pipeline of transformers 4.57.1.

use super::translate::{folder, opened, truth};
use super::{ask, bare, code, fixture, map};
use crate::function::model::{Model, Opened};
use crate::function::summarize::Method;
use crate::function::{Function, api, text_function};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

fn function(model: impl Into<Model>, options: Value) -> Arc<dyn Function> {
    text_function("summarize", model, &map(options)).unwrap()
}

/// Would catch: a prefix or options of the folder's task that are passed over, a search with others.
#[tokio::test]
async fn summaries_are_those_of_the_pipeline() {
    for (name, of) in [("t5", "t5_summary"), ("bart", "bart_summary")] {
        let summarize = function(opened(name), json!({ "method": "generate" }));
        for case in truth(of) {
            let mut parameters = case["parameters"].clone();
            if let Some(least) = parameters.as_object_mut().unwrap().remove("min_length") {
                parameters["generate_parameters"] = json!({ "min_length": least });
            }
            let ours = bare(&*summarize, &case["inputs"], parameters).await;
            assert_eq!(
                ours["summary_text"].as_str().unwrap(),
                case["output"][0]["summary_text"].as_str().unwrap().trim(),
                "{case}"
            );
        }
    }
}

/// Would catch: a causal model that is not told what to do, a text that is too long for it and cut in silence.
#[tokio::test]
async fn a_causal_model_is_told_in_words() {
    let writer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/writer/llama");
    let options = map(json!({ "method": "generate", "max_new_tokens": 6, "prompt": "a {text} b" }));
    let model = Model::open("tiny", &writer, "summarize", &options).unwrap();
    let summarize = function(model.clone(), Value::Object(options));
    let outputs = ask(&*summarize, &[json!("the cat"), json!("the cat sat. ".repeat(40)), json!("the cat")]).await;
    assert_eq!(outputs[0], outputs[2]);
    assert!(outputs[0]["generated_tokens"].as_u64().unwrap() <= 6 && outputs[0]["finish_reason"].is_string(), "{outputs:?}");
    assert_eq!((&outputs[0]["truncated"], &outputs[1]["truncated"]), (&json!(false), &json!(true)));
    let told = text_function("generate", model.clone(), &map(json!({}))).err().unwrap();
    assert!(told.contains("no text function"), "{told}");
    for (options, said) in [
        (json!({ "method": "generate", "max_new_tokens": 6, "prompt": "no place" }), "`prompt` has no {text}"),
        (json!({ "method": "generate", "prefix": "x" }), "`prefix` is for models that write a text from a text"),
        (json!({ "method": "generate", "max_sentences": 2 }), "`max_sentences` is for the method `extract`"),
        (json!({ "method": "generate", "max_new_tokens": 6, "too_long": "window" }), "no windows"),
        (json!({}), "needs a model that embeds"),
        (json!({ "max_new_tokens": 6 }), "are for the method `generate`"),
    ] {
        let error = text_function("summarize", model.clone(), &map(options)).err().unwrap();
        assert!(error.starts_with("summarize: ") && error.contains(said), "{error}");
    }
    let reads = text_function("summarize", super::open(&fixture("fill")), &map(json!({ "method": "generate" }))).err().unwrap();
    assert!(reads.contains("needs a model that writes"), "{reads}");
}

#[tokio::test]
async fn a_long_text_has_a_summary_of_each_part() {
    let long = json!("the cat sat on the mat. ".repeat(15));
    let parts = ask(
        &*function(opened("t5"), json!({ "method": "generate", "too_long": "window", "max_new_tokens": 5 })),
        std::slice::from_ref(&long),
    )
    .await;
    assert!(parts[0]["windows"].as_u64() > Some(1) && parts[0]["truncated"] == false, "{parts:?}");
    let strict = ask(&*function(opened("t5"), json!({ "method": "generate", "too_long": "reject" })), &[long]).await;
    assert_eq!(code(&strict[0]), ("text_too_long".into(), "text".into()));
}

#[test]
fn one_line_of_rust_summarises() {
    let path = folder("t5").display().to_string();
    let summarize = api::summarize(&path).unwrap().method(Method::Generate).option("max_new_tokens", 6).load().unwrap();
    assert!(summarize.call("the cat sat on the mat.").unwrap().generated_tokens <= 6);
}
