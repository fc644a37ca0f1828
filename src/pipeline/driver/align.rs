//! Event-time alignment: while behind, the smallest event time goes first, and what is ahead of the slowest partition of the whole
//! group by more than a bound waits.
//!
//! A consumer drains one partition before the next, and what it passes on is out of order for whoever reads it under another key.
//! Each worker tells where its partitions stand (the event time of the first event that is not done) and reads where the others do.
//! A partition that is caught up holds nobody.

use super::Driver;
use crate::event::TopicPartition;
use crate::pipeline::partition::{Partition, Running};
use crate::pipeline::safety::{Safety, without};
use crate::store::{Head, Heads, Mode, StoreError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often heads are told and asked for, while others have partitions of the group.
const OFTEN: Duration = Duration::from_millis(150);
/// While nobody else has.
const SELDOM: Duration = Duration::from_secs(2);
/// After so long it is told that everybody waits for a partition of which nothing is known.
const SILENCE: Duration = Duration::from_secs(30);
/// Events that a partition holds which is too far ahead; beyond it is paused, so that the slow ones have the memory.
pub(super) const AHEAD_EVENTS: usize = if cfg!(test) { 8 } else { 2_000 };
/// Nothing is known: everybody waits.
const UNKNOWN: i64 = i64::MIN;
/// Caught up: nobody waits.
const CAUGHT_UP: i64 = i64::MAX;

/// What a pipeline is told of alignment.
#[derive(Debug, Clone)]
pub struct Align {
    /// How far ahead an event may be, milliseconds.
    pub bound_ms: i64,
    pub topics: Arc<[String]>,
}

/// Event times of what is not done in one partition.
#[derive(Debug, Default)]
pub struct Open {
    events: VecDeque<(i64, i64)>,
    /// Of the last that was done.
    passed_ms: Option<i64>,
    /// Offset after the last event that was read.
    read_to: i64,
    /// P as the claim found it. What a predecessor decided below and did not publish is not read again: its times are not known.
    decided: i64,
}

impl Open {
    /// Of a partition that is read from `start` on, and was decided up to `decided`.
    pub fn new(start: i64, decided: i64) -> Self {
        Self { read_to: start, decided, ..Self::default() }
    }

    /// What is open will be read again from `start` on; until then the partition stands where it stood.
    pub fn stand(&mut self, start: i64, decided: i64) {
        let stood_ms = self.events.front().map(|(_, time_ms)| *time_ms).or(self.passed_ms);
        *self = Self { passed_ms: stood_ms, ..Self::new(start, decided) };
    }

    pub fn read(&mut self, offset: i64) {
        self.read_to = offset + 1;
    }

    pub fn push(&mut self, offset: i64, time_ms: i64) {
        self.events.push_back((offset, time_ms));
    }

    /// Where the partition stands when all below `done` is done and the log ended at `end` when last heard of.
    fn head(&mut self, done: i64, end: Option<i64>) -> i64 {
        while let Some((_, time_ms)) = self.events.pop_front_if(|(offset, _)| *offset < done) {
            self.passed_ms = Some(self.passed_ms.map_or(time_ms, |passed| passed.max(time_ms)));
        }
        if done < self.decided && !without(Safety::BroughtBackHolds) {
            return UNKNOWN;
        }
        match self.events.front() {
            Some((_, time_ms)) => *time_ms,
            None if end.is_some_and(|end| end >= self.read_to) => CAUGHT_UP,
            None => self.passed_ms.unwrap_or(UNKNOWN),
        }
    }
}

/// The heads that were told, and the smallest of all others.
pub(super) type Answer = (Vec<Head>, Result<Heads, StoreError>);

/// What is known of the group.
#[derive(Default)]
pub(super) struct Group {
    /// Smallest head of the partitions that others hold; `None` before the first answer.
    others: Option<i64>,
    /// Partitions that were this worker's when that was asked, and so are not among the others.
    told: Vec<Head>,
    pub(super) asking: Option<BoxFuture<'static, Answer>>,
    not_before: Option<Instant>,
    /// Since when a partition of another worker has told nothing, and whether that was logged.
    unknown: Option<(Instant, bool)>,
}

impl Group {
    fn warn_of_silence(&mut self) {
        let (since, told) = match (self.others, self.unknown) {
            (Some(UNKNOWN), unknown) => unknown.unwrap_or((Instant::now(), false)),
            _ => return self.unknown = None,
        };
        let late = since.elapsed() >= SILENCE;
        if late && !told {
            tracing::warn!(
                "A partition of another worker has told no event time for {} s, and all wait for it; look for one that is halted or paused, or \
                 that nobody could claim.",
                SILENCE.as_secs()
            );
        }
        self.unknown = Some((since, late));
    }
}

/// Where a running partition stands.
fn head(mode: Mode, running: &mut Running) -> i64 {
    let done = if mode == Mode::Both { running.published } else { running.decided };
    let end = running.end;
    running.open.as_mut().map_or(CAUGHT_UP, |open| open.head(done, end))
}

impl Driver {
    /// Where the partitions of this worker stand.
    fn heads(&mut self) -> Vec<Head> {
        let mode = self.settings.mode;
        let told = |(partition, state): (&TopicPartition, &mut Partition)| {
            let running = state.running()?;
            Some(Head { partition: partition.clone(), claim: running.claim, head_ms: head(mode, running) })
        };
        self.partitions.iter_mut().filter_map(told).collect()
    }

    /// Tells and asks, now and then.
    pub(super) fn start_asking(&mut self) {
        let Some(align) = self.settings.align.clone() else { return };
        if self.partitions.is_empty() {
            // What is known grows old while nobody asks.
            self.group = Group::default();
            return;
        }
        if self.group.asking.is_some() || self.group.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let heads = self.heads();
        if heads.is_empty() {
            return;
        }
        let (settings, store) = (self.settings.clone(), self.parts.store.clone());
        self.group.asking = Some(
            async move {
                let provenance = &settings.provenance;
                let answer = store.heads(&provenance.pipeline, provenance.run, &align.topics, &heads).await;
                (heads, answer)
            }
            .boxed(),
        );
    }

    pub(super) fn on_answer(&mut self, (told, answer): Answer) {
        let wait = match answer {
            Ok(Heads { others, held }) => {
                self.drop_lost_claims(&told, &held);
                self.group.told = told;
                self.group.others = Some(others.unwrap_or(CAUGHT_UP));
                self.group.warn_of_silence();
                if others.is_none() { SELDOM } else { OFTEN }
            }
            Err(error) => {
                tracing::debug!(%error, "The event times of the other partitions are not known; what is known stands.");
                OFTEN
            }
        };
        self.group.not_before = Some(Instant::now() + wait);
        self.tell_skew();
    }

    /// A claim may be superseded by one of our own that arrived late. While everybody waits for the partition nothing of it is decided,
    /// and no decide would tell.
    fn drop_lost_claims(&mut self, told: &[Head], held: &[TopicPartition]) {
        for told in told.iter().filter(|told| !held.contains(&told.partition)) {
            let running = self.partitions.get_mut(&told.partition).and_then(Partition::running);
            if running.is_some_and(|running| running.claim == told.claim) && !without(Safety::LostClaim) {
                self.superseded(told.partition.clone());
            }
        }
    }

    /// Largest event time that may go to work now; `None` when alignment is off.
    pub(super) fn aligned_to(&mut self) -> Option<i64> {
        let bound_ms = self.settings.align.as_ref()?.bound_ms;
        if without(Safety::Aligned) {
            return None;
        }
        let mode = self.settings.mode;
        let mut slowest = match self.group.others {
            _ if without(Safety::AlignedToOthers) => CAUGHT_UP,
            Some(UNKNOWN) | None if without(Safety::UnknownHolds) => CAUGHT_UP,
            others => others.unwrap_or(UNKNOWN),
        };
        let Self { group, partitions, .. } = self;
        for told in &group.told {
            // One that has left since stands where it stood, until the next answer has it among the others.
            let running = partitions.get_mut(&told.partition).and_then(Partition::running);
            if running.is_none_or(|running| running.claim != told.claim) && !without(Safety::LeftHolds) {
                slowest = slowest.min(told.head_ms);
            }
        }
        for running in partitions.values_mut().filter_map(Partition::running) {
            slowest = slowest.min(head(mode, running));
        }
        Some(slowest.saturating_add(bound_ms))
    }

    /// Whether a partition is read ahead of what may go to work, and has enough of it.
    pub(super) fn is_ahead(running: &Running, aligned_to: Option<i64>) -> bool {
        let (Some(to), Some(open)) = (aligned_to, &running.open) else { return false };
        running.held() >= AHEAD_EVENTS && open.events.back().is_some_and(|(_, newest_ms)| *newest_ms > to)
    }

    /// How far the partition that is furthest ahead has gone beyond the slowest one, milliseconds.
    fn tell_skew(&mut self) {
        let mode = self.settings.mode;
        let mut slowest = self.group.others.unwrap_or(CAUGHT_UP);
        let mut furthest = None;
        for running in self.partitions.values_mut().filter_map(Partition::running) {
            slowest = slowest.min(head(mode, running));
            furthest = furthest.max(running.open.as_ref().and_then(|open| open.passed_ms));
        }
        let known = slowest != UNKNOWN && slowest != CAUGHT_UP;
        let skew_ms = furthest.filter(|_| known).map_or(0, |furthest| furthest.saturating_sub(slowest).max(0));
        self.parts.observer.skewed(skew_ms);
    }
}
