//! One budget in bytes for everything a worker holds: charged when the pipeline takes an event, charged again with its
//! records, freed when they are published.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by the pipelines of one worker. Full at the limit; there is room again at half of it.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub fn charge(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn free(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "the budget was freed twice");
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Time to pause the source.
    pub fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Time to resume it.
    pub fn has_room(&self) -> bool {
        self.used() <= self.limit / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_at_the_limit_and_resumes_at_half() {
        let budget = Budget::new(100);
        budget.charge(99);
        assert!(!budget.is_full());
        budget.charge(1);
        assert!(budget.is_full());
        budget.free(49);
        assert!(!budget.is_full() && !budget.has_room());
        budget.free(1);
        assert!(budget.has_room());
    }
}
