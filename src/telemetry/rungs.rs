//! Which rung of its ladder a pipeline stands on, and how many events each has ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One pipeline's ladder. Rungs are numbered from the top: 0 gives up nothing.
#[derive(Debug)]
pub struct RungTally {
    names: Vec<String>,
    events: Vec<AtomicU64>,
    in_force: AtomicUsize,
}

impl RungTally {
    pub fn new(names: Vec<String>) -> Self {
        Self { events: names.iter().map(|_| AtomicU64::new(0)).collect(), names, in_force: AtomicUsize::new(0) }
    }

    /// Events that a rung has ended: scored, or skipped.
    pub fn ended(&self, rung: usize, events: u64) {
        if let Some(count) = self.events.get(rung) {
            count.fetch_add(events, Ordering::Relaxed);
        }
    }

    pub fn stands_on(&self, rung: usize) {
        self.in_force.store(rung, Ordering::Relaxed);
    }

    /// Number and name of the rung in force.
    pub fn in_force(&self) -> (usize, &str) {
        let rung = self.in_force.load(Ordering::Relaxed);
        (rung, self.names.get(rung).map_or("", String::as_str))
    }

    /// By name, the top first.
    pub fn events(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().zip(&self.events).map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed)))
    }
}
