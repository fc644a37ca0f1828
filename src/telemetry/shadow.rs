//! How a challenger's answers compare with the champion's, since the worker started.
//!
//! Labels come here by names that may be shown; the number of pairs is bounded.

use super::spread::Spread;
use super::tally::{MOST, OTHER};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was counted until now.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowCounts {
    /// Events whose answers were compared.
    pub compared: u64,
    /// Of these, events of which the two said something else, by what the champion and the challenger said.
    pub flips: BTreeMap<(Box<str>, Box<str>), u64>,
    /// Chosen events that found no place in the queue.
    pub dropped: u64,
    /// Events on which the challenger failed, or was too slow.
    pub failed: u64,
    /// Scores of the champion and of the challenger on the same events, and the second less the first.
    pub champion: Spread,
    pub challenger: Spread,
    pub differences: Spread,
}

impl Default for ShadowCounts {
    fn default() -> Self {
        Self {
            compared: 0,
            flips: BTreeMap::new(),
            dropped: 0,
            failed: 0,
            champion: Spread::of_scores(),
            challenger: Spread::of_scores(),
            differences: Spread::of_differences(),
        }
    }
}

impl ShadowCounts {
    pub fn flipped(&self) -> u64 {
        self.flips.values().sum()
    }

    /// Share of the compared events of which the two said the same; `None` before the first.
    pub fn agreement(&self) -> Option<f64> {
        (self.compared > 0).then(|| (self.compared - self.flipped().min(self.compared)) as f64 / self.compared as f64)
    }

    /// What came after `earlier`, a copy of these.
    pub fn since(&self, earlier: &Self) -> Self {
        let count = |pair| earlier.flips.get(pair).copied().unwrap_or_default();
        let flips = self.flips.iter().map(|(pair, now)| (pair.clone(), now.saturating_sub(count(pair))));
        Self {
            compared: self.compared.saturating_sub(earlier.compared),
            flips: flips.filter(|(_, count)| *count > 0).collect(),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            failed: self.failed.saturating_sub(earlier.failed),
            champion: self.champion.since(&earlier.champion),
            challenger: self.challenger.since(&earlier.challenger),
            differences: self.differences.since(&earlier.differences),
        }
    }
}

/// How a challenger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowState {
    Running,
    /// A call has taken more than its time, and none is made before it has come back.
    Overdue,
    /// It could not be loaded; why.
    NotLoaded(String),
    /// It has failed too often, and is not called any more; why.
    CutOff(String),
}

impl ShadowState {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Overdue => "overdue",
            Self::NotLoaded(_) => "not_loaded",
            Self::CutOff(_) => "cut_off",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotLoaded(reason) | Self::CutOff(reason) => Some(reason),
            Self::Running | Self::Overdue => None,
        }
    }
}

/// One pipeline's shadow.
#[derive(Debug)]
pub struct ShadowTally {
    /// `name@digest` of the challenger, or empty.
    model: String,
    state: Mutex<(ShadowState, ShadowCounts)>,
}

impl ShadowTally {
    pub fn new(model: &str, state: ShadowState) -> Self {
        Self { model: model.to_owned(), state: Mutex::new((state, ShadowCounts::default())) }
    }

    fn state(&self) -> MutexGuard<'_, (ShadowState, ShadowCounts)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    pub fn now(&self) -> (ShadowState, ShadowCounts) {
        self.state().clone()
    }

    pub fn becomes(&self, state: ShadowState) {
        self.state().0 = state;
    }

    pub fn dropped(&self, events: u64) {
        self.state().1.dropped += events;
    }

    pub fn failed(&self, events: u64) {
        self.state().1.failed += events;
    }

    /// One event: what the two said, where that differs, and their scores.
    pub fn compared(&self, flip: Option<(&str, &str)>, scores: &[(f64, f64)]) {
        let counts = &mut self.state().1;
        counts.compared += 1;
        if let Some((champion, challenger)) = flip {
            let pair = (champion.into(), challenger.into());
            let fits = counts.flips.contains_key(&pair) || counts.flips.len() < MOST;
            *counts.flips.entry(if fits { pair } else { (OTHER.into(), OTHER.into()) }).or_default() += 1;
        }
        for (champion, challenger) in scores {
            counts.champion.record(*champion, 1);
            counts.challenger.record(*challenger, 1);
            counts.differences.record(challenger - champion, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: an agreement that counts what was not compared, a flip that is lost when there are many, a difference with the wrong sign.
    #[test]
    fn agreement_flips_and_shift_are_counted() {
        let tally = ShadowTally::new("m@1", ShadowState::Running);
        assert_eq!(tally.now().1.agreement(), None);
        for _ in 0..3 {
            tally.compared(None, &[(0.5, 0.5)]);
        }
        let before = tally.now().1;
        tally.compared(Some(("a", "b")), &[(0.5, 0.1)]);
        (0..80).for_each(|n| tally.compared(Some((&format!("l{n}"), "b")), &[]));
        tally.failed(7);
        let counts = tally.now().1;
        assert_eq!((counts.compared, counts.flipped(), counts.flips.len(), counts.failed), (84, 81, MOST + 1, 7));
        assert_eq!(counts.agreement(), Some(3.0 / 84.0));
        assert!((counts.differences.mean().unwrap() + 0.1).abs() < 1e-9, "{:?}", counts.differences.mean());
        let since = counts.since(&before);
        assert_eq!((since.compared, since.flipped(), since.differences.total()), (81, 81, 1));
    }
}
