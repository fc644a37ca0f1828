//! What each pipeline did lately, in a memory that does not grow: the last seconds, and points of the last ten minutes.

use super::points::{Point, Points};
use crate::telemetry::{Counts, Spread};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How far back "now" looks: long enough that figures do not jump.
const LATE: Duration = Duration::from_secs(10);
/// Between two points.
const STEP: Duration = Duration::from_secs(5);
/// Between two copies of what is compared with the time since the start.
const MINUTE: Duration = Duration::from_secs(60);
/// Copies that are kept: ten minutes and the one that begins them.
const MINUTES: usize = 11;

/// One pipeline's past.
#[derive(Debug)]
pub struct Track {
    since: Instant,
    late: VecDeque<(Instant, Counts)>,
    points: Points,
    pointed: Option<(Instant, Counts)>,
    minutes: VecDeque<(Instant, Marks)>,
}

/// What predictions said, as counted until one moment.
#[derive(Debug, Clone)]
pub struct Marks {
    pub scores: Spread,
    pub labels: BTreeMap<Box<str>, u64>,
}

/// The last seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Now {
    pub consumed_per_second: f64,
    pub decided_per_second: f64,
    /// Ages of events when they were decided.
    pub age_p50: Option<f64>,
    pub age_p99: Option<f64>,
    pub call_p50: Option<f64>,
    pub call_p99: Option<f64>,
    /// Events a slice, on average.
    pub slice: Option<f64>,
    /// Share of the time with a call under way.
    pub busy: f64,
    pub tokens_per_second: f64,
}

impl Track {
    fn new(now: Instant, counts: &Counts) -> Self {
        let minutes = [(now, Marks::of(counts))].into();
        Self { since: now, late: VecDeque::new(), points: Points::default(), pointed: Some((now, counts.clone())), minutes }
    }

    fn tick(&mut self, now: Instant, counts: &Counts, lag_seconds: Option<f64>) {
        while self.late.len() > 1 && self.late.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LATE) {
            self.late.pop_front();
        }
        self.late.push_back((now, counts.clone()));
        if let Some((at, before)) = self.pointed.take_if(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            let now_of = Now::between(&before, counts, now.saturating_duration_since(at));
            self.points.push(Point::of(&now_of, lag_seconds));
            self.pointed = Some((now, counts.clone()));
        }
        if self.minutes.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= MINUTE) {
            self.minutes.push_back((now, Marks::of(counts)));
            if self.minutes.len() > MINUTES {
                self.minutes.pop_front();
            }
        }
    }

    pub fn now(&self) -> Now {
        let (Some((from, before)), Some((to, counts))) = (self.late.front(), self.late.back()) else { return Now::default() };
        Now::between(before, counts, to.saturating_duration_since(*from))
    }

    /// How long the pipeline is known.
    pub fn up(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    pub fn points(&self) -> &Points {
        &self.points
    }

    /// What predictions said in the last ten minutes, or since the start where that is less.
    pub fn lately(&self, counts: &Counts) -> Marks {
        match self.minutes.front() {
            Some((_, before)) => Marks::of(counts).since(before),
            None => Marks::of(counts),
        }
    }
}

impl Marks {
    fn of(counts: &Counts) -> Self {
        Self { scores: counts.scores.clone(), labels: counts.labels.clone() }
    }

    fn since(mut self, before: &Self) -> Self {
        self.scores = self.scores.since(&before.scores);
        for (label, count) in &mut self.labels {
            *count = count.saturating_sub(before.labels.get(label).copied().unwrap_or_default());
        }
        self
    }
}

impl Now {
    fn between(before: &Counts, after: &Counts, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 {
            return Self::default();
        }
        let each = |then: u64, now: u64| now.saturating_sub(then) as f64 / seconds;
        let (age, call) = (after.age.since(&before.age), after.call.since(&before.call));
        let slices = after.slices.saturating_sub(before.slices);
        let events = after.slice_events.saturating_sub(before.slice_events);
        Self {
            consumed_per_second: each(before.consumed, after.consumed),
            decided_per_second: each(before.decided, after.decided),
            age_p50: age.quantile(0.5),
            age_p99: age.quantile(0.99),
            call_p50: call.quantile(0.5),
            call_p99: call.quantile(0.99),
            slice: (slices > 0).then(|| events as f64 / slices as f64),
            busy: ((after.busy_seconds - before.busy_seconds) / seconds).clamp(0.0, 1.0),
            tokens_per_second: each(before.tokens, after.tokens),
        }
    }
}

/// All pipelines' pasts.
#[derive(Debug, Default)]
pub struct History(BTreeMap<String, Track>);

impl History {
    /// A look at the counts; `lags` are the ages of the oldest undecided events.
    pub fn tick(&mut self, now: Instant, all: &BTreeMap<String, Counts>, lags: &BTreeMap<String, f64>) {
        for (pipeline, counts) in all {
            let track = self.0.entry(pipeline.clone()).or_insert_with(|| Track::new(now, counts));
            track.tick(now, counts, lags.get(pipeline).copied());
        }
    }

    pub fn of(&self, pipeline: &str) -> Option<&Track> {
        self.0.get(pipeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Tally;

    /// Would catch: a memory that grows, a rate over the whole life, a comparison with more or less than ten minutes.
    #[test]
    fn the_past_is_bounded_and_now_is_the_last_seconds() {
        let (tally, start) = (Tally::default(), Instant::now());
        let mut history = History::default();
        let mut look = |second: u64| {
            let now = start + Duration::from_secs(second);
            let all = [("p".to_owned(), tally.counts(now))].into();
            history.tick(now, &all, &[("p".to_owned(), 2.0)].into());
            let track = history.of("p").unwrap();
            (track.now(), track.points().len(), track.lately(&all["p"]).scores.total(), track.late.len(), track.minutes.len())
        };
        look(0);
        for second in 1..=3600 {
            let events = if second <= 3000 { 100 } else { 7 };
            tally.consumed(events);
            tally.decided(events as usize, std::iter::empty(), (0..events).map(|_| (Some("yes"), Some(0.5))));
            look(second);
        }
        let (now, points, scores, late, minutes) = look(3601);
        assert!((now.decided_per_second - 7.0).abs() < 0.8, "{now:?}");
        assert_eq!((points, late, minutes), (super::super::points::MOST, 11, MINUTES));
        assert!((3_900..=4_700).contains(&scores), "{scores} of 7 a second in some ten minutes");
        assert_eq!(history.of("p").unwrap().points().latest().unwrap().lag, Some(2.0));
    }
}
