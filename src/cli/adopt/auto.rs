//! `--published auto`: how far each partition is published, as the records in the output topics tell.

use super::Args;
use super::published::current_run;
use crate::cli::common::Usage;
use crate::cli::kafka::Kafka;
use crate::cli::log::{Next, Reader, extent, id_of};
use crate::config::{Delivery, Pipeline};
use crate::event::TopicPartition;
use crate::publisher::Committed;
use crate::record::Mode;
use crate::store::postgres::PostgresStore;
use crate::store::{PartitionKey, PartitionRow, Store};
use anyhow::{Context, bail};
use rdkafka::message::Message;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Offset and n.
type Place = (i64, i16);

#[derive(Debug, Serialize)]
struct Table {
    pipeline: String,
    run: i32,
    partitions: Vec<Line>,
    notes: Vec<String>,
}

/// One partition.
#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    partition: i32,
    next_offset: i64,
    published_offset: i64,
    before: Option<i64>,
    /// The highest offset that a record in the topics names.
    highest: Option<i64>,
    offset: i64,
    records_below: i64,
    /// Rows at or above the offset, which the next worker publishes.
    to_publish: i64,
    /// Those among them whose records are there already.
    again: i64,
    /// Rows of [Q, offset) without a record: no worker publishes them any more.
    never: i64,
}

/// What the topics hold of one input partition.
struct Found {
    row: PartitionRow,
    highest: Option<i64>,
    /// Ids within [Q, P).
    inside: BTreeSet<Place>,
    /// First offset by output topic and partition.
    first: BTreeMap<(String, i32), i64>,
}

pub async fn run(
    pipeline: &Pipeline,
    store: &PostgresStore,
    kafka: &Kafka,
    chosen: Option<&TopicPartition>,
    args: &Args,
) -> anyhow::Result<()> {
    let run = current_run(pipeline, store).await?;
    let mut found = BTreeMap::new();
    for topic in &pipeline.topic {
        for (number, row) in store.partitions(&pipeline.name, run, topic).await? {
            let partition = TopicPartition::new(topic.as_str(), number);
            if row.mode == Mode::Postgres {
                return Err(Usage(format!("run {run} is in mode postgres, which publishes nothing")).into());
            }
            if chosen.is_none_or(|chosen| *chosen == partition) {
                found.insert(partition, Found { row, highest: None, inside: BTreeSet::new(), first: BTreeMap::new() });
            }
        }
    }
    if found.is_empty() {
        bail!("run {run} has no row for what was named: the next worker opens it, or start a new run, without --published");
    }
    let mut table = Table { pipeline: pipeline.name.clone(), run, partitions: Vec::new(), notes: Vec::new() };
    let mut topics = store.out_topics(&pipeline.name).await?;
    topics.extend([pipeline.output_topic(), pipeline.dead_letter_topic()]);
    topics.sort();
    topics.dedup();
    for topic in &topics {
        read(pipeline, kafka, topic, &mut found, &mut table).await?;
    }
    let asked: Vec<TopicPartition> = found.keys().cloned().collect();
    let before: BTreeMap<TopicPartition, Option<Committed>> = kafka.committed(&asked)?.into_iter().collect();
    let mut sets = Vec::new();
    for (partition, found) in &found {
        let key = PartitionKey { pipeline: pipeline.name.as_str().into(), run, partition: partition.clone() };
        let k = before.get(partition).copied().flatten();
        let line = line(store, &key, found, k, pipeline.delivery).await?;
        let set = Committed { offset: line.offset, records_total: Some(line.records_below) };
        if k != Some(set) {
            sets.push((partition.clone(), set));
        }
        table.partitions.push(line);
    }
    if args.yes && !sets.is_empty() {
        kafka.commit(&sets)?;
    }
    super::show(&table, args)
}

/// Reads one topic to its end.
async fn read(
    pipeline: &Pipeline,
    kafka: &Kafka,
    topic: &str,
    found: &mut BTreeMap<TopicPartition, Found>,
    table: &mut Table,
) -> anyhow::Result<()> {
    if kafka.partition_count(topic)?.is_none() {
        table
            .notes
            .push(format!("the topic {topic} is not there, or this user may not see it: what was published there was not seen"));
        return Ok(());
    }
    let extent = extent(kafka, topic).await?;
    let mut reader = Reader::open(kafka, &extent, "reading")?;
    loop {
        match reader.next()? {
            Next::End => break,
            Next::Idle => {}
            Next::Record(message) => {
                let Some(id) = id_of(&pipeline.name, &message).filter(|id| id.run == table.run) else { continue };
                let Some(of) = found.get_mut(&TopicPartition::new(&*id.topic, id.partition)) else { continue };
                of.highest = of.highest.max(Some(id.offset));
                of.first.entry((topic.to_owned(), message.partition())).or_insert(id.offset);
                if (of.row.published_offset..of.row.next_offset).contains(&id.offset) {
                    of.inside.insert((id.offset, id.n));
                }
            }
        }
    }
    for (number, _) in extent.partitions.iter().filter(|(_, (low, _))| *low > 0) {
        for (partition, of) in found.iter() {
            let (q, p) = (of.row.published_offset, of.row.next_offset);
            let whole = of.first.get(&(topic.to_owned(), *number)).is_some_and(|first| *first <= q);
            if q < p && !whole {
                table.notes.push(format!(
                    "{partition}: the beginning of {topic}/{number} is gone (retention). Records of [{q}, {p}) that stood there are not seen, and would be \
                     published again"
                ));
            }
        }
    }
    Ok(())
}

