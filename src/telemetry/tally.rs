//! What each pipeline has done since the worker started: counts that only grow. The page and some of the metrics read them.
//!
//! Names that come from predictions are bounded: at most [`MOST`] of a kind a pipeline, the rest is [`OTHER`].

use super::rungs::RungTally;
use super::shadow::ShadowTally;
use super::spread::Spread;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

/// Names of a kind at most.
pub const MOST: usize = 50;
/// All names beyond.
pub const OTHER: &str = "other";
/// Longest name, in characters; what is longer is a text.
const LONGEST: usize = 64;
/// Events after which earlier calls weigh half as much in what an event costs.
const REMEMBERED: f64 = 20_000.0;

/// What was counted until now.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    pub consumed: u64,
    /// Events whose ending is committed.
    pub decided: u64,
    pub predictions: u64,
    pub published: u64,
    pub skipped: BTreeMap<&'static str, u64>,
    pub dead: BTreeMap<&'static str, u64>,
    pub fallbacks: BTreeMap<Box<str>, u64>,
    pub labels: BTreeMap<Box<str>, u64>,
    pub scores: Spread,
    /// From the log's timestamp to the committed row.
    pub age: Spread,
    pub call: Spread,
    pub slices: u64,
    /// Events in all slices.
    pub slice_events: u64,
    /// With at least one call under way.
    pub busy_seconds: f64,
    pub tokens: u64,
}

/// What a pipeline's function can take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    pub function: String,
    /// `name@digest`, or empty.
    pub model: String,
    pub slice: usize,
    pub calls_in_flight: usize,
}

/// One pipeline's counts.
#[derive(Debug)]
pub struct Tally {
    state: Mutex<State>,
    tokens: Arc<AtomicU64>,
    shadow: OnceLock<Arc<ShadowTally>>,
    rungs: OnceLock<Arc<RungTally>>,
    past: OnceLock<Arc<Spread>>,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    counts: Counts,
    calls: usize,
    busy_since: Option<Instant>,
    /// Seconds and events of late calls, the later the heavier.
    cost: (f64, f64),
}

impl Default for Tally {
    fn default() -> Self {
        let counts = Counts {
            consumed: 0,
            decided: 0,
            predictions: 0,
            published: 0,
            skipped: BTreeMap::new(),
            dead: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            labels: BTreeMap::new(),
            scores: Spread::of_scores(),
            age: Spread::of_seconds(),
            call: Spread::of_seconds(),
            slices: 0,
            slice_events: 0,
            busy_seconds: 0.0,
            tokens: 0,
        };
        let state = State { limits: Limits::default(), counts, calls: 0, busy_since: None, cost: (0.0, 0.0) };
        Self {
            state: Mutex::new(state),
            tokens: Arc::default(),
            shadow: OnceLock::new(),
            rungs: OnceLock::new(),
            past: OnceLock::new(),
        }
    }
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where models count the tokens that they work on for this pipeline.
    pub fn tokens(&self) -> Arc<AtomicU64> {
        self.tokens.clone()
    }

    /// Of a pipeline with a shadow. The first that is given stays.
    pub fn follow_shadow(&self, shadow: Arc<ShadowTally>) {
        self.shadow.get_or_init(|| shadow);
    }

    pub fn shadow(&self) -> Option<&Arc<ShadowTally>> {
        self.shadow.get()
    }

    /// Of a pipeline with a ladder. The first that is given stays.
    pub fn follow_rungs(&self, rungs: Arc<RungTally>) {
        self.rungs.get_or_init(|| rungs);
    }

    pub fn rungs(&self) -> Option<&Arc<RungTally>> {
        self.rungs.get()
    }

    /// Scores from before the worker started. The first that are given stay.
    pub fn follow_past(&self, scores: Spread) {
        self.past.get_or_init(|| scores.into());
    }

    pub fn past(&self) -> Option<&Arc<Spread>> {
        self.past.get()
    }

    pub fn limit(&self, limits: Limits) {
        self.state().limits = limits;
    }

    pub fn limits(&self) -> Limits {
        self.state().limits.clone()
    }

    pub fn counts(&self, now: Instant) -> Counts {
        let state = self.state();
        let mut counts = state.counts.clone();
        counts.busy_seconds += state.busy(now);
        counts.tokens = self.tokens.load(Ordering::Relaxed);
        counts
    }

    /// Seconds of work that so many events are, by what late ones have cost and with as many calls at once as there may be. `None`
    /// before the first call.
    pub fn work_seconds(&self, events: u64) -> Option<f64> {
        let state = self.state();
        let (seconds, counted) = state.cost;
        (counted > 0.0).then(|| events as f64 * (seconds / counted) / state.limits.calls_in_flight.max(1) as f64)
    }

