//! Models, and a call of each function.

use super::{Findings, Level};
use crate::cli::cases;
use crate::cli::rig::Rig;
use crate::config::{Config, FUNCTIONS, Pipeline};
use crate::function::{Function, example, offline};
use crate::inference::{Options, Registry};
use crate::worker::{Own, folds, models};
use anyhow::Context;
use serde_json::json;
use std::sync::Arc;

/// With `tails` also the last events of each partition.
pub async fn check(config: &Config, own: &Own, tails: bool, findings: &mut Findings) {
    let options = Options { memory: models::memory(config), ..Options::default() };
    let registry = Registry::new(options.clone());
    for pipeline in &config.pipeline {
        let about = format!("pipeline {}", pipeline.name);
        let function = tokio::task::block_in_place(|| own.function(config, pipeline, &registry));
        let Some(function) = findings.take(&about, function) else { continue };
        let answer = canary(config, pipeline, &function).await;
        if let Some(text) = findings.take(&about, answer) {
            findings.add(Level::Good, &about, text);
        }
        variants(config, pipeline, own, &registry, findings).await;
        if tails {
            let Some(rig) = findings.take(&about, Rig::with(config, pipeline, function)) else { continue };
            super::tails::look(config, pipeline, &rig, findings).await;
        }
    }
    // A worker has the models of all pipelines in its budget when it loads a version.
    let beside = Options { memory: options.memory.beside(), ..options };
    for pipeline in &config.pipeline {
        for name in pipeline.version.keys() {
            version(config, pipeline, name, (own, &beside), findings).await;
        }
    }
}

/// The shadow and the rungs of a ladder, as far as the pipeline has them. A shadow that fails stops nothing.
async fn variants(config: &Config, pipeline: &Pipeline, own: &Own, registry: &Registry, findings: &mut Findings) {
    let rungs =
        pipeline.ladder.iter().flat_map(|ladder| ladder.rung.iter().enumerate().map(move |(n, rung)| (ladder.name(n + 1), rung)));
    let rungs = rungs.filter_map(|(name, rung)| Some((format!("rung {name}"), rung.of(pipeline)?, Level::Wrong)));
    let shadow = pipeline.shadow.as_ref().map(|shadow| ("shadow".to_owned(), shadow.challenger(pipeline), Level::Warning));
    for (what, varied, level) in rungs.chain(shadow) {
        let about = format!("pipeline {}, {what}", pipeline.name);
        let answer = match tokio::task::block_in_place(|| own.function(config, &varied, registry)) {
            Ok(function) => canary(config, &varied, &function).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(text) => findings.add(Level::Good, &about, text),
            Err(error) => findings.add(level, &about, format!("{error:#}")),
        }
    }
}

/// A version that a swap may want: as a worker would try it.
async fn version(config: &Config, pipeline: &Pipeline, name: &str, (own, options): (&Own, &Options), findings: &mut Findings) {
    let Some(of) = pipeline.as_version(name) else { return };
    let about = format!("pipeline {}, version {name}", pipeline.name);
    // A worker reads its model anew too.
    let function = tokio::task::block_in_place(|| own.function(config, &of, &Registry::new(options.clone())));
    let Some(function) = findings.take(&about, function) else { return };
    let answer = canary(config, &of, &function).await;
    if let Some(text) = findings.take(&about, answer) {
        findings.add(Level::Good, &about, text);
    }
    if let Some(cases) = pipeline.version.get(name).and_then(|version| version.cases.as_ref()) {
        let passed = cases::passed(config, &of, function, &config.base.join(cases)).await;
        if let Some(count) = findings.take(&about, passed) {
            findings.add(Level::Good, &about, format!("{count} cases passed"));
        }
    }
}

/// One call, with the function's own example where it has one. It must be scored; a function of fields may say that the canary has none.
async fn canary(config: &Config, pipeline: &Pipeline, function: &Arc<dyn Function>) -> anyhow::Result<String> {
    let spec = function.spec();
    let mut sitting = folds::offline(config, pipeline).sitting();
    let canary = [match function.requests().map(|requests| requests.about()) {
        Some(about) => example::event(about.example, about.fields, &pipeline.options),
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
