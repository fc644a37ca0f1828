//! What the pipelines tell, turned into metrics and status.

use crate::admin::{Liveness, PartitionStatus, StatusBoard};
use crate::event::TopicPartition;
use crate::function::{Input, Spec};
use crate::pipeline::{Observer, PartitionView};
use crate::record::{Kind, Record, TRACEPARENT_HEADER};
use crate::telemetry::{Instruments, Slice, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One pipeline's observer.
pub struct Watch {
    pipeline: String,
    telemetry: Instruments,
    board: Arc<StatusBoard>,
    also: Option<Arc<dyn Observer>>,
}

impl Watch {
    pub fn new(pipeline: &str, telemetry: Instruments, board: Arc<StatusBoard>, also: Option<Arc<dyn Observer>>) -> Self {
        Self { pipeline: pipeline.to_owned(), telemetry, board, also }
    }
}

impl Observer for Watch {
    fn received(&self, events: usize) {
        self.telemetry.metrics.consumed(&self.pipeline, events as u64);
        if let Some(also) = &self.also {
            also.received(events);
        }
    }

    fn calling(&self, spec: &Spec, inputs: &[Input]) -> Option<Span> {
        let slice = Slice { pipeline: &self.pipeline, function: spec.name, model: &spec.model, events: inputs.len() };
        self.telemetry.spans.slice(slice, inputs.iter().filter_map(|input| input.event.raw.header_str(TRACEPARENT_HEADER)))
    }

    fn called(&self, events: usize, seconds: f64) {
        self.telemetry.metrics.called(&self.pipeline, events, seconds);
    }

    fn retried(&self, stage: &'static str) {
        self.telemetry.metrics.retried(&self.pipeline, stage);
    }

    fn rejected(&self, code: &'static str) {
        self.telemetry.metrics.dead(&self.pipeline, code, 1);
        if let Some(also) = &self.also {
            also.rejected(code);
        }
    }

    fn decided(&self, partition: &TopicPartition, records: &[Record], seconds: f64, timestamps_ms: &[i64]) {
        self.telemetry.metrics.decided(&self.pipeline, seconds);
        let predictions = records.iter().filter(|record| record.kind == Kind::Prediction).count();
        self.telemetry.metrics.predictions(&self.pipeline, predictions as u64);
        let now = jiff::Timestamp::now().as_millisecond();
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
        if let Some(also) = &self.also {
            also.published(records, seconds);
        }
    }

    fn round_ended(&self, stage: &'static str, partitions: usize, seconds: f64, done: bool) {
        let name = if stage == "decide" { "millrace.decide" } else { "millrace.publish" };
        self.telemetry.spans.round(name, &self.pipeline, partitions, seconds, done);
    }

    fn halted(&self, _: &TopicPartition, _: &str) {
        self.telemetry.metrics.halted(&self.pipeline, "safety");
    }

    fn status(&self, partitions: Vec<PartitionView>, budget_bytes: usize) {
        self.telemetry.metrics.budget_used(budget_bytes);
        for view in &partitions {
            if let Some(end) = view.end_offset {
                let unpublished = view.published_offset.map_or(0, |published| (end - published).max(0));
                self.telemetry.metrics.lag(
                    &self.pipeline,
                    &view.topic,
                    view.partition,
                    (end - view.next_offset).max(0),
                    unpublished,
                );
            }
        }
        self.board.replace(&self.pipeline, partitions.into_iter().map(status_of).collect());
    }
}

fn status_of(view: PartitionView) -> (String, PartitionStatus) {
    let known = view.state == "running";
    let status = PartitionStatus {
        state: view.state.to_owned(),
        next_offset: known.then_some(view.next_offset),
        committed_offset: view.published_offset,
        end_offset: view.end_offset,
        epoch: known.then_some(view.epoch),
        halted: view.reason,
        ..PartitionStatus::default()
    };
    (format!("{}/{}", view.topic, view.partition), status)
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
