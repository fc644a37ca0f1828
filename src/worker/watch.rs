//! What the pipelines tell, turned into metrics and status.

use super::declared::{Labels, counted};
use super::hindrance::Hindrance;
use super::logs::Logs;
use super::status::status_of;
use crate::admin::{Liveness, Readiness, StatusBoard};
use crate::event::TopicPartition;
use crate::function::{Input, Prediction, Spec};
use crate::pipeline::{Observer, PartitionView};
use crate::record::{Kind, Record, TRACEPARENT_HEADER};
use crate::source::Lease;
use crate::telemetry::{Instruments, OTHER, Slice, Span, Tally};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Whose words a function's fields `status`, `reason` and `fallback` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// This program's: they are counted by name.
    Known,
    /// Nobody knows: they are counted together.
    Unknown,
    /// The event's own: none is the function's.
    Copied,
}

/// One pipeline's observer.
pub struct Watch {
    pub pipeline: String,
    pub telemetry: Instruments,
    pub board: Arc<StatusBoard>,
    pub readiness: Arc<Readiness>,
    pub logs: Arc<Logs>,
    /// Sees what this one sees.
    pub also: Option<Arc<dyn Observer>>,
    pub hindrance: Mutex<Hindrance>,
    pub tally: Arc<Tally>,
    /// Who this worker is.
    pub owner: Arc<str>,
    /// Labels that are counted by name: more, when a version that was swapped in has more.
    pub labels: Arc<dyn Fn() -> Labels + Send + Sync>,
    pub words: Words,
}

impl Watch {
    fn hindrance(&self) -> MutexGuard<'_, Hindrance> {
        self.hindrance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn received(&self, events: usize) {
        self.telemetry.metrics.consumed(&self.pipeline, events as u64);
        self.tally.consumed(events as u64);
        if let Some(also) = &self.also {
            also.received(events);
        }
    }

    fn calling(&self, spec: &Spec, inputs: &[Input]) -> Option<Span> {
        self.tally.call_begins(Instant::now());
        if let Some(also) = &self.also {
            drop(also.calling(spec, inputs));
        }
        let slice = Slice { pipeline: &self.pipeline, function: spec.name, model: &spec.model, events: inputs.len() };
        self.telemetry.spans.slice(slice, inputs.iter().filter_map(|input| input.event.raw.header_str(TRACEPARENT_HEADER)))
    }

    fn called(&self, events: usize, seconds: f64) {
        self.telemetry.metrics.called(&self.pipeline, events, seconds);
        self.tally.call_ends(events, seconds, Instant::now());
    }

    fn retried(&self, stage: &'static str) {
        self.telemetry.metrics.retried(&self.pipeline, stage);
        if matches!(stage, "decide" | "publish") {
            self.hindrance().failed(stage, Instant::now());
        }
    }

    fn rejected(&self, code: &'static str) {
        self.telemetry.metrics.dead(&self.pipeline, code, 1);
        self.tally.dead(code);
        if let Some(also) = &self.also {
            also.rejected(code);
        }
    }

    fn scored(&self, version: &str, endings: [u64; 3]) {
        for (ending, events) in ["emitted", "skipped", "dead"].into_iter().zip(endings).filter(|(_, events)| *events > 0) {
            self.telemetry.metrics.swapped(&self.pipeline, version, ending, events);
        }
    }

    fn took_back(&self) {
        self.telemetry.metrics.took_back(&self.pipeline);
    }

    fn skipped(&self, reason: &'static str) {
        self.telemetry.metrics.skipped(&self.pipeline, reason, 1);
        self.tally.skipped(reason);
    }

    fn emitted(&self, predictions: &[Prediction]) {
        let reasons = predictions.iter().filter_map(|prediction| self.words.fallback(prediction));
        reasons.for_each(|reason| self.tally.fell_back(reason));
    }

    fn decided(&self, partition: &TopicPartition, records: &[Record], seconds: f64, timestamps_ms: &[i64]) {
        self.telemetry.metrics.decided(&self.pipeline, seconds);
        let predictions = || records.iter().filter(|record| record.kind == Kind::Prediction);
        self.telemetry.metrics.predictions(&self.pipeline, predictions().count() as u64);
        predictions().filter_map(|record| record.score).for_each(|score| self.telemetry.metrics.score(&self.pipeline, score));
        let now = jiff::Timestamp::now().as_millisecond();
        let labels = (self.labels)();
        let ages = timestamps_ms.iter().filter(|at| **at >= 0).map(|at| (now - at).max(0) as f64 / 1000.0);
        self.tally.decided(timestamps_ms.len(), ages, predictions().map(|record| (counted(&labels, record), record.score)));
        // The oldest event of the round tells its worst age; one sample a round is enough for the histogram.
        if let Some(oldest) = timestamps_ms.iter().copied().filter(|at| *at >= 0).min() {
            self.telemetry.metrics.event_age(&self.pipeline, (now - oldest).max(0) as f64 / 1000.0);
        }
        if let Some(also) = &self.also {
            also.decided(partition, records, seconds, timestamps_ms);
        }
    }

