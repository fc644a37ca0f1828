//! The text functions on small models and real ones.

mod api;
mod bad;
mod continuation;
mod cost;
mod minilm;
mod parity;
mod policies;
mod prompts;
mod ranking;
mod reply;
mod summaries;
mod too_long;
mod translate;

use super::{Function, offline, text_function};
use crate::inference::{Encoder, Options, Threads};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tiny random model, written by `tests/fixtures/functions/make.py`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name)
}

fn open(folder: &Path) -> Arc<Encoder> {
    let options = Options { threads: Threads::Exactly(2), ..Options::default() };
    Arc::new(Encoder::open("tiny", folder, None, &options).unwrap())
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn function(name: &str, folder: &Path, options: Value) -> Arc<dyn Function> {
    text_function(name, open(folder), &map(options)).unwrap()
}

/// Why options are refused.
fn refused(name: &str, folder: &Path, options: Value) -> String {
    text_function(name, open(folder), &map(options)).err().unwrap()
}

async fn ask(function: &dyn Function, inputs: &[Value]) -> Vec<Value> {
    offline::call(function, &mut *offline::Offline::sitting(&offline::Plain), 0, inputs).await.unwrap()
}

/// Asks one input with parameters of its own, and gives what the task's specification asks for.
async fn bare(function: &dyn Function, input: &Value, parameters: Value) -> Value {
    let tuned = function.requests().unwrap().tuned(&map(parameters)).unwrap();
    let output = ask(&*tuned, std::slice::from_ref(input)).await.remove(0);
    assert!(output.get("rejected").is_none(), "{output}");
    tuned.requests().unwrap().bare(&output)
}

/// The characters of a text from one to another.
fn cut(text: &str, start: &Value, end: &Value) -> String {
    let at = |value: &Value| value.as_u64().unwrap() as usize;
    text.chars().skip(at(start)).take(at(end) - at(start)).collect()
}

fn code(output: &Value) -> (String, String) {
    let part = |name: &str| output["rejected"][name].as_str().unwrap_or_default().to_owned();
    (part("code"), part("field"))
}

/// Would catch: an example that its own function refuses, options that are not shown.
#[tokio::test]
async fn each_function_answers_its_example() {
    for (name, folder) in [
        ("answer", "answer"),
        ("classify", "one"),
        ("classify", "nli"),
        ("fill", "fill"),
        ("rerank", "rank"),
        ("similar", "fill"),
        ("summarize", "fill"),
        ("tag", "tag"),
    ] {
        let function = function(name, &fixture(folder), json!({}));
        let about = function.requests().unwrap().about();
        let output = ask(&*function, &[about.example]).await.remove(0);
        assert!(output.get("rejected").is_none() && output["tokens"].as_u64() > Some(2), "{name}: {output}");
        let shown = about.options.as_object().unwrap();
        assert!(about.parameters.iter().all(|name| shown.contains_key(*name)), "{name}: {shown:?}");
        assert_eq!(function.spec().name, name);
    }
}

/// Would catch: a shipped sample whose options are refused, or whose example event is not read as it says.
#[tokio::test]
async fn the_shipped_sample_is_taken() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/texts.toml");
    let config = crate::config::Config::load(&path, &std::collections::BTreeMap::new()).unwrap();
    let build = |name: &str| {
        let pipeline = config.pipeline.iter().find(|pipeline| pipeline.name == name).unwrap();
        let folder = match pipeline.function.as_str() {
            "tag" => "tag",
            "answer" => "answer",
            _ => "fill",
        };
        text_function(&pipeline.function, open(&fixture(folder)), &pipeline.options).unwrap()
    };
    for pipeline in &config.pipeline {
        assert!(build(&pipeline.name).requests().is_some());
    }
    let asked = json!({ "id": "1", "ask": "who lives?", "page": { "body": "Anna lives in Paris." } });
    let output = ask(&*build("policy-answers"), &[asked]).await.remove(0);
    assert!(output["answers"].as_array().unwrap().len() == 3, "{output}");
}
