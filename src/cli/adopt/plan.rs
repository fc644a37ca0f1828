//! Where each partition of a new run begins, and why.

use super::From;
use super::fold::{self, FoldFrom};
use crate::cli::common::Usage;
use crate::cli::kafka::Kafka;
use crate::cli::point::Point;
use crate::config::Pipeline;
use crate::event::TopicPartition;
use crate::publisher::Committed;
use crate::record::Mode;
use crate::source::LogBounds;
use crate::store::postgres::{self, PostgresStore};
use crate::store::{PartitionKey, PartitionRow, Store};
use anyhow::bail;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// What was asked for.
pub struct Asked {
    pub from: From,
    pub fold_from: Option<FoldFrom>,
    /// The partition that these are said of; of all without one.
    pub chosen: Option<TopicPartition>,
    pub run: Option<i32>,
    /// The digest of what the function remembers by, if it does.
    pub fold: Option<Arc<str>>,
}

impl Asked {
    fn of(&self, partition: &TopicPartition) -> (From, Option<FoldFrom>) {
        match self.chosen.as_ref().is_none_or(|chosen| chosen == partition) {
            true => (self.from, self.fold_from),
            false => (From::Committed, None),
        }
    }

    /// Whether a partition beside the one that was named goes on with the states that it has. Of those that were named, and of all where none was, they may be
    /// what is wrong.
    fn keeps(&self, partition: &TopicPartition, row: &PartitionRow, log: LogBounds, start: i64) -> bool {
        let is_beside = self.chosen.as_ref().is_some_and(|chosen| chosen != partition);
        is_beside && self.fold.as_deref().is_some_and(|digest| fold::goes_on(digest, row, log, start))
    }

