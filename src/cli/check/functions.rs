//! Models, and a call of each function.

use super::{Findings, Level};
use crate::config::{Config, FUNCTIONS, Pipeline};
use crate::function::{Function, offline};
use crate::inference::{Options, Registry};
use crate::worker::{build, folds};
use anyhow::Context;
use serde_json::json;
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
    let canary = [function.requests().map_or_else(|| json!("This is a canary."), |requests| requests.about().example)];
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
