//! Builds the versions of a pipeline that a swap wants, or a call.

mod lent;
mod shelf;
#[cfg(test)]
mod tests;

pub use lent::Lent;
pub use shelf::Shelf;

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
    /// Where calls over HTTP find what is loaded here.
    pub shelf: Arc<Shelf>,
}

/// A version that is in memory and has passed its cases.
pub struct Built {
    version: Version,
    /// Its function as calls over HTTP have it, without what is counted and limited for the stream.
    plain: Arc<dyn Function>,
}

impl Loader {
    /// Builds a version, in tasks of its own.
    fn building(&self, name: Arc<str>) -> BoxFuture<'static, Result<Built, String>> {
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
            let built: Built = built.map_err(|cause| format!("building it ended badly: {cause}"))??;
            if let Some((cases, trial)) = cases {
                let path = config.base.join(cases);
                let passed = trial(config, of, built.version.function.clone(), path).await?;
                tracing::info!(version = &*built.version.name, passed, "A version has passed its cases.");
            }
            Ok(built)
        });
        async move { building.await.unwrap_or_else(|cause| Err(format!("trying it ended badly: {cause}"))) }.boxed()
    }
}

impl Versions for Loader {
    fn load(&self, name: Arc<str>) -> BoxFuture<'static, Result<Version, String>> {
        let shelf = self.shelf.clone();
        shelf.begins(&name);
        let building = self.building(name.clone());
        async move {
            let built = building.await;
            shelf.ended(&name, built.as_ref().ok().map(|built| &built.plain));
            built.map(|built| built.version)
        }
        .boxed()
    }

    fn serves(&self, which: Result<Arc<str>, String>) {
        self.shelf.serves(which);
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
) -> Result<Built, String> {
    let options = Options { memory: options.memory.beside(), ..options };
    let plain = own.function(config, of, &Registry::new(options)).map_err(|cause| format!("{cause:#}"))?;
    declare(&*plain);
    let model = plain.spec().model.as_str().into();
    let function = Arc::new(Counted { function: limited::limited(plain.clone(), of), work });
    let function = Arc::new(metered::Metered { function, meter });
    let digest = config.digest_of(of).into();
    let version = Version { name, function, model: Some(model), config: Some(digest), strain: Strain::default() };
    Ok(Built { version, plain })
}
