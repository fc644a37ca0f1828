//! Builds the versions of a pipeline that a swap wants.

use super::own::Own;
use super::spare::{Counted, Work};
use super::{limited, metered};
use crate::config::{Config, Pipeline};
use crate::function::Function;
use crate::inference::{Meter, Options, Registry};
use crate::pipeline::{CanaryLimits, Strain, Version, Versions};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;

/// Puts the cases at a path through a function of a pipeline; how many there are, or which fails. Whoever composes the worker brings it along.
pub type Trial =
    Arc<dyn Fn(Arc<Config>, Pipeline, Arc<dyn Function>, PathBuf) -> BoxFuture<'static, Result<usize, String>> + Send + Sync>;

/// Takes up the labels of a function that was built: these are shown by name.
pub type Declare = Arc<dyn Fn(&dyn Function) + Send + Sync>;

/// What a version is built from.
pub struct Loader {
    pub config: Arc<Config>,
    pub pipeline: Pipeline,
    pub own: Own,
    /// How models are held; the memory budget is that of all models.
    pub options: Options,
    pub meter: Meter,
    /// Calls of versions are work like any other of the stream.
    pub work: Work,
    pub trial: Option<Trial>,
    pub declare: Declare,
}

impl Versions for Loader {
    fn load(&self, name: Arc<str>) -> BoxFuture<'static, Result<Version, String>> {
        let Some(of) = self.pipeline.as_version(&name) else {
            let known = self.pipeline.versions().join(", ");
            let why =
                format!("this worker's config has no version {name:?} of the pipeline {}, it has {known}", self.pipeline.name);
            return async { Err(why) }.boxed();
        };
        let (config, own, options, meter) = (self.config.clone(), self.own.clone(), self.options.clone(), self.meter.clone());
        let (declare, work) = (self.declare.clone(), self.work.clone());
        let cases = self.pipeline.version.get(&*name).and_then(|version| version.cases.clone()).zip(self.trial.clone());
        // Tasks of their own: what waits for this has slices to hand out meanwhile.
        let building = tokio::spawn(async move {
            let built = {
                let (config, of) = (config.clone(), of.clone());
                tokio::task::spawn_blocking(move || build(&config, &of, name, (&own, options), (meter, declare, work))).await
            };
            let version = built.map_err(|cause| format!("building it ended badly: {cause}"))??;
            if let Some((cases, trial)) = cases {
                let path = config.base.join(cases);
                let passed = trial(config, of, version.function.clone(), path).await?;
                tracing::info!(version = &*version.name, passed, "A version has passed its cases.");
            }
            Ok(version)
        });
        async move { building.await.unwrap_or_else(|cause| Err(format!("trying it ended badly: {cause}"))) }.boxed()
    }

    fn limits(&self) -> Option<CanaryLimits> {
        let canary = self.pipeline.canary.clone().unwrap_or_default();
        let (min_events, dead_share_above, score_shift) = (canary.min_events, canary.dead_share_above, canary.score_shift);
        Some(CanaryLimits { min_events, dead_share_above, score_shift })
    }
}

/// Reads the model anew, whatever is in memory under its name: its files may have been mended since. It goes with the version. It is read only
/// where the budget has room for it beside all other models: none goes for it, least of all the one that serves.
fn build(
    config: &Config,
    of: &Pipeline,
    name: Arc<str>,
    (own, options): (&Own, Options),
    (meter, declare, work): (Meter, Declare, Work),
) -> Result<Version, String> {
    let options = Options { memory: options.memory.beside(), ..options };
    let function = own.function(config, of, &Registry::new(options)).map_err(|cause| format!("{cause:#}"))?;
    declare(&*function);
    let model = function.spec().model.as_str().into();
    let function = Arc::new(Counted { function: limited::limited(function, of), work });
    let function = Arc::new(metered::Metered { function, meter });
    Ok(Version { name, function, model: Some(model), config: Some(config.digest_of(of).into()), strain: Strain::default() })
}

#[cfg(test)]
mod tests;
