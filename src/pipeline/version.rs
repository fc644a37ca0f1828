//! The versions of a pipeline's settings: the function of each, and who builds it.

use crate::config::BASE;
use crate::function::Function;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// A version that is in memory.
pub struct Version {
    pub name: Arc<str>,
    pub function: Arc<dyn Function>,
    /// `name@digest` of its model; `None` for the pipeline's own settings.
    pub model: Option<Arc<str>>,
    /// Digest of its settings; `None` for the pipeline's own.
    pub config: Option<Arc<str>>,
}

impl Version {
    /// The pipeline's own settings.
    pub fn base(function: Arc<dyn Function>) -> Self {
        Self { name: BASE.into(), function, model: None, config: None }
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Version").field("name", &self.name).field("model", &self.model).finish_non_exhaustive()
    }
}

/// Where versions come from. The pipeline's own settings are in memory in any case.
pub trait Versions: Send + Sync {
    /// Builds a version, warm and tried; the error says why it cannot be used. What takes long is done on threads that may block.
    fn load(&self, name: Arc<str>) -> BoxFuture<'static, Result<Version, String>>;

    /// When a canary is taken back by itself; `None`: never.
    fn limits(&self) -> Option<CanaryLimits> {
        None
    }
}

/// A pipeline with its own settings alone.
pub struct BaseAlone;

impl Versions for BaseAlone {
    fn load(&self, name: Arc<str>) -> BoxFuture<'static, Result<Version, String>> {
        async move { Err(format!("this worker's config has no version {name:?}")) }.boxed()
    }
}

/// When a canary is taken back by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryLimits {
    /// Events of the canary before anything is said of it.
    pub min_events: u64,
    /// How far its share of dead letters may be above that of the others.
    pub dead_share_above: f64,
    /// How far the mean of its scores may be from that of the others.
    pub score_shift: Option<f64>,
}
