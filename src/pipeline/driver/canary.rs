//! The watch over a canary: when it does worse than the others by more than is allowed, its step is taken back, and the journal says why.
//!
//! Each worker judges by what it has scored itself since the wish; the first to find a limit broken takes it back for all.

use super::Driver;
use crate::event::Event;
use crate::flow::Ending;
use crate::pipeline::Observer;
use crate::pipeline::partition::Running;
use crate::pipeline::version::{CanaryLimits, PATIENCE, Version};
use crate::store::{StoreError, Swap};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Share of dead letters above which a canary is taken back that has too few other events beside it.
const ALONE_DEAD_SHARE: f64 = 0.5;
/// A step that could not be taken back is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What some events came to.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    events: u64,
    dead: u64,
    scored: u64,
    scores: f64,
}

impl Counts {
    fn add(&mut self, ending: &Ending) {
        self.events += 1;
        match ending {
            Ending::Dead(_) => self.dead += 1,
            Ending::Emitted(records) => {
                for score in records.iter().filter_map(|record| record.score) {
                    self.scored += 1;
                    self.scores += score;
                }
            }
            Ending::Skipped => {}
        }
    }

    fn dead_share(&self) -> f64 {
        self.dead as f64 / self.events.max(1) as f64
    }

    fn mean(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.scores / self.scored as f64)
    }
}

/// What the versions made of the events of a slice.
#[derive(Default)]
pub(super) struct Scored(Vec<(Arc<Version>, [u64; 3])>);

impl Scored {
    pub(super) fn add(&mut self, version: &Arc<Version>, ending: &Ending) {
        let which = match ending {
            Ending::Emitted(_) => 0,
            Ending::Skipped => 1,
            Ending::Dead(_) => 2,
        };
        match self.0.iter_mut().find(|(known, _)| Arc::ptr_eq(known, version)) {
            Some((_, counts)) => counts[which] += 1,
            None => {
                let mut counts = [0; 3];
                counts[which] = 1;
                self.0.push((version.clone(), counts));
            }
        }
    }

