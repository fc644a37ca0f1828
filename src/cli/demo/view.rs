//! What the demo shows while it runs: one screen on a terminal, a line every five seconds elsewhere.

use crate::event::TopicPartition;
use crate::pipeline::{Observer, PartitionView};
use crate::record::{Kind, Record, decode_dead_letter};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LAST_MESSAGES: usize = 5;

#[derive(Default)]
struct Seen {
    decided: u64,
    published: u64,
    labels: BTreeMap<String, u64>,
    dead: BTreeMap<&'static str, u64>,
    /// Dead letters by the event that they hold and their reason.
    letters: BTreeMap<(String, String), u64>,
    last: VecDeque<String>,
    /// Append to committed row, milliseconds.
    latency_ms: Vec<f64>,
    running: usize,
}

/// Collects what the pipeline tells.
#[derive(Default)]
pub struct View {
    seen: Mutex<Seen>,
}

/// Median and 99th percentile, by nearest rank.
pub fn p50_p99(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    Some((at(0.5)?, at(0.99)?))
}

impl View {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events decided up to now, dead letters among them.
    pub fn decided(&self) -> u64 {
        self.seen().decided
    }

    /// Partitions that are claimed.
    pub fn running(&self) -> usize {
        self.seen().running
    }

    pub fn published(&self) -> u64 {
        self.seen().published
    }

    pub fn latencies_ms(&self) -> Vec<f64> {
        self.seen().latency_ms.clone()
    }

    /// Dead letters by the event that they hold and their reason.
    pub fn letters(&self) -> BTreeMap<(String, String), u64> {
        self.seen().letters.clone()
    }

    pub fn labels(&self) -> BTreeMap<String, u64> {
        self.seen().labels.clone()
    }

    /// Draws until `done`.
    pub async fn show(&self, sent: impl Fn() -> u64, seconds: u64, done: tokio_util::sync::CancellationToken) {
        let terminal = std::io::stdout().is_terminal();
        let (period, started) = (if terminal { Duration::from_millis(500) } else { Duration::from_secs(5) }, Instant::now());
        let (mut drawn, mut before) = (0, (started, 0));
        let mut ended = false;
        while !ended {
            ended = tokio::time::timeout(period, done.cancelled()).await.is_ok();
            let (now, decided) = (Instant::now(), self.decided());
            // Line by line, the end is told by the summary alone.
            if ended && !terminal {
                return;
            }
            let rate = (decided - before.1) as f64 / (now - before.0).as_secs_f64();
            before = (now, decided);
            let text = if terminal {
                self.screen(sent(), rate, started.elapsed(), seconds)
            } else {
                self.line(sent(), rate, started.elapsed())
            };
            let mut out = std::io::stdout().lock();
            let text = match terminal {
                // Drawn over the last one, which has no more lines than it had line ends: long lines are cut, not wrapped.
                true if drawn > 0 => format!("\x1b[{drawn}A\x1b[J\x1b[?7l{text}\x1b[?7h"),
                true => format!("\x1b[?7l{text}\x1b[?7h"),
                false => text,
            };
            drawn = text.matches('\n').count();
            write!(out, "{text}").and_then(|()| out.flush()).ok();
        }
    }

    fn line(&self, sent: u64, rate: f64, elapsed: Duration) -> String {
        let seen = self.seen();
        let (p50, p99) = p50_p99(&seen.latency_ms).unwrap_or_default();
        let dead: u64 = seen.dead.values().sum();
        format!(
            "{:>3} s  sent {sent}  decided {} ({rate:.0}/s)  lag {}  p50 {p50:.0} ms  p99 {p99:.0} ms  dead {dead}\n",
            elapsed.as_secs(),
            seen.decided,
            sent.saturating_sub(seen.decided),
        )
    }

    fn screen(&self, sent: u64, rate: f64, elapsed: Duration, seconds: u64) -> String {
        let seen = self.seen();
        let (p50, p99) = p50_p99(&seen.latency_ms).unwrap_or_default();
        let mut text = String::new();
        let bar = "█".repeat((30 * elapsed.as_secs() / seconds.max(1)).min(30) as usize);
        writeln!(text, "  {bar:░<30} {} of {seconds} s", elapsed.as_secs().min(seconds)).ok();
        writeln!(
            text,
            "  rate {rate:.0}/s   sent {sent}   decided {}   published {}   lag {}",
            seen.decided,
            seen.published,
            sent.saturating_sub(seen.decided)
        )
        .ok();
        writeln!(text, "  latency, append to committed row: p50 {p50:.0} ms   p99 {p99:.0} ms").ok();
        let total: u64 = seen.labels.values().sum();
        writeln!(text, "  sentiment, share of {total} messages:").ok();
        for (label, count) in &seen.labels {
            let share = *count as f64 / total.max(1) as f64;
            writeln!(text, "    {label:>10} {:<30} {:>4.0} %", "▇".repeat((share * 30.0) as usize), share * 100.0).ok();
        }
        let dead: Vec<String> = seen.dead.iter().map(|(code, count)| format!("{code} {count}")).collect();
        writeln!(text, "  dead letters: {}", if dead.is_empty() { "none".into() } else { dead.join(", ") }).ok();
        writeln!(text, "  last messages: sentiment, score, position").ok();
        for line in &seen.last {
            writeln!(text, "    {line}").ok();
        }
        text
    }
}

impl Observer for View {
    fn rejected(&self, code: &'static str) {
        *self.seen().dead.entry(code).or_default() += 1;
    }

    fn decided(&self, partition: &TopicPartition, records: &[Record], _: f64, timestamps_ms: &[i64]) {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut seen = self.seen();
        seen.decided += timestamps_ms.len() as u64;
        seen.latency_ms.extend(timestamps_ms.iter().map(|at| (now - at).max(0) as f64));
        for record in records {
            if record.kind == Kind::DeadLetter {
                let payload = decode_dead_letter(&record.value).ok().and_then(|original| original.payload).unwrap_or_default();
                let code = record.label.as_deref().unwrap_or("none").to_owned();
                *seen.letters.entry((String::from_utf8_lossy(&payload).into_owned(), code)).or_default() += 1;
                continue;
            }
            let label = record.label.as_deref().unwrap_or("none");
            *seen.labels.entry(label.to_owned()).or_default() += 1;
            let position = format!("chat, partition {}, offset {}", partition.partition, record.offset);
            seen.last.push_back(format!("{label:>10} {:.3}  {position}", record.score.unwrap_or_default()));
            if seen.last.len() > LAST_MESSAGES {
                seen.last.pop_front();
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