async fn line(
    store: &PostgresStore,
    key: &PartitionKey,
    found: &Found,
    k: Option<Committed>,
    delivery: Delivery,
) -> anyhow::Result<Line> {
    let (q, p) = (found.row.published_offset, found.row.next_offset);
    if let Some(highest) = found.highest.filter(|highest| *highest >= p) {
        bail!(
            "{}: offset {highest} is published, and Postgres has decided only up to {p}: the database lost commits, or is another one. Nothing was \
             changed. Restore the database, or start a new run, without --published; other partitions can be named with --partition.",
            key.partition
        );
    }
    let rows = store.ids(key, None, q, p).await?;
    let mut offset = published(q, p, &rows, found, delivery);
    // Between the two stands no record: the group's own offset says the same.
    if let Some(k) =
        k.filter(|k| (offset..=p).contains(&k.offset)).filter(|k| !rows.iter().any(|row| (offset..k.offset).contains(&row.0)))
    {
        offset = k.offset;
    }
    let records_below = store.records_below(key, offset).await?;
    let never = rows.iter().filter(|row| row.0 < offset && !found.inside.contains(row)).count();
    let again = found.inside.iter().filter(|place| place.0 >= offset).count();
    Ok(Line {
        topic: key.partition.topic.to_string(),
        partition: key.partition.partition,
        next_offset: p,
        published_offset: q,
        before: k.map(|k| k.offset),
        highest: found.highest,
        offset,
        records_below,
        to_publish: found.row.records - records_below,
        again: i64::try_from(again).context("too many records")?,
        never: i64::try_from(never).context("too many records")?,
    })
}

/// One past the highest record: a transaction holds whole events, in order. Without transactions any record may be missing, so there
/// it is the first event of which one is: some come again, and none is lost.
fn published(q: i64, p: i64, rows: &[Place], found: &Found, delivery: Delivery) -> i64 {
    match delivery {
        Delivery::ExactlyOnce => found.highest.map_or(q, |highest| q.max(highest + 1)),
        Delivery::AtLeastOnce => rows.iter().find(|row| !found.inside.contains(row)).map_or(p, |row| row.0),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {} run {}: how far the group has published, by what the topics hold", self.pipeline, self.run)?;
        let names: Vec<String> = self.partitions.iter().map(|line| format!("{}/{}", line.topic, line.partition)).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0).max("partition".len());
        writeln!(
            f,
            "  {:width$} {:>12} {:>12} {:>12} {:>12} {:>12} {:>8} {:>8}",
            "partition", "P", "Q", "highest", "K before", "K to set", "again", "never"
        )?;
        let or_none = |number: Option<i64>| number.map_or("none".to_owned(), |number| number.to_string());
        for (name, line) in names.iter().zip(&self.partitions) {
            writeln!(
                f,
                "  {name:width$} {:>12} {:>12} {:>12} {:>12} {:>12} {:>8} {:>8}",
                line.next_offset,
                line.published_offset,
                or_none(line.highest),
                or_none(line.before),
                line.offset,
                line.again,
                line.never
            )?;
        }
        writeln!(f, "  again: records that would be published a second time; never: rows that would never be published")?;
        self.notes.iter().try_for_each(|note| writeln!(f, "  note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::row;
    use super::*;

    /// Would catch: the late Q taken for what is published; half an event of `at_least_once` taken for the whole.
    #[test]
    fn the_topics_tell_how_far_it_is_published() {
        let rows: Vec<Place> = vec![(90, 0), (91, 0), (91, 1), (93, 0)];
        let at = |inside: &[Place], delivery| {
            let highest = inside.iter().map(|place| place.0).max().or(Some(70));
            let found =
                Found { row: row(90, 95, Mode::Both), highest, inside: inside.iter().copied().collect(), first: BTreeMap::new() };
            published(90, 95, &rows, &found, delivery)
        };
        let half = [(90, 0), (91, 1)];
        assert_eq!((at(&[], Delivery::ExactlyOnce), at(&[], Delivery::AtLeastOnce)), (90, 90));
        assert_eq!((at(&half, Delivery::ExactlyOnce), at(&half, Delivery::AtLeastOnce)), (92, 91));
        assert_eq!((at(&rows, Delivery::ExactlyOnce), at(&rows, Delivery::AtLeastOnce)), (94, 95));
    }
}
