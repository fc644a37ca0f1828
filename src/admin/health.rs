//! Live: every poll thread ticked lately. Ready: every latch released and nothing in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const STALE_AFTER: Duration = Duration::from_secs(30);

/// Ticks of the poll threads, by pipeline.
#[derive(Debug, Default)]
pub struct Liveness(Mutex<BTreeMap<String, Instant>>);

impl Liveness {
    pub fn tick(&self, pipeline: &str, now: Instant) {
        let mut ticks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match ticks.get_mut(pipeline) {
            Some(last) => *last = now,
            None => {
                ticks.insert(pipeline.into(), now);
            }
        }
    }

    /// Pipelines that have not ticked for 30 s.
    pub fn stale(&self, now: Instant) -> Vec<String> {
        let ticks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ticks
            .iter()
            .filter(|(_, last)| now.saturating_duration_since(**last) > STALE_AFTER)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Latches, each released once, and reasons that come and go.
#[derive(Debug)]
pub struct Readiness(Mutex<(BTreeSet<String>, BTreeMap<String, String>)>);

impl Readiness {
    pub fn new<'a>(latches: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Mutex::new((latches.into_iter().map(Into::into).collect(), BTreeMap::new())))
    }

    pub fn release(&self, latch: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.remove(latch);
    }

    /// Whether every latch is released, whatever may be in the way now.
    pub fn started(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Something is in the way until `clear` is called with the same name.
    pub fn block(&self, name: &str, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.insert(name.into(), reason.into());
    }

    pub fn clear(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(name);
    }

    /// What is missing; empty when ready.
    pub fn missing(&self) -> Vec<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.0.iter().map(|latch| format!("waiting for {latch}"));
        waiting.chain(state.1.iter().map(|(name, reason)| format!("{name}: {reason}"))).collect()
    }
}