    /// What can be told once the partitions are known.
    fn check(&self, partitions: &[TopicPartition]) -> Result<(), Usage> {
        if let Some(chosen) = self.chosen.as_ref().filter(|chosen| !partitions.contains(chosen)) {
            return Err(Usage(format!("there is no partition {chosen}")));
        }
        let several = self.chosen.is_none() && partitions.len() > 1;
        if several && matches!(self.fold_from, Some(FoldFrom::Log(Point::Offset(_)))) {
            let what =
                "an offset is one partition's, and there are several: name it with --partition, or write --fold-from with a time";
            return Err(Usage(what.into()));
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
pub struct Plan {
    pipeline: String,
    pub run: i32,
    mode: Mode,
    partitions: Vec<Begin>,
    /// Offsets that are folded and not scored; none for a function that remembers nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets_folded: Option<i64>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Begin {
    topic: String,
    partition: i32,
    start: i64,
    /// Where it is folded from; none for a function that remembers nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    fold_from: Option<i64>,
    /// The run whose states it goes on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    keeps_states_of_run: Option<i32>,
    why: String,
}

impl Plan {
    pub async fn make(pipeline: &Pipeline, store: &PostgresStore, kafka: &Kafka, asked: &Asked) -> anyhow::Result<Self> {
        let partitions = kafka.partitions(&pipeline.topic)?;
        asked.check(&partitions)?;
        let newest = store.current_run(&pipeline.name).await?;
        let next = newest.unwrap_or(0) + 1;
        if let Some(run) = asked.run.filter(|run| *run < next) {
            return Err(Usage(format!("run {run} is not new, the newest in the database is {}", next - 1)).into());
        }
        let mut rows = Vec::new();
        if let Some(newest) = newest {
            for topic in &pipeline.topic {
                for (number, row) in store.partitions(&pipeline.name, newest, topic).await? {
                    rows.push((TopicPartition::new(topic.as_str(), number), row));
                }
            }
        }
        let group = kafka.committed(&partitions)?;
        let mut plan = Self {
            pipeline: pipeline.name.clone(),
            run: asked.run.unwrap_or(next),
            mode: pipeline.mode,
            partitions: Vec::new(),
            offsets_folded: asked.fold.as_ref().map(|_| 0),
            notes: Vec::new(),
        };
        for (partition, k) in group {
            let row = rows.iter().find(|(of, _)| *of == partition).map(|(_, row)| row);
            let log = kafka.bounds_with_open(&partition)?;
            let (from, fold_from) = asked.of(&partition);
            let (start, why) = match from {
                From::Earliest => (log.low, "the log's start".to_owned()),
                From::Latest => (kafka.bounds(&partition)?.high, "the log's end".to_owned()),
                From::Committed => match committed(k, row, log) {
                    Some(begin) => begin,
                    None => bail!(
                        "{partition}: the group has no offset, and records of [{}, {}) may or may not have been published. Look with `millrace verify`, \
                         then set the offset with `--published auto`, or choose another --from.",
                        row.map_or(0, |row| row.published_offset),
                        row.map_or(0, |row| row.next_offset)
                    ),
                },
            };
            if let (Some(newest), Some(row)) = (newest, row) {
                plan.left_behind(store, newest, &partition, row, k, start).await?;
            }
            // With another number of partitions keys have moved.
            let as_many = |of: &TopicPartition, topic: &str| *of.topic == *topic;
            let now = partitions.iter().filter(|of| as_many(of, &partition.topic)).count();
            let then = rows.iter().filter(|(of, _)| as_many(of, &partition.topic)).count();
            let kept = row.filter(|row| now == then && asked.keeps(&partition, row, log, start));
            let fold_from = match (&asked.fold, kept) {
                (Some(_), Some(kept)) => Some(kept.fold_from),
                (Some(_), None) => Some(fold::first(fold_from, log, start, &partition, |ms| kafka.offset_at(&partition, ms))?),
                (None, _) => None,
            };
            if let Some(fold_from) = fold_from {
                plan.offsets_folded = plan.offsets_folded.map(|so_far| so_far + start - fold_from);
            }
            if let (Some(fold_from), None) = (fold_from, kept) {
                let earlier = store.runs(&pipeline.name, &partition).await?.into_iter().find(|run| Some(run.run) == newest);
                let began = earlier.and_then(|run| run.fold.and(run.fold_start).map(|began| (run.run, began)));
                fold::unknown(&partition, began, log, fold_from).into_iter().for_each(|text| plan.note(text));
            }
            plan.partitions.push(Begin {
                topic: partition.topic.to_string(),
                partition: partition.partition,
                start,
                fold_from,
                keeps_states_of_run: newest.filter(|_| kept.is_some()),
                why,
            });
            if newest.is_none() && asked.run.is_none() && k.is_some_and(|k| k.records_total.is_some()) {
                plan.note(
                    "the group's offsets were written by Millrace, and this database has no rows of the pipeline. If there was another database, \
                     name a --run above its newest, so that no id is given twice."
                        .into(),
                );
            }
        }
        Ok(plan)
    }

    /// What the earlier run has decided, set against where this one begins.
    async fn left_behind(
        &mut self,
        store: &PostgresStore,
        newest: i32,
        partition: &TopicPartition,
        row: &PartitionRow,
        k: Option<Committed>,
        start: i64,
    ) -> anyhow::Result<()> {
        let published = published(k, row);
        let key = PartitionKey { pipeline: self.pipeline.as_str().into(), run: newest, partition: partition.clone() };
        if row.mode == Mode::Both && published < row.next_offset {
            let rows = row.records - store.records_below(&key, published).await?;
            self.note(format!("{partition}: {rows} rows of run {newest} are decided and not published; they never will be"));
        }
        let done = if row.mode == Mode::Both { published } else { row.next_offset };
        if start < done {
            self.note(format!(
                "{partition}: [{start}, {done}) of run {newest} is done; its events get a second ending, under run {}",
                self.run
            ));
        } else if start > row.next_offset {
            self.note(format!("{partition}: events of [{}, {start}) get no ending", row.next_offset));
        }
        Ok(())
    }

    fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Rows to open.
    pub fn begins(&self) -> Vec<postgres::Begin> {
        let begin = |begin: &Begin| postgres::Begin {
            partition: TopicPartition::new(begin.topic.as_str(), begin.partition),
            fold_from: begin.fold_from.unwrap_or(begin.start),
            from: begin.start,
            keeps: begin.keeps_states_of_run,
        };
        self.partitions.iter().map(begin).collect()
    }

    /// In mode `postgres` the group's offsets say nothing.
    pub fn sets_offsets(&self) -> bool {
        self.mode == Mode::Both
    }
}

/// The offset below which all is published, as far as it is known: K, but never less than Q, which stays when K is moved back.
fn published(k: Option<Committed>, row: &PartitionRow) -> i64 {
    k.map_or(row.published_offset, |k| k.offset).max(row.published_offset).min(row.next_offset)
}

/// Where the work goes on: K, or P of a run in mode `postgres`. `None` when it is not known what was published.
fn committed(k: Option<Committed>, row: Option<&PartitionRow>, log: LogBounds) -> Option<(i64, String)> {
    let (at, what) = match (row, k) {
        (Some(row), _) if row.mode == Mode::Postgres => (row.next_offset, "the next offset to decide"),
        (_, Some(k)) => (k.offset, "the group's offset"),
        (Some(row), None) if row.published_offset == row.next_offset => (row.next_offset, "the next offset to decide"),
        (Some(_), None) => return None,
        (None, None) => return Some((log.low, "new; the log's start".to_owned())),
    };
    let LogBounds { low, high } = log;
    Some(if at < low {
        (low, format!("the log's start; {what} was {at}, {} offsets were removed by retention", low - at))
    } else if at > high {
        (low, format!("the log's start; {what} was {at} and the log ends at {high}, it is another log"))
    } else {
        (at, what.to_owned())
    })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {}: new run {} in mode {}", self.pipeline, self.run, self.mode.as_str())?;
        for begin in &self.partitions {
            let Begin { topic, partition, start, fold_from, keeps_states_of_run, why } = begin;
            write!(f, "  {topic}/{partition} begins at {start} ({why})")?;
            if let Some(run) = keeps_states_of_run {
                write!(f, "; it goes on with its states of run {run}")?;
            }
            match fold_from {
                Some(from) if from < start => {
                    writeln!(f, "; before it folds [{from}, {start}), at most {} events", start - from)?
                }
                Some(_) if keeps_states_of_run.is_none() => writeln!(f, "; its states begin empty")?,
                _ => writeln!(f)?,
            }
        }
        if let Some(events) = self.offsets_folded.filter(|events| *events > 0) {
            writeln!(
                f,
                "  states are folded again from the log before anything is scored: at most {events} events are read for them"
            )?;
        }
        if self.sets_offsets() {
            writeln!(f, "  the offsets of group {} are set to the same", self.pipeline)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

/// A row that nobody has claimed.
#[cfg(test)]
pub fn row(q: i64, p: i64, mode: Mode) -> PartitionRow {
    PartitionRow { epoch: 1, published_offset: q, ..crate::store::memory::opened(p, p, mode) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a start that skips what was decided and not published, or one outside of the log.
    #[test]
    fn committed_is_where_publishing_stopped_within_the_log() {
        let log = LogBounds { low: 10, high: 100 };
        let k = |offset| Some(Committed { offset, records_total: Some(0) });
        let start = |k, row: Option<PartitionRow>| committed(k, row.as_ref(), log).map(|(start, _)| start);
        assert_eq!(start(k(40), Some(row(30, 50, Mode::Both))), Some(40));
        assert_eq!(start(k(40), Some(row(30, 50, Mode::Postgres))), Some(50));
        assert_eq!(start(None, Some(row(50, 50, Mode::Both))), Some(50));
        assert_eq!(start(None, Some(row(40, 50, Mode::Both))), None);
        assert_eq!(
            (start(k(5), None), start(k(101), None), start(k(100), None), start(None, None)),
            (Some(10), Some(10), Some(100), Some(10))
        );
    }

    /// Would catch: offsets that were moved back taken for what is published, so that a second ending goes unsaid.
    #[test]
    fn what_is_published_is_never_below_q() {
        let k = |offset| Some(Committed { offset, records_total: None });
        let row = row(30, 50, Mode::Both);
        let at = |k| published(k, &row);
        assert_eq!((at(k(10)), at(k(40)), at(k(60)), at(None)), (30, 40, 50, 30));
    }
}