    pub(super) fn tell(self, observer: &dyn Observer) {
        self.0.iter().for_each(|(version, counts)| observer.scored(&version.name, *counts));
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Watch {
    /// Of the wish that is watched.
    number: i64,
    canary: Counts,
    others: Counts,
    pub(super) going_back: Option<BoxFuture<'static, Result<bool, StoreError>>>,
    not_before: Option<Instant>,
    /// Number of the step that is being taken back.
    going: i64,
    /// A step that is to be taken back, and why, until it is.
    owed: Option<(i64, String)>,
    /// Why the pipeline ends once the step is taken back.
    ends_with: Option<String>,
}

impl Watch {
    /// Counts what a version made of an event, while a canary is wanted.
    pub(super) fn count(&mut self, wish: Option<&Swap>, version: &Version, ending: &Ending) {
        let Some((wish, canary)) = wish.and_then(|wish| Some((wish, wish.canary.as_ref()?))) else { return };
        if self.number != wish.number {
            (self.number, self.canary, self.others) = (wish.number, Counts::default(), Counts::default());
        }
        match version.name == canary.version {
            true => self.canary.add(ending),
            false => self.others.add(ending),
        }
    }

    /// An event kills the process: when it is a canary that scores it, that is taken back.
    pub(super) fn killed(&mut self, running: &Running, pipeline: &str, event: Option<Event>) {
        let Some(event) = event else { return };
        let position = &event.raw.position;
        let key = event.key.as_deref().unwrap_or(&event.id);
        if let Some(number) = running.taking.canary_of(pipeline, position.offset, key) {
            self.owed = Some((number, format!("the process died twice while the canary scored the event {position} alone")));
        }
    }

    /// Which limit the canary breaks.
    fn broken(&self, limits: &CanaryLimits) -> Option<String> {
        if self.canary.events < limits.min_events.max(1) {
            return None;
        }
        let (canary, others) = (self.canary.dead_share(), self.others.dead_share());
        // With few others there is nothing to compare it with: then only a canary that fails at most of its events is worse.
        let compared = self.others.events >= limits.min_events.max(1);
        let most = if compared { limits.dead_share_above } else { ALONE_DEAD_SHARE.max(limits.dead_share_above) };
        if canary - others > most {
            return Some(format!(
                "{:.4} of the canary's {} events are dead letters, {others:.4} of the {} others: more than {most} above them",
                canary, self.canary.events, self.others.events
            ));
        }
        if self.canary.scored.min(self.others.scored) < limits.min_events.max(1) {
            return None;
        }
        let (canary, others, most) = (self.canary.mean()?, self.others.mean()?, limits.score_shift?);
        ((canary - others).abs() > most)
            .then(|| format!("the canary's mean score is {canary:.4}, that of the others {others:.4}: more than {most} apart"))
    }
}

impl Driver {
    /// Takes a canary back that breaks its limits.
    pub(super) fn judge_canary(&mut self) {
        let watch = &self.watch;
        let Some(wish) = self.swaps.wish().filter(|wish| wish.canary.is_some() && wish.number == watch.number) else { return };
        let Some(reason) = self.parts.versions.limits().and_then(|limits| watch.broken(&limits)) else { return };
        self.go_back(wish.number, reason);
    }

    /// Takes back what is owed, and a canary whose calls fail for now, again and again.
    pub(super) fn mind_canary(&mut self) {
        let swaps = &self.swaps;
        let failing = swaps.wish().and_then(|wish| {
            let lasts = swaps.ready.get(&wish.canary.as_ref()?.version)?.strain.lasts();
            lasts.then(|| (wish.number, format!("a call of the canary has failed for more than {PATIENCE:?}, again and again")))
        });
        if let Some((number, reason)) = self.watch.owed.clone().or(failing) {
            self.go_back(number, reason);
        }
    }

    /// A call said that going on is pointless. Where a canary said so its step is taken back first, so that the next start goes on without it.
    pub(super) fn fail_by(&mut self, detail: String, by: Option<Arc<str>>) {
        let of_canary = |wish: &Arc<Swap>| wish.canary.as_ref().is_some_and(|canary| Some(&canary.version) == by.as_ref());
        match self.swaps.wish().filter(of_canary) {
            Some(wish) => {
                self.watch.ends_with = Some(detail.clone());
                self.watch.not_before = None;
                self.go_back(wish.number, format!("a call of the canary ended the worker: {detail}"));
            }
            None => self.failed = Some(detail),
        }
    }

    fn go_back(&mut self, number: i64, reason: String) {
        if self.watch.going_back.is_some() || self.watch.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let pipeline = self.settings.provenance.pipeline.clone();
        tracing::error!(pipeline = &*pipeline, number, reason, "The canary breaks its limits and is taken back.");
        let (store, owner) = (self.parts.store.clone(), self.settings.owner.clone());
        // What the journal takes, in one line.
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        self.watch.going = number;
        let going = async move { store.roll_back(&pipeline, number, &reason, &owner).await };
        self.watch.going_back = Some(going.boxed());
    }

    pub(super) fn on_back(&mut self, result: Result<bool, StoreError>) {
        self.watch.not_before = Some(Instant::now() + AGAIN);
        match result {
            // Another worker may have been first, and has counted it.
            Ok(taken_back) => {
                if taken_back {
                    self.parts.observer.took_back();
                }
                let going = self.watch.going;
                self.watch.owed.take_if(|(number, _)| *number == going);
                self.ask_for_swaps_now();
            }
            Err(error) => {
                tracing::warn!(%error, "The canary could not be taken back for now.");
                self.parts.observer.retried("roll_back");
            }
        }
        if let Some(detail) = self.watch.ends_with.take() {
            self.failed = Some(detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64, dead: u64, mean: f64) -> Counts {
        Counts { events, dead, scored: events - dead, scores: mean * (events - dead) as f64 }
    }

    /// Would catch: a canary that is taken back for a handful of events, for what the others do as well, or not at all.
    #[test]
    fn a_limit_is_broken_by_enough_events_that_do_worse_than_the_others() {
        let limits = CanaryLimits { min_events: 100, dead_share_above: 0.05, score_shift: Some(0.2) };
        let broken = |canary, others| Watch { canary, others, ..Watch::default() }.broken(&limits);
        assert_eq!(broken(counts(99, 99, 0.5), counts(1_000, 0, 0.5)), None);
        assert_eq!(broken(counts(100, 14, 0.6), counts(1_000, 100, 0.5)), None);
        assert!(broken(counts(100, 16, 0.5), counts(1_000, 100, 0.5)).is_some_and(|why| why.contains("dead letters")));
        assert!(broken(counts(100, 0, 0.8), counts(1_000, 0, 0.5)).is_some_and(|why| why.contains("mean score")));
        assert!(broken(counts(100, 0, 0.2), counts(1_000, 0, 0.5)).is_some());
        // Beside few others: nothing can be compared, and only most of its events are too many.
        assert_eq!(broken(counts(200, 20, 0.5), counts(2, 0, 0.5)), None);
        assert_eq!(broken(counts(200, 0, 0.9), counts(1, 0, 0.1)), None);
        assert_eq!(broken(counts(100, 50, 0.5), Counts::default()), None);
        assert!(broken(counts(100, 51, 0.5), Counts::default()).is_some(), "nothing else was scored");
        assert_eq!(broken(counts(200, 0, 0.9), counts(1_000, 950, 0.1)), None, "50 scores are too few");
        let no_shift = CanaryLimits { score_shift: None, ..limits.clone() };
        assert_eq!(
            Watch { canary: counts(100, 0, 0.9), others: counts(100, 0, 0.1), ..Watch::default() }.broken(&no_shift),
            None
        );
    }
}
