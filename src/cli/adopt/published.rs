//! `--published OFFSET`: how far one partition of the current run is published, with the count of records that travels with the offset.

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
    warnings: Vec<String>,
}

/// The newest run of a pipeline.
pub async fn current_run(pipeline: &Pipeline, store: &PostgresStore) -> anyhow::Result<i32> {
    store
        .current_run(&pipeline.name)
        .await?
        .with_context(|| format!("the database has no run of `{}`: start one, without --published", pipeline.name))
}

pub async fn run(
    pipeline: &Pipeline,
    store: &PostgresStore,
    kafka: &Kafka,
    partition: &TopicPartition,
    offset: i64,
    args: &Args,
) -> anyhow::Result<()> {
    let run = current_run(pipeline, store).await?;
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
    let records_below = store.records_below(&key, offset).await?;
    let before = kafka.committed(std::slice::from_ref(partition))?.into_iter().find_map(|(_, k)| Some(k?.offset));
    let warning = warning(q, p, before, offset, args.yes);
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
        warnings: warning.into_iter().collect(),
    };
    super::show(&set, args)
}

/// What becomes of the records between the group's offset and the new one. All below Q is published whatever the group says.
fn warning(q: i64, p: i64, before: Option<i64>, offset: i64, done: bool) -> Option<String> {
    let Some(before) = before.map(|before| before.clamp(q, p)) else {
        let (again, never) = if done { ("are", "go") } else { ("would be", "would go") };
        return (q < p).then(|| {
            format!(
                "it is not known what of [{q}, {p}) is published: what is published of [{offset}, {p}) {again} published twice, what is not of [{q}, \
                 {offset}) never {never} out; --published auto looks"
            )
        });
    };
    let (again, never) = if done { ("are", "never go") } else { ("would be", "would never go") };
    match offset.cmp(&before) {
        std::cmp::Ordering::Less => {
            Some(format!("records of [{offset}, {before}) {again} published twice, where the group told the truth"))
        }
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => {
            Some(format!("rows of [{before}, {offset}) {never} out, unless they were published although the group does not tell"))
        }
    }
}

impl fmt::Display for SetOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.before.map_or("none".into(), |before| before.to_string());
        writeln!(f, "pipeline {} run {}: the group's offset of {}/{}", self.pipeline, self.run, self.topic, self.partition)?;
        writeln!(f, "  before {before}, now {}, with {} records below it", self.offset, self.records_below)?;
        writeln!(f, "  {} rows are decided at or above it; the next worker publishes them", self.to_publish)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "  WARNING: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::warning;

    /// Would catch: a double or a loss without a word, and a false alarm below Q, where all is published.
    #[test]
    fn moving_the_offset_tells_what_becomes_of_the_records_between() {
        let text = |before, offset, done| warning(90, 100, before, offset, done).unwrap_or_default();
        assert!(text(Some(98), 95, false).starts_with("records of [95, 98) would be published twice"));
        assert!(text(Some(98), 95, true).starts_with("records of [95, 98) are published twice"));
        assert!(text(Some(92), 95, false).starts_with("rows of [92, 95) would never go out"));
        assert!(text(Some(40), 95, true).starts_with("rows of [90, 95) never go out"));
        assert!(text(None, 95, false).contains("[95, 100) would be published twice"));
        assert_eq!((warning(90, 100, Some(40), 90, true), warning(100, 100, None, 100, true)), (None, None));
    }
}
