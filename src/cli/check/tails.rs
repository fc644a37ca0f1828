//! Where each partition would go on, and what would become of the last events of its log.

use super::{Findings, Level};
use crate::cli::common;
use crate::cli::explain::first_events;
use crate::cli::kafka::Kafka;
use crate::cli::rig::Rig;
use crate::config::{Config, Pipeline};
use crate::event::TopicPartition;
use crate::function::Outcome;
use crate::pipeline::{Found, Told, Verdict};
use crate::record::Mode;
use crate::source::LogBounds;
use crate::store::{PartitionKey, Store};
use crate::worker::folds;
use std::collections::BTreeMap;
use std::time::Duration;

/// Events of each partition that are scored.
const EVENTS: usize = 5;
/// Offsets in which they are looked for: markers of transactions take some.
const OFFSETS: i64 = 50;
/// Rows of [K, P) that are read at a time, to be counted.
const CHUNK_ROWS: i64 = 5_000;

pub async fn look(config: &Config, pipeline: &Pipeline, rig: &Rig, findings: &mut Findings) {
    let about = format!("pipeline {}", pipeline.name);
    // Who does not answer has been told.
    let Ok(kafka) = common::kafka(config, pipeline) else { return };
    let Ok(partitions) = kafka.partitions(&pipeline.topic) else { return };
    let store = common::store(config, config.postgres.statement_timeout_ms).await.ok();
    let fold = folds::past(config, pipeline).map(|past| past.digest);
    let pauses = match &store {
        Some(store) => findings.take(&about, store.pauses(&pipeline.name).await.map_err(Into::into)).unwrap_or_default(),
        None => Vec::new(),
    };
    for pause in &pauses {
        let text = format!("{} is paused by {} since {}: {}", pause.what(), pause.by, pause.since, pause.reason);
        findings.add(Level::Warning, &about, text);
    }
    for partition in &partitions {
        let Some(bounds) = findings.take(&about, kafka.bounds(partition)) else { continue };
        if let Some(store) = &store {
            let number = partitions.iter().filter(|other| other.topic == partition.topic).count();
            let one = One { store, kafka: &kafka, pipeline, partition, fold: fold.as_deref(), number };
            if let Some(told) = findings.take(&about, one.standing(bounds).await) {
                let paused = pauses.iter().any(|pause| pause.covers(partition));
                let (level, text) = match told {
                    Ok(text) if paused => (Level::Warning, format!("{text}; it is paused, so nothing of it is begun")),
                    Ok(text) => (Level::Good, text),
                    Err(text) => (Level::Wrong, format!("would halt: {text}")),
                };
                findings.add(level, &about, format!("{partition}: {text}"));
            }
        }
        let tail = tail(rig, &kafka, partition, bounds).await;
        if let Some((level, text)) = findings.take(&about, tail) {
            findings.add(level, &about, format!("{partition}: {text}"));
        }
    }
}

/// One partition, and who is asked about it.
struct One<'a, S> {
    store: &'a S,
    kafka: &'a Kafka,
    pipeline: &'a Pipeline,
    partition: &'a TopicPartition,
    fold: Option<&'a str>,
    /// Partitions that its topic has.
    number: usize,
}

impl<S: Store> One<'_, S> {
    /// Where it would go on, or else why a claim would halt it.
    async fn standing(&self, bounds: LogBounds) -> anyhow::Result<Result<String, String>> {
        let first = self.look(bounds).await?;
        if first.is_ok() {
            return Ok(first);
        }
        // Beside a worker what was found is not of one moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.look(self.kafka.bounds(self.partition)?).await
    }

    async fn look(&self, bounds: LogBounds) -> anyhow::Result<Result<String, String>> {
        let (pipeline, partition) = (self.pipeline, self.partition);
        let run = self.store.current_run(&pipeline.name).await?.unwrap_or(1);
        let told = Told {
            pipeline: &pipeline.name,
            run,
            mode: pipeline.mode,
            fold: self.fold,
            start: pipeline.start,
            on_lost_commits: pipeline.on_lost_commits,
        };
        let group = self.kafka.committed(std::slice::from_ref(partition))?.into_iter().find_map(|(_, k)| k);
        let group = group.filter(|_| pipeline.mode == Mode::Both);
        let rows = self.store.partitions(&pipeline.name, run, &partition.topic).await?;
        let Some((_, row)) = rows.iter().find(|(number, _)| *number == partition.partition) else {
            return Ok(told.begins(partition, group, rows.len(), bounds).map(|start| begun(start, bounds)));
        };
        let verdict = match told.verdict(partition, &Found { row, group, bounds, partitions: (self.number, rows.len()) }) {
            Ok(verdict) => verdict,
            Err(why) => return Ok(Err(why)),
        };
        if let Verdict::Publish(k) = verdict {
            let rows = self.rows(run, k.offset, row.next_offset).await?;
            if let Err(why) = told.counted(partition, row, k, rows) {
                return Ok(Err(why));
            }
        }
        Ok(Ok(format!("run {run} {}", goes_on(row.next_offset, bounds, verdict))))
    }

    /// Rows of [from, to).
    async fn rows(&self, run: i32, from: i64, to: i64) -> anyhow::Result<i64> {
        let key = PartitionKey { pipeline: self.pipeline.name.as_str().into(), run, partition: self.partition.clone() };
        let (mut count, mut after) = (0, None);
        loop {
            let chunk = self.store.records(&key, from, to, after, CHUNK_ROWS).await?;
            count += chunk.len() as i64;
            after = chunk.last().map(|last| (last.offset, last.n));
            if (chunk.len() as i64) < CHUNK_ROWS {
                return Ok(count);
            }
        }
    }
}

