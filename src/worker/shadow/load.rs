//! Challengers are loaded at the start, after everything that the pipelines need. One that cannot be loaded is told, and stops nothing.

use crate::config::{Config, Pipeline};
use crate::function::Function;
use crate::inference::{Memory, Registry};
use crate::worker::Own;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the start waits for one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A challenger, or why there is none.
pub struct Loaded {
    pub challenger: Result<Arc<dyn Function>, String>,
    /// First 12 hex digits of the SHA-256 of what it was told.
    pub settings: String,
}

impl Loaded {
    /// Those of all pipelines that have a shadow, one after the other.
    pub async fn all(config: &Config, own: &Own, registry: &Arc<Registry>, memory: &Memory) -> BTreeMap<String, Self> {
        let mut all = BTreeMap::new();
        // A champion that is idle just now must not go for a challenger that does not stay.
        memory.keep_all(true);
        for pipeline in &config.pipeline {
            let Some(shadow) = &pipeline.shadow else { continue };
            let varied = shadow.challenger(pipeline);
            let settings = settings(config, &varied, shadow.threshold);
            let challenger = one(config, varied, own, registry).await.and_then(|challenger| fits(challenger, memory));
            all.insert(pipeline.name.clone(), Self { challenger, settings });
        }
        memory.keep_all(false);
        all
    }
}

/// On a thread of its own: loading blocks, may panic, and may never end.
async fn one(config: &Config, pipeline: Pipeline, own: &Own, registry: &Arc<Registry>) -> Result<Arc<dyn Function>, String> {
    let (config, own, registry) = (config.clone(), own.clone(), registry.clone());
    let (reply, answer) = oneshot::channel();
    let load = move || {
        let built = catch_unwind(AssertUnwindSafe(|| own.function(&config, &pipeline, &registry)));
        let built = built.map_err(|_panic| "it panicked while it was loaded".to_owned());
        reply.send(built.and_then(|built| built.map_err(|error| format!("{error:#}")))).ok();
    };
    std::thread::Builder::new().name("load shadow".to_owned()).spawn(load).map_err(|error| error.to_string())?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(_)) => Err("it ended while it was loaded".to_owned()),
        Err(_) => Err(format!("it was not loaded within {PATIENCE:?}")),
    }
}

/// A challenger must find room beside all other models: else it would put them out, and one that hangs would keep them out.
fn fits(challenger: Arc<dyn Function>, memory: &Memory) -> Result<Arc<dyn Function>, String> {
    let taken: usize = memory.held().iter().map(|held| held.bytes).sum();
    match memory.limit() {
        Some(limit) if taken > limit => Err(format!(
            "with it all models take {} MB, and memory_budget_mb under [models] is {}: raise it, or take a smaller challenger",
            taken.div_ceil(1 << 20),
            limit >> 20
        )),
        _ => Ok(challenger),
    }
}

/// What tells one challenger's answers from another's, beside its weights.
fn settings(config: &Config, challenger: &Pipeline, threshold: Option<f64>) -> String {
    let mut hex: String = Sha256::digest(format!("{} {threshold:?}", config.digest_of(challenger)))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.truncate(12);
    hex
}
