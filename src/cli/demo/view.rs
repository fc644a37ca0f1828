//! What is seen of a pipeline while it runs.

use crate::event::TopicPartition;
use crate::function::{Input, Spec};
use crate::pipeline::{Observer, PartitionView};
use crate::record::{Kind, Record, decode_dead_letter};
use crate::telemetry::Span;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answers that are kept to be shown.
const LAST: usize = 2;
/// Texts that are kept until they are answered.
const TEXTS: usize = 4_096;
/// The label of most payments, which nobody looks at one by one.
const UNTOLD: &str = "approve";

/// What was seen up to now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The history is behind: latencies, labels and answers are those of the show.
    live: bool,
    pub decided: u64,
    pub published: u64,
    pub labels: BTreeMap<String, u64>,
    pub dead: BTreeMap<&'static str, u64>,
    /// Dead letters by the event that they hold and their reason.
    pub letters: BTreeMap<(String, String), u64>,
    pub last: VecDeque<Answer>,
    /// Append to committed row, milliseconds.
    latency_ms: Vec<f64>,
    running: usize,
    /// Texts that are being scored, by partition and offset.
    texts: BTreeMap<(i32, i64), Box<str>>,
}

/// A prediction.
#[derive(Debug, Clone)]
pub struct Answer {
    pub label: String,
    pub score: f64,
    pub key: String,
    /// Its JSON document.
    pub value: Box<str>,
    pub partition: TopicPartition,
    pub offset: i64,
    /// What was scored, where it is a text.
    pub text: Option<Box<str>>,
}

/// Collects what the pipeline tells.
#[derive(Default)]
pub struct View {
    seen: Mutex<Seen>,
}

impl Seen {
    /// Median and 99th percentile of the latency, by nearest rank.
    pub fn p50_p99(&self) -> Option<(f64, f64)> {
        let mut sorted = self.latency_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
        Some((at(0.5)?, at(0.99)?))
    }
}

impl View {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, as it stands now.
    pub fn snapshot(&self) -> Seen {
        self.seen().clone()
    }

    /// From now on it is the show.
    pub fn go_live(&self) {
        self.seen().live = true;
    }

    /// Events decided up to now, dead letters among them.
    pub fn decided(&self) -> u64 {
        self.seen().decided
    }

    pub fn published(&self) -> u64 {
        self.seen().published
    }

    /// Partitions that are claimed.
    pub fn running(&self) -> usize {
        self.seen().running
    }
}

impl Observer for View {
    fn calling(&self, _: &Spec, inputs: &[Input]) -> Option<Span> {
        let mut seen = self.seen();
        if !seen.live {
            return None;
        }
        for event in inputs.iter().map(|input| &input.event) {
            let at = (event.raw.position.partition, event.raw.position.offset);
            if let Some(text) = event.text.clone().filter(|_| seen.texts.len() < TEXTS) {
                seen.texts.insert(at, text);
            }
        }
        None
    }

    fn rejected(&self, code: &'static str) {
        *self.seen().dead.entry(code).or_default() += 1;
    }

    fn decided(&self, partition: &TopicPartition, records: &[Record], _: f64, timestamps_ms: &[i64]) {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut seen = self.seen();
        seen.decided += timestamps_ms.len() as u64;
        if !seen.live {
            return;
        }
        seen.latency_ms.extend(timestamps_ms.iter().map(|at| (now - at).max(0) as f64));
        for record in records {
            let label = record.label.as_deref().unwrap_or("none");
            let text = seen.texts.remove(&(partition.partition, record.offset));
            if record.kind == Kind::DeadLetter {
                let payload = decode_dead_letter(&record.value).ok().and_then(|original| original.payload).unwrap_or_default();
                *seen.letters.entry((String::from_utf8_lossy(&payload).into_owned(), label.to_owned())).or_default() += 1;
                continue;
            }
            *seen.labels.entry(label.to_owned()).or_default() += 1;
            if label != UNTOLD {
                seen.last.push_back(Answer {
                    label: label.to_owned(),
                    score: record.score.unwrap_or_default(),
                    key: String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned(),
                    value: record.value.clone(),
                    partition: partition.clone(),
                    offset: record.offset,
                    text,
                });
                if seen.last.len() > LAST {
                    seen.last.pop_front();
                }
            }
        }
    }

    fn published(&self, records: usize, _: f64) {
        self.seen().published += records as u64;
    }

    fn status(&self, partitions: Vec<PartitionView>, _: usize) {
        self.seen().running = partitions.iter().filter(|partition| partition.state == "running").count();
    }
}
