//! Models, and a call of each function.

use super::{Findings, Level};
use crate::config::{Config, FUNCTIONS, Pipeline};
use crate::event::at;
use crate::function::{Function, offline};
use crate::inference::{Options, Registry};
use crate::worker::{build, folds};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub async fn check(config: &Config, findings: &mut Findings) {
    let registry = Registry::new(Options::default());
    for pipeline in &config.pipeline {
        let about = format!("pipeline {}", pipeline.name);
        let function = tokio::task::block_in_place(|| build::function(config, pipeline, &registry));
        let Some(function) = findings.take(&about, function) else { continue };
        let answer = canary(config, pipeline, &function).await;
        if let Some(text) = findings.take(&about, answer) {
            findings.add(Level::Good, &about, text);
        }
    }
}

/// One call, with the function's own example where it has one. It must be scored; a function of fields may say that the canary has none.
async fn canary(config: &Config, pipeline: &Pipeline, function: &Arc<dyn Function>) -> anyhow::Result<String> {
    let spec = function.spec();
    let mut sitting = folds::offline(config, pipeline).sitting();
    let canary = [match function.requests().map(|requests| requests.about()) {
        Some(about) => event(about.example, about.fields, &pipeline.options),
        None => json!("This is a canary."),
    }];
    let outputs = offline::call(&**function, &mut *sitting, 0, &canary).await.context("the function failed on a canary")?;
    let rejected = outputs.first().and_then(|output| output.get("rejected")).is_some();
    let of_texts = FUNCTIONS.iter().any(|(name, model)| *name == pipeline.function && *model);
    anyhow::ensure!(outputs.len() == 1, "the function gave {} outputs for one canary", outputs.len());
    anyhow::ensure!(!(rejected && of_texts), "the function rejects a canary: {}", outputs[0]);
    Ok(match &*spec.model {
        "" => format!("function {} answers", spec.name),
        model => format!("function {} answers with model {model}", spec.name),
    })
}

/// An example as an event of the pipeline, where the options say how its events look: the fields stand at their paths, and there is a
/// key.
fn event(example: Value, fields: &[&str], options: &Map<String, Value>) -> Value {
    if !["fields", "pass_event", "output_key"].iter().any(|name| options.contains_key(*name)) {
        return example;
    }
    let mut event = match example {
        Value::Object(event) => event,
        text => Map::from_iter([(fields.first().copied().unwrap_or("text").to_owned(), text)]),
    };
    let paths = options.get("fields").and_then(Value::as_object).into_iter().flatten();
    let paths: Vec<(&String, &str)> = paths.filter_map(|(name, path)| Some((name, path.as_str()?))).collect();
    let values: Vec<Option<Value>> = paths.iter().map(|(name, _)| event.remove(*name)).collect();
    for ((_, path), value) in paths.into_iter().zip(values) {
        if let Some(value) = value {
            put(&mut event, path, value);
        }
    }
    let key = match options.get("output_key") {
        Some(Value::Array(paths)) => paths.first().and_then(Value::as_str),
        path => path.and_then(Value::as_str),
    };
    let mut event = Value::Object(event);
    if let (Some(key), Value::Object(members)) = (key.filter(|key| at(&event, key).is_none()), &mut event) {
        put(members, key, json!("canary"));
    }
    event
}

/// Sets what stands at a dotted path.
fn put(members: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((first, rest)) = path.split_once('.') else {
        members.insert(path.to_owned(), value);
        return;
    };
    let inner = members.entry(first).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::build;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Would catch: a configuration that works and fails its check, because the canary is no event of the pipeline.
    #[tokio::test]
    async fn the_canary_looks_like_an_event_of_the_pipeline() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions");
        let model = |name: &str| format!("[models.{name}]\npath = {:?}\n", root.join(name).display().to_string());
        let pipeline = |name: &str, function: &str, model: &str, options: &str| {
            format!(
                "[[pipeline]]\nname = {name:?}\ntopic = \"t\"\nevent = \"json\"\nfunction = {function:?}\nmodel = {model:?}\n\
                 options = {options}\n"
            )
        };
        let fields = r#"{ fields = { question = "ask", context = "page.body" }, output_key = "page.id" }"#;
        let text = ["answer", "one", "fill"].map(model).concat()
            + &pipeline("policy-answers", "answer", "answer", fields)
            + &pipeline("digest", "summarize", "fill", "{ pass_event = true }")
            + &pipeline("swapped", "classify", "one", r#"{ fields = { text = "a.b" }, output_key = ["who.id", "id"] }"#)
            + &pipeline("vectors", "embed", "fill", "{ pass_event = true }")
            + "fields = { text = \"body.text\" }\n";
        let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
        let registry = Registry::new(Options::default());
        for pipeline in &config.pipeline {
            let function = build::function(&config, pipeline, &registry).unwrap();
            let said = canary(&config, pipeline, &function).await;
            assert!(said.is_ok(), "{}: {:?}", pipeline.name, said.err());
        }
    }
}