fn begun(start: i64, bounds: LogBounds) -> String {
    let word = if start == bounds.low { "start" } else { "end" };
    format!("new, would begin at offset {start}, the log's {word}, with {} offsets to go", bounds.high - start)
}

fn goes_on(p: i64, bounds: LogBounds, verdict: Verdict) -> String {
    let also = match verdict {
        Verdict::Publish(k) if k.offset < p => format!(", and would publish [{}, {p}) first", k.offset),
        Verdict::Again(k) => format!(
            ", and would decide [{p}, {}) again without publishing it (`on_lost_commits = \"reprocess\"`): the database lost commits",
            k.offset
        ),
        _ => String::new(),
    };
    format!("would go on at offset {p}, with {} offsets to go{also}", bounds.high - p)
}

/// Decodes and scores the last events; a memory is empty before the first of them.
async fn tail(rig: &Rig, kafka: &Kafka, partition: &TopicPartition, bounds: LogBounds) -> anyhow::Result<(Level, String)> {
    let from = bounds.low.max(bounds.high - OFFSETS);
    if from >= bounds.high {
        return Ok((Level::Good, "the log is empty".to_owned()));
    }
    let mut events = first_events(kafka, partition, from, bounds.high, usize::MAX)?;
    let events = events.split_off(events.len().saturating_sub(EVENTS));
    let (count, mut past) = (events.len(), rig.past());
    let inputs = events.into_iter().map(|raw| rig.input(&mut past, raw)).collect::<anyhow::Result<Vec<_>>>()?;
    let outcomes = rig.call(inputs).await?;
    Ok(told(count, &outcomes))
}

fn told(count: usize, outcomes: &[Outcome]) -> (Level, String) {
    let (mut scored, mut others) = (0, BTreeMap::<String, usize>::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Emit(_) => scored += 1,
            Outcome::Skip(reason) => *others.entry(format!("skipped ({reason})")).or_default() += 1,
            Outcome::Reject(why) => *others.entry(format!("dead letters ({})", why.code)).or_default() += 1,
        }
    }
    let mut text = format!("of the last {count} events {scored} would be scored");
    for (what, number) in &others {
        text += &format!(", {number} {what}");
    }
    let dead = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Reject(_))).count();
    (if count > 0 && dead == count { Level::Warning } else { Level::Good }, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Rejection;
    use crate::publisher::Committed;

    /// Would catch: a standing that does not tell what would be published, or decided once more.
    #[test]
    fn what_would_be_done_first_is_told() {
        let log = LogBounds { low: 10, high: 100 };
        let k = |offset| Committed { offset, records_total: Some(3) };
        assert_eq!(goes_on(50, log, Verdict::Publish(k(50))), "would go on at offset 50, with 50 offsets to go");
        assert!(goes_on(50, log, Verdict::Publish(k(45))).ends_with("would publish [45, 50) first"));
        assert!(goes_on(50, log, Verdict::Again(k(55))).contains("[50, 55) again without publishing"));
        assert_eq!(begun(100, log), "new, would begin at offset 100, the log's end, with 0 offsets to go");
    }

    /// Would catch: a topic of another kind that passes as good.
    #[test]
    fn a_log_of_dead_letters_is_a_warning() {
        let dead = || Outcome::Reject(Rejection::new("missing_field", "x"));
        let (level, text) = told(3, &[dead(), dead(), Outcome::Skip("agent")]);
        assert_eq!(
            (level, text.as_str()),
            (Level::Good, "of the last 3 events 0 would be scored, 2 dead letters (missing_field), 1 skipped (agent)")
        );
        assert_eq!(told(2, &[dead(), dead()]).0, Level::Warning);
    }
}
