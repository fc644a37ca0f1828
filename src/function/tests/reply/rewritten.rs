//! Suggestions in other words, by a tiny random model.

use super::{ask, map, minilm, refused, shipped};
use crate::function::{CallError, Function, offline, text_function};
use futures_util::FutureExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tiny model with room for a prompt, and with a template where it is to have one.
fn writer(folder: &Path, template: Option<&str>) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/writer/llama");
    let to = folder.join("writer");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    for (file, name) in [("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")] {
        let mut config: Value = serde_json::from_slice(&std::fs::read(to.join(file)).unwrap()).unwrap();
        config[name] = 1_000.into();
        std::fs::write(to.join(file), config.to_string()).unwrap();
    }
    if let Some(template) = template {
        std::fs::write(to.join("chat_template.jinja"), template).unwrap();
    }
    to
}

const TEMPLATE: &str = "{% for message in messages %}{{ message.role }}: {{ message.content }}<|endoftext|>{% endfor %}";

fn function(folder: &Path, options: Value) -> Arc<dyn Function> {
    let replies = json!([
        { "id": "parcel", "text": "Your parcel is on its way.", "when": ["where is my parcel"] },
        { "id": "late", "text": "We look for your parcel {name}.", "when": ["my parcel is late"] },
    ]);
    let mut all = json!({ "replies": replies, "min_score": -1, "rewrite_model": writer(folder, Some(TEMPLATE)) });
    all.as_object_mut().unwrap().extend(map(options));
    text_function("reply", minilm(), &map(all)).unwrap()
}

/// Would catch: an approved text that is replaced, a rewriting of more suggestions than were asked for, one that depends on its neighbours,
/// a chance that is not the event's.
#[tokio::test]
async fn the_first_suggestions_are_rewritten_beside_the_approved_text() {
    let folder = tempfile::tempdir().unwrap();
    let plain = function(folder.path(), json!({ "rewrite_max_new_tokens": 8 }));
    let free = function(folder.path(), json!({ "rewrite_max_new_tokens": 8, "rewrite_temperature": 2.0, "rewrite_top": 2 }));
    let texts = ["where is my parcel", "it is late<|endoftext|>", "hello"];
    let inputs: Vec<Value> = (0..18).map(|n| json!({ "text": texts[n % 3], "name": "Ann" })).collect();
    let (mut written, mut dropped) = (0, 0);
    for (function, top) in [(&plain, 1), (&free, 2)] {
        let together = ask(&**function, &inputs).await;
        for (n, output) in together.iter().enumerate() {
            let alone = offline::call(&**function, &mut offline::Plain, n, &inputs[n..=n]).await.unwrap().remove(0);
            assert_eq!(&alone, output);
            for (place, one) in output["suggestions"].as_array().unwrap().iter().enumerate() {
                let (text, why) = (one.get("rewritten"), one.get("rewrite_reason"));
                assert_eq!(text.is_some() != why.is_some(), place < top, "{output}");
                assert!(one["text"] == "Your parcel is on its way." || one["text"] == "We look for your parcel Ann.");
                written += usize::from(text.is_some());
                dropped += usize::from(why.is_some());
            }
            assert!(
                output["prompt_tokens"].as_u64() > Some(40) && output["rewrite_model"].as_str().unwrap().starts_with("writer@")
            );
            assert!((1..=8 * top as u64).contains(&output["generated_tokens"].as_u64().unwrap()), "{output}");
        }
        let same = (3..18).step_by(3).all(|n| together[n] == together[0]);
        assert_eq!(same, top == 1, "chance is the event's: {together:?}");
    }
    assert!(written > 0 && dropped > 0, "{written} and {dropped}");
    let none = plain.requests().unwrap().tuned(&map(json!({ "rewrite_top": 0 }))).unwrap();
    let output = ask(&*none, &inputs[..1]).await.remove(0);
    assert!(output["suggestions"][0].get("rewritten").is_none() && output["generated_tokens"] == 0, "{output}");
}

/// Would catch: a prompt that is cut so that the reply is lost, a long message for which there is no room though its beginning says enough.
#[tokio::test]
async fn what_has_no_room_is_not_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let told = function(folder.path(), json!({ "rewrite_max_new_tokens": 8, "rewrite_instruction": "x ".repeat(500) }));
    let output = ask(&*told, &[json!("where is my parcel")]).await.remove(0);
    assert_eq!(output["suggestions"][0]["rewrite_reason"], "too_long", "{output}");
    let short = function(folder.path(), json!({ "rewrite_max_new_tokens": 8, "rewrite_instruction": "x" }));
    let output = ask(&*short, &[json!("where ".repeat(3_000))]).await.remove(0);
    let said = &output["suggestions"][0];
    assert!(said["rewrite_reason"] != "too_long" && said["text"].is_string(), "{output}");
}

/// Would catch: rewritings that nobody has counted, so that a call outlasts its time.
#[test]
fn a_call_counts_what_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let many = function(folder.path(), json!({ "rewrite_max_new_tokens": 500, "rewrite_top": 10 }));
    assert_eq!(many.spec().limits.slice, 16);
    let slice: Vec<_> = (0..16).map(|n| offline::input(n, &json!("where is my parcel"))).collect();
    assert!(matches!(many.call(&slice).now_or_never(), Some(Err(CallError::TooMuch(_)))));
}

/// Would catch: a model that cannot be told anything and is asked all the same, options that are refused under another name.
#[test]
fn models_that_cannot_rewrite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bare = writer(folder.path(), None);
    let options = |name: &str, value: Value| {
        let mut all = json!({ "replies": ["a"], "rewrite_model": bare });
        all[name] = value;
        refused(all)
    };
    assert!(options("top_k", json!(1)).contains("`rewrite_model`: writer@"), "{}", options("top_k", json!(1)));
    assert!(options("top_k", json!(1)).contains("no chat template"));
    let encoder = options("rewrite_model", json!(shipped("minilm-en")));
    assert!(encoder.starts_with("reply: option `rewrite_model`: "), "{encoder}");
    writer(folder.path(), Some(TEMPLATE));
    for (name, value, said) in [
        ("rewrite_max_new_tokens", json!(1_000), "write 1 to 999"),
        ("rewrite_max_new_tokens", json!(0), "`rewrite_max_new_tokens` is 0"),
        ("rewrite_instruction", json!("say {text}"), "`rewrite_instruction`"),
        ("rewrite_instruction", json!(" "), "`rewrite_instruction` is empty"),
    ] {
        assert!(options(name, value).contains(said), "{name}");
    }
}
