//! Schemas from files, and the schema registry.

use super::{Findings, Level};
use crate::cli::decoding::Decoding;
use crate::config::Config;
use anyhow::Context;

pub async fn check(config: &Config, findings: &mut Findings) {
    for pipeline in config.pipeline.iter().filter(|pipeline| !pipeline.format.is_json()) {
        let about = format!("pipeline {}", pipeline.name);
        let Some(decoding) = findings.take(&about, Decoding::of(config, pipeline)) else { continue };
        let answer = decoding.registry_answers().await.transpose().context("the schema registry gives no answer");
        match findings.take(&about, answer) {
            Some(Some(())) => {
                let url = config.schema_registry.urls().join(", ");
                findings.add(Level::Good, &about, format!("the schema registry answers at {url}"));
            }
            Some(None) => findings.add(Level::Good, &about, format!("values are read as {}", pipeline.format.as_str())),
            None => {}
        }
    }
}
