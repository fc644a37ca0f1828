//! `--published`: how far the current run is published, with the count of records that travels with the offset.

use super::Args;
use crate::cli::common::Usage;
use crate::cli::kafka::Kafka;
use crate::config::Pipeline;
use crate::event::TopicPartition;
use crate::publisher::Committed;
use crate::record::Mode;
use crate::store::postgres::PostgresStore;
use crate::store::{PartitionKey, Store};
use anyhow::Context;
use serde::Serialize;
use std::fmt;

#[derive(Debug, Serialize)]
struct SetOffset {
    pipeline: String,
    run: i32,
    topic: String,
    partition: i32,
    before: Option<i64>,
    offset: i64,
    records_below: i64,
    /// Rows that the next worker publishes.
    to_publish: i64,
}

pub async fn run(
    pipeline: &Pipeline,
    store: &PostgresStore,
    kafka: &Kafka,
    partition: &TopicPartition,
    offset: i64,
    args: &Args,
) -> anyhow::Result<()> {
    let run = store
        .current_run(&pipeline.name)
        .await?
        .with_context(|| format!("the database has no run of `{}`: start one, without --published", pipeline.name))?;
    let rows = store.partitions(&pipeline.name, run, &partition.topic).await?;
    let row = rows.into_iter().find_map(|(number, row)| (number == partition.partition).then_some(row)).with_context(|| {
        format!("run {run} has no row for {partition}: the next worker opens it, or start a new run, without --published")
    })?;
    if row.mode == Mode::Postgres {
        return Err(Usage(format!("run {run} is in mode postgres, which publishes nothing")).into());
    }
    let (q, p) = (row.published_offset, row.next_offset);
    if !(q..=p).contains(&offset) {
        return Err(Usage(format!(
            "offset {offset} is outside of [{q}, {p}]: all below {q} was published, and from {p} on nothing is decided. Choose one within, or start a \
             new run, without --published."
        ))
        .into());
    }
    let key = PartitionKey { pipeline: pipeline.name.as_str().into(), run, partition: partition.clone() };
    let records_below = store.rows_below(&key, offset).await?;
    let before = kafka.committed(std::slice::from_ref(partition))?.into_iter().find_map(|(_, k)| Some(k?.offset));
    if args.yes {
        kafka.commit(&[(partition.clone(), Committed { offset, records_total: Some(records_below) })])?;
    }
    let set = SetOffset {
        pipeline: pipeline.name.clone(),
        run,
        topic: partition.topic.to_string(),
        partition: partition.partition,
        before,
        offset,
        records_below,
        to_publish: row.records - records_below,
    };
    super::show(&set, args)
}

impl fmt::Display for SetOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.map_or("none".into(), |before| before.to_string());
        writeln!(f, "pipeline {} run {}: the group's offset of {}/{}", self.pipeline, self.run, self.topic, self.partition)?;
        writeln!(f, "  before {before}, now {}, with {} records below it", self.offset, self.records_below)?;
        writeln!(f, "  {} rows are decided at or above it; the next worker publishes them", self.to_publish)
    }
}
