//! What scores: the pipeline's function, or other models over the same features, one for each fold.

use crate::cli::common::Usage;
use crate::config::risk::{Explain, Options, Risk as Declared};
use crate::config::{Config, Pipeline};
use crate::function::risk::{Loaded, Risk};
use crate::scoring::{Model, Policy};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Functions by the fold whose events they score; without folds there is one, of the fold without a name.
pub struct Models(BTreeMap<String, Risk>);

impl Models {
    pub fn of(&self, fold: &str) -> Option<&Risk> {
        self.0.get(fold)
    }

    /// The function of a pipeline.
    pub fn of_pipeline(config: &Config, pipeline: &Pipeline, declared: &Declared) -> Result<Self> {
        let name = &pipeline.name;
        if pipeline.model.is_none() && !pipeline.options.contains_key("rules") {
            return Err(Usage(format!("pipeline `{name}` has neither a model nor rules; name a model with --model")).into());
        }
        let mut options = pipeline.options.clone();
        // Nothing is handed on here, and only the score is looked at.
        ["pass_event", "output_key", "shadow", "reasons"].iter().for_each(|name| drop(options.remove(*name)));
        options.insert("explain".into(), "never".into());
        let function = Risk::load(declared, &options, pipeline.model.as_deref(), &config.models, &config.base);
        Ok(Self(BTreeMap::from([(String::new(), function.with_context(|| format!("pipeline `{name}`"))?)])))
    }

    /// Files, as `FOLD=FILE` where there are folds. `options` say which events are scored.
    pub fn of_files(given: &[String], folds: bool, options: &Options, declared: &Declared) -> Result<Self> {
        let names: Vec<&str> = declared.feature.iter().map(|feature| feature.name.as_str()).collect();
        let mut functions = BTreeMap::new();
        for given in given {
            let (fold, path) = match (folds, given.split_once('=')) {
                (true, Some((fold, path))) => (fold, path),
                (true, None) => return Err(Usage(format!("--model {given}: with --fold write FOLD=FILE")).into()),
                (false, _) => ("", given.as_str()),
            };
            let options = Options {
                explain: Some(Explain::Never),
                include_features: false,
                timings: false,
                when: options.when.clone(),
                ..Options::default()
            };
            // What a score leads to is not asked here.
            let policy = Policy::parse("version = \"eval\"").context("a policy without thresholds")?;
            let model = Some((given.clone(), Model::load(Path::new(path))?));
            let function = Risk::new(&names, options, Loaded { model, policy: Some(policy), ..Loaded::default() })?;
            if functions.insert(fold.to_owned(), function).is_some() {
                return Err(
                    Usage(format!("--model {given}: one model is enough; several go with --fold, one for each fold")).into()
                );
            }
        }
        Ok(Self(functions))
    }
}
