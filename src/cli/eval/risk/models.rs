//! What scores: the pipeline's function, or the same with another model, one for each fold.

use crate::cli::common::Usage;
use crate::config::risk::Risk as Declared;
use crate::config::{Config, Model, Pipeline};
use crate::function::risk::Risk;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Functions by the fold whose events they score; without folds there is one, of the fold without a name.
pub struct Models(BTreeMap<String, Risk>);

impl Models {
    pub fn load(config: &Config, pipeline: &Pipeline, declared: &Declared, given: &[String], folds: bool) -> Result<Self> {
        let function = |model: Option<&str>, models: &BTreeMap<String, Model>| {
            let mut options = pipeline.options.clone();
            // Nothing is handed on here, and only the score is looked at.
            ["pass_event", "output_key", "shadow", "reasons", "explain"].iter().for_each(|name| drop(options.remove(*name)));
            options.insert("explain".into(), "never".into());
            options.insert("include_features".into(), false.into());
            Risk::load(declared, &options, model, models, &config.base)
        };
        let of_pipeline = || format!("pipeline `{}`", pipeline.name);
        let mut functions = BTreeMap::new();
        for given in given {
            let (fold, path) = match (folds, given.split_once('=')) {
                (true, Some((fold, path))) => (fold, path),
                (true, None) => return Err(Usage(format!("--model {given}: with --fold write FOLD=FILE")).into()),
                (false, _) => ("", given.as_str()),
            };
            let named = BTreeMap::from([("eval".to_owned(), Model { path: path.into(), digest: None })]);
            let found = function(Some("eval"), &named).with_context(of_pipeline)?;
            if functions.insert(fold.to_owned(), found).is_some() {
                return Err(
                    Usage(format!("--model {given}: one model is enough; several go with --fold, one for each fold")).into()
                );
            }
        }
        if given.is_empty() {
            let scores = pipeline.model.is_some() || pipeline.options.contains_key("rules");
            if !scores {
                return Err(Usage(format!("{} has neither a model nor rules; name a model with --model", of_pipeline())).into());
            }
            functions.insert(String::new(), function(pipeline.model.as_deref(), &config.models).with_context(of_pipeline)?);
        }
        Ok(Self(functions))
    }

    pub fn of(&self, fold: &str) -> Option<&Risk> {
        self.0.get(fold)
    }
}
