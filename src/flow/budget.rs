//! One budget in bytes for everything a worker holds: charged when the pipeline takes an event, charged again with its
//! records, freed when they are published.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by the pipelines of one worker. Full at the limit; there is room again at half of it.
///
/// A pipeline may take what the others leave, and is never kept from its fair share: else one that is fast and far behind, which
/// takes again at once what it has freed, would keep the others from everything. So less than twice the limit is held at most.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
    pipelines: usize,
}

impl Budget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Self {
        Self::shared(limit, 1)
    }

    /// For so many pipelines.
    pub fn shared(limit: usize, pipelines: usize) -> Self {
        Self { used: Arc::default(), limit, pipelines: pipelines.max(1) }
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

    fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Time for a pipeline that holds so much to pause its source.
    pub fn is_full_for(&self, held: impl FnOnce() -> usize) -> bool {
        self.is_full() && (self.pipelines == 1 || held() >= self.fair_share())
    }

    /// Time for it to resume: half of the limit is free, or of its share.
    pub fn has_room_for(&self, held: impl FnOnce() -> usize) -> bool {
        self.used() <= self.limit / 2 || self.pipelines > 1 && held() <= self.fair_share() / 2
    }

    fn fair_share(&self) -> usize {
        self.limit / self.pipelines
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
        assert!(budget.is_full() && budget.is_full_for(|| 0), "alone, all that is held is its own");
        budget.free(49);
        assert!(!budget.is_full() && !budget.has_room_for(|| 0));
        budget.free(1);
        assert!(budget.has_room_for(|| 50));
    }

    /// Would catch: a pipeline that stands still because another one takes again at once whatever is freed.
    #[test]
    fn nobody_is_kept_from_a_fair_share() {
        let budget = Budget::shared(100, 2);
        budget.charge(100);
        assert!(budget.is_full_for(|| 100), "one that holds everything waits");
        assert!(!budget.is_full_for(|| 0) && !budget.is_full_for(|| 49), "the other one does not");
        budget.charge(49);
        assert!(budget.is_full_for(|| 50), "with its share it waits too");
        budget.free(50);
        assert!(!budget.has_room_for(|| 26) && budget.has_room_for(|| 25), "paused, it resumes at half of its share");
    }
}
