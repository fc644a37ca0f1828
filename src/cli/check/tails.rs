//! Where each partition would go on, and what would become of the last events of its log.

use super::{Findings, Level};
use crate::cli::common;
use crate::cli::explain::first_events;
use crate::cli::kafka::Kafka;
use crate::cli::rig::Rig;
use crate::config::{Config, Pipeline, Start};
use crate::event::TopicPartition;
use crate::function::Outcome;
use crate::publisher::Committed;
use crate::record::Mode;
use crate::source::LogBounds;
use crate::store::{PartitionRow, Store};
use crate::worker::folds;
use std::collections::BTreeMap;
use std::time::Duration;

/// Events of each partition that are scored.
const EVENTS: usize = 5;
/// Offsets in which they are looked for: markers of transactions take some.
const OFFSETS: i64 = 50;

pub async fn look(config: &Config, pipeline: &Pipeline, rig: &Rig, findings: &mut Findings) {
    let about = format!("pipeline {}", pipeline.name);
    // Who does not answer has been told.
    let Ok(kafka) = common::kafka(config, pipeline) else { return };
    let Ok(partitions) = kafka.partitions(&pipeline.topic) else { return };
    let store = common::store(config, config.postgres.statement_timeout_ms).await.ok();
    let fold = folds::past(config, pipeline).map(|past| past.digest);
    for partition in partitions {
        let Some(bounds) = findings.take(&about, kafka.bounds(&partition)) else { continue };
        if let Some(store) = &store {
            let standing = standing(store, &kafka, pipeline, &partition, bounds, fold.as_deref()).await;
            if let Some((level, text)) = findings.take(&about, standing) {
                findings.add(level, &about, format!("{partition}: {text}"));
            }
        }
        let tail = tail(rig, &kafka, &partition, bounds).await;
        if let Some((level, text)) = findings.take(&about, tail) {
            findings.add(level, &about, format!("{partition}: {text}"));
        }
    }
}

/// Where it would go on, or why it would halt.
async fn standing(
    store: &impl Store,
    kafka: &Kafka,
    pipeline: &Pipeline,
    partition: &TopicPartition,
    bounds: LogBounds,
    fold: Option<&str>,
) -> anyhow::Result<(Level, String)> {
    let run = store.current_run(&pipeline.name).await?.unwrap_or(1);
    let found = async || -> anyhow::Result<(Option<Committed>, Option<PartitionRow>)> {
        let k = kafka.committed(std::slice::from_ref(partition))?.into_iter().find_map(|(_, k)| k);
        let rows = store.partitions(&pipeline.name, run, &partition.topic).await?;
        let row = rows.into_iter().find_map(|(number, row)| (number == partition.partition).then_some(row));
        Ok((k.filter(|_| pipeline.mode == Mode::Both), row))
    };
    let (mut k, mut row) = found().await?;
    if row.as_ref().is_some_and(|row| halts(row, k, bounds, pipeline.mode, fold).is_some()) {
        // Beside a worker the two are not of one moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
        (k, row) = found().await?;
    }
    let Some(row) = row else {
        if let Some(k) = k {
            let text =
                format!("would halt: the group has committed offset {} and there is no row; see `millrace adopt`", k.offset);
            return Ok((Level::Wrong, text));
        }
        let (start, word) = match pipeline.start {
            Start::Earliest => (bounds.low, "start"),
            Start::Latest => (bounds.high, "end"),
        };
        return Ok((
            Level::Good,
            format!("new, would begin at offset {start}, the log's {word}, with {} offsets to go", bounds.high - start),
        ));
    };
    if let Some(why) = halts(&row, k, bounds, pipeline.mode, fold) {
        return Ok((Level::Wrong, format!("run {run} would halt: {why}")));
    }
    let (p, to_go) = (row.next_offset, (bounds.high - row.next_offset).max(0));
    let unpublished =
        k.filter(|k| k.offset < p).map_or_else(String::new, |k| format!(", and would publish [{}, {p}) first", k.offset));
    Ok((Level::Good, format!("run {run} would go on at offset {p}, with {to_go} offsets to go{unpublished}")))
}

/// What a claim would find, in short.
fn halts(row: &PartitionRow, k: Option<Committed>, bounds: LogBounds, mode: Mode, fold: Option<&str>) -> Option<String> {
    let (p, q) = (row.next_offset, row.published_offset);
    let LogBounds { low, high } = bounds;
    let both = mode == Mode::Both;
    match k {
        _ if row.mode != mode => Some(format!("it was running in mode {}, the config says {}", row.mode.as_str(), mode.as_str())),
        _ if row.events > 0 && row.fold.as_deref() != fold => Some("its states were folded by other settings".to_owned()),
        _ if p > high => Some(format!("offset {p} is the next to decide, and the log ends at {high}")),
        _ if p < low => Some(format!("offset {p} is the next to decide, and the log starts at {low}")),
        _ if fold.is_some() && row.fold_from < low => {
            Some(format!("states need events from offset {} on, and the log starts at {low}", row.fold_from))
        }
        None if both && q < p => Some(format!("the group has no offset, and records of [{q}, {p}) may or may not be published")),
        Some(k) if k.offset < q => Some(format!("the group's offset {} is below {q}, which was published", k.offset)),
        Some(k) if k.offset > p => Some(format!("the group's offset {} is beyond {p}, the next to decide", k.offset)),
        Some(k) if k.records_total.is_none() => Some(format!("the group's offset {} was not written by Millrace", k.offset)),
        _ => None,
    }
    .map(|why| format!("{why}; see `millrace adopt`"))
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

    /// Would catch: a contradiction that is passed over, or one that is seen where a claim sees none.
    #[test]
    fn what_a_claim_would_refuse_is_told() {
        let log = LogBounds { low: 10, high: 100 };
        let row = |q: i64, p: i64| crate::cli::adopt::row(q, p, Mode::Both);
        let k = |offset| Some(Committed { offset, records_total: Some(3) });
        let of = |row: PartitionRow, k| halts(&row, k, log, Mode::Both, None).unwrap_or_default();
        assert_eq!((of(row(40, 50), k(45)).as_str(), of(row(50, 50), None).as_str()), ("", ""));
        for (row, k, why) in [
            (row(40, 50), None, "may or may not"),
            (row(40, 50), k(39), "is below 40"),
            (row(40, 50), k(51), "is beyond 50"),
            (row(40, 101), k(40), "the log ends at 100"),
            (row(9, 9), k(9), "the log starts at 10"),
            (row(40, 50), Some(Committed { offset: 45, records_total: None }), "not written by Millrace"),
            (PartitionRow { mode: Mode::Postgres, ..row(50, 50) }, k(50), "mode postgres"),
            (PartitionRow { events: 1, fold: Some("x".into()), ..row(50, 50) }, k(50), "other settings"),
        ] {
            assert!(of(row.clone(), k).contains(why), "{why}: {:?}", of(row, k));
        }
        assert_eq!(halts(&PartitionRow { mode: Mode::Postgres, ..row(40, 50) }, None, log, Mode::Postgres, None), None);
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