    pub fn consumed(&self, events: u64) {
        self.state().counts.consumed += events;
    }

    pub fn call_begins(&self, now: Instant) {
        let mut state = self.state();
        state.calls += 1;
        state.busy_since.get_or_insert(now);
    }

    pub fn call_ends(&self, events: usize, seconds: f64, now: Instant) {
        let mut state = self.state();
        state.calls = state.calls.saturating_sub(1);
        if state.calls == 0 {
            state.counts.busy_seconds += state.busy(now);
            state.busy_since = None;
        }
        let counts = &mut state.counts;
        counts.slices += 1;
        counts.slice_events += events as u64;
        counts.call.record(seconds, 1);
        let (spent, counted) = &mut state.cost;
        (*spent, *counted) = (*spent + seconds, *counted + events as f64);
        if *counted > REMEMBERED {
            (*spent, *counted) = (*spent / 2.0, *counted / 2.0);
        }
    }

    pub fn skipped(&self, reason: &'static str) {
        *self.state().counts.skipped.entry(reason).or_default() += 1;
    }

    pub fn dead(&self, code: &'static str) {
        *self.state().counts.dead.entry(code).or_default() += 1;
    }

    pub fn fell_back(&self, reason: &str) {
        bounded(&mut self.state().counts.fallbacks, reason);
    }

    /// A round that is committed: the age of each event, and of each prediction its label and its score.
    pub fn decided<'a>(
        &self,
        events: usize,
        ages: impl Iterator<Item = f64>,
        predictions: impl Iterator<Item = (Option<&'a str>, Option<f64>)>,
    ) {
        let counts = &mut self.state().counts;
        counts.decided += events as u64;
        ages.for_each(|age| counts.age.record(age, 1));
        for (label, score) in predictions {
            counts.predictions += 1;
            if let Some(label) = label {
                bounded(&mut counts.labels, label);
            }
            if let Some(score) = score {
                counts.scores.record(score, 1);
            }
        }
    }

    pub fn published(&self, records: u64) {
        self.state().counts.published += records;
    }
}

impl State {
    fn busy(&self, now: Instant) -> f64 {
        self.busy_since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64())
    }
}

/// Counts a name, or the rest.
fn bounded(counts: &mut BTreeMap<Box<str>, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
        return;
    }
    let fits = counts.len() < MOST && name.chars().count() <= LONGEST;
    *counts.entry(if fits { name } else { OTHER }.into()).or_default() += 1;
}

/// The tallies of a worker's pipelines.
#[derive(Debug, Clone, Default)]
pub struct Tallies(Arc<RwLock<BTreeMap<String, Arc<Tally>>>>);

impl Tallies {
    /// That of a pipeline, from zero when it is asked for first.
    pub fn of(&self, pipeline: &str) -> Arc<Tally> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(pipeline) {
            return known.clone();
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(pipeline.to_owned()).or_default().clone()
    }

    pub fn all(&self) -> BTreeMap<String, Arc<Tally>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Would catch: calls at the same time that are counted twice, a call under way that is not counted yet, a cost that is not shared
    /// out among the calls that may run at once.
    #[test]
    fn busy_is_wall_time_and_work_is_shared_out() {
        let (tally, start) = (Tally::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        tally.limit(Limits { calls_in_flight: 2, slice: 8, ..Limits::default() });
        assert_eq!(tally.work_seconds(10), None);
        tally.call_begins(start);
        tally.call_begins(at(1));
        tally.call_ends(4, 3.0, at(3));
        assert_eq!(tally.counts(at(4)).busy_seconds, 4.0);
        tally.call_ends(4, 5.0, at(6));
        let counts = tally.counts(at(100));
        assert_eq!((counts.busy_seconds, counts.slices, counts.slice_events), (6.0, 2, 8));
        assert_eq!(tally.work_seconds(10), Some(5.0));
        tally.call_begins(at(200));
        assert_eq!(tally.counts(at(210)).busy_seconds, 16.0);
    }

    /// Would catch: labels without bound, such as texts or names of users; a label that is lost.
    #[test]
    fn labels_are_bounded() {
        let tally = Tally::default();
        let names: Vec<String> = (0..80).map(|n| format!("label {n}")).chain(["x".repeat(65)]).collect();
        for _ in 0..2 {
            tally.decided(81, std::iter::repeat_n(0.5, 81), names.iter().map(|name| (Some(name.as_str()), Some(0.25))));
        }
        let counts = tally.counts(Instant::now());
        assert_eq!(counts.labels.len(), MOST + 1);
        assert_eq!((counts.labels["label 49"], counts.labels[OTHER]), (2, 62));
        assert_eq!((counts.predictions, counts.scores.total(), counts.age.total()), (162, 162, 162));
    }
}