    fn published(&self, records: usize, seconds: f64) {
        self.telemetry.metrics.published(&self.pipeline, records as u64, seconds);
        self.tally.published(records as u64);
        if let Some(also) = &self.also {
            also.published(records, seconds);
        }
    }

    fn round_ended(&self, stage: &'static str, partitions: usize, seconds: f64, done: bool) {
        let name = if stage == "decide" { "millrace.decide" } else { "millrace.publish" };
        if done {
            self.hindrance().went_well(stage);
        }
        self.telemetry.spans.round(name, &self.pipeline, partitions, seconds, done);
    }

    fn skewed(&self, milliseconds: i64) {
        self.telemetry.metrics.skew(&self.pipeline, milliseconds as f64 / 1000.0);
    }

    fn halted(&self, _: &TopicPartition, _: &str) {
        self.telemetry.metrics.halted(&self.pipeline, "safety");
    }

    fn status(&self, partitions: Vec<PartitionView>, budget_bytes: usize) {
        self.telemetry.metrics.budget_used(budget_bytes);
        if let Some(also) = &self.also {
            also.status(partitions.clone(), budget_bytes);
        }
        let wrong = self.hindrance().look(&partitions, Instant::now());
        match wrong.is_empty() {
            true => self.readiness.clear(&self.pipeline),
            false => self.readiness.block(&self.pipeline, &wrong.join("; ")),
        }
        let (before, now_ms) = (self.board.of(&self.pipeline), jiff::Timestamp::now().as_millisecond());
        let statuses = partitions.into_iter().map(|view| {
            let partition = TopicPartition::new(view.topic.as_str(), view.partition);
            let name = format!("{}/{}", view.topic, view.partition);
            let status = status_of(view, self.logs.of(&partition), before.get(&name), &self.owner, now_ms);
            (name, status)
        });
        self.board.replace(&self.pipeline, statuses.collect());
    }
}

impl Words {
    fn fallback(self, prediction: &Prediction) -> Option<&str> {
        match self {
            Self::Known => fallback(prediction),
            Self::Unknown => fallback(prediction).map(|_| OTHER),
            Self::Copied => None,
        }
    }
}

/// Why a prediction is a second best, where its function says so. A word of the program's own, never a text.
fn fallback(prediction: &Prediction) -> Option<&str> {
    let text = |name: &str| prediction.fields.get(name).and_then(serde_json::Value::as_str);
    if text("status") == Some("degraded") {
        return Some("degraded");
    }
    let is_word = |word: &&str| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=40).contains(&word.len()) && word.bytes().all(fits)
    };
    text("fallback").or_else(|| text("reason")).filter(is_word)
}

/// Releases `latch` once the group has given a first assignment, which may be empty, and all of it is claimed or halted.
pub async fn first_assignment(
    pipeline: Arc<str>,
    latch: String,
    lease: Arc<ArcSwap<Lease>>,
    (board, readiness): (Arc<StatusBoard>, Arc<Readiness>),
    closing: CancellationToken,
) {
    while tokio::time::timeout(Duration::from_millis(250), closing.cancelled()).await.is_err() {
        let (lease, board) = (lease.load_full(), board.of(&pipeline));
        let settled = |partition: &TopicPartition| {
            let status = board.get(&format!("{}/{}", partition.topic, partition.partition));
            status.is_some_and(|status| status.state != "claiming")
        };
        if lease.number > 0 && lease.partitions.keys().all(settled) {
            return readiness.release(&latch);
        }
    }
}

/// Keeps `/livez` honest: it follows the poll thread, not this task.
pub async fn follow_poll_thread(
    pipeline: Arc<str>,
    polled_at_ms: Arc<AtomicU64>,
    liveness: Arc<Liveness>,
    closing: CancellationToken,
) {
    let mut seen = u64::MAX;
    while tokio::time::timeout(Duration::from_secs(1), closing.cancelled()).await.is_err() {
        let polled = polled_at_ms.load(Ordering::Relaxed);
        if polled != seen {
            seen = polled;
            liveness.tick(&pipeline, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Would catch: a text of an event that becomes the name of a metric, because a function of somebody's own calls it a reason.
    #[test]
    fn only_words_of_this_program_are_counted_by_name() {
        let said = |fields: serde_json::Value| {
            let fields = fields.as_object().cloned().unwrap_or_default();
            Prediction { key: None, fields, label: None, score: None, model: None }
        };
        let (word, degraded, text) =
            (said(json!({ "reason": "a4111" })), said(json!({ "status": "degraded" })), said(json!({ "reason": "a Text" })));
        assert_eq!([&word, &degraded, &text].map(|one| Words::Known.fallback(one)), [Some("a4111"), Some("degraded"), None]);
        assert_eq!([&word, &degraded].map(|one| Words::Unknown.fallback(one)), [Some(OTHER), Some(OTHER)]);
        assert_eq!(Words::Copied.fallback(&word), None);
    }
}
