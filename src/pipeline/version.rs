//! The versions of a pipeline's settings: the function of each, and who builds it.

use crate::config::BASE;
use crate::function::Function;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A canary of which a call has failed for now, again and again, for so long is taken back.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A version that is in memory.
pub struct Version {
    pub name: Arc<str>,
    pub function: Arc<dyn Function>,
    /// `name@digest` of its model; `None` for the pipeline's own settings.
    pub model: Option<Arc<str>>,
    /// Digest of its settings; `None` for the pipeline's own.
    pub config: Option<Arc<str>>,
    pub strain: Strain,
}

/// How the calls of a version do that fail for now and are made again, and whether anybody still waits for them.
#[derive(Debug, Default)]
pub struct Strain {
    /// Calls that are being made again.
    again: AtomicUsize,
    /// Whether one of them has been for longer than a canary may.
    lasts: AtomicBool,
    given_up: AtomicBool,
}

/// A call that is being made again, until its end.
pub struct Again<'a>(&'a Strain, Instant);

impl Strain {
    /// A call has failed for the first time.
    pub fn begin(&self) -> Again<'_> {
        self.again.fetch_add(1, Ordering::Relaxed);
        Again(self, Instant::now())
    }

    /// Whether any call is being made again.
    pub fn is_failing(&self) -> bool {
        self.again.load(Ordering::Relaxed) > 0
    }

    /// Whether one has been for longer than a minute.
    pub fn lasts(&self) -> bool {
        self.lasts.load(Ordering::Relaxed)
    }

    /// Nobody waits for these calls any more: they end at their next failure.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Again<'_> {
    /// It has failed once more.
    pub fn failed(&self) {
        if self.1.elapsed() >= PATIENCE {
            self.0.lasts.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Again<'_> {
    fn drop(&mut self) {
        if self.0.again.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.lasts.store(false, Ordering::Relaxed);
        }
    }
}

impl Version {
    /// The pipeline's own settings.
    pub fn base(function: Arc<dyn Function>) -> Self {
        Self { name: BASE.into(), function, model: None, config: None, strain: Strain::default() }
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

    /// Hears which version is in force: the one that scores new events which no canary has. Or why there is none that could, once the process
    /// has begun and cannot load it. Said again whenever it may have changed.
    fn serves(&self, _which: Result<Arc<str>, String>) {}

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
