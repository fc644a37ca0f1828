//! Inputs are endings: what each partition's row counts, what its rows say, and where P, K and Q stand.

use super::Review;
use super::report::{Report, Standing};
use crate::event::TopicPartition;
use crate::publisher::Committed;
use crate::record::Mode;
use crate::store::PartitionKey;
use crate::store::postgres::Counted;
use std::collections::BTreeMap;

/// A partition under review.
#[derive(Debug, Clone)]
pub struct Reviewed {
    pub counted: Counted,
    /// All rows below this must be found in topics; `None` in mode `postgres`.
    pub published: Option<i64>,
    /// Whether it belongs to the newest run, whose K is known.
    pub current: bool,
}

impl Reviewed {
    pub fn key(&self, pipeline: &str) -> PartitionKey {
        PartitionKey { pipeline: pipeline.into(), run: self.counted.run, partition: self.counted.partition.clone() }
    }
}

/// K is read before and after the rows, since workers may go on meanwhile.
pub async fn compare(review: &Review<'_>, report: &mut Report) -> anyhow::Result<Vec<Reviewed>> {
    let pipeline = &*review.pipeline.name;
    let topics = review.kafka.partitions(&review.pipeline.topic)?;
    let committed = || -> anyhow::Result<BTreeMap<TopicPartition, Option<Committed>>> {
        Ok(review.kafka.committed(&topics)?.into_iter().collect())
    };
    let before = committed()?;
    let all = review.store.counted(pipeline).await?;
    let after = committed()?;
    let newest = all.iter().map(|counted| counted.run).max();
    report.run = newest;
    report.partitions = all.iter().filter(|counted| Some(counted.run) == newest).count();
    let orphans = review.store.orphans(pipeline).await?;
    if orphans > 0 {
        let text =
            format!("{orphans} rows of millrace.record belong to no row of millrace.stream_partition: that row was deleted");
        report.differs("orphaned_rows", pipeline, text);
    }
    let mut reviewed = Vec::new();
    for counted in all {
        add_up(pipeline, &counted, report);
        let current = Some(counted.run) == newest;
        let k = |at: &BTreeMap<TopicPartition, Option<Committed>>| at.get(&counted.partition).copied().flatten();
        if current {
            within_log(review, &counted, report)?;
            report.standing.push(Standing {
                topic: counted.partition.topic.to_string(),
                partition: counted.partition.partition,
                next_offset: counted.next_offset,
                published_offset: counted.published_offset,
                group_offset: k(&after).map(|k| k.offset),
                highest: None,
            });
        }
        let published = match (counted.mode, current) {
            (Mode::Postgres, _) => None,
            (Mode::Both, true) => Some(in_order(review, &counted, k(&before), k(&after), report).await?),
            (Mode::Both, false) => Some(counted.published_offset),
        };
        let one = Reviewed { published, current, counted };
        if let Some(published) = published {
            report.unpublished +=
                one.counted.rows + one.counted.removed.rows - review.store.records_below(&one.key(pipeline), published).await?;
        }
        reviewed.push(one);
    }
    Ok(reviewed)
}

fn name(pipeline: &str, counted: &Counted) -> String {
    format!("{pipeline}/{}/{}", counted.run, counted.partition)
}

fn add_up(pipeline: &str, counted: &Counted, report: &mut Report) {
    let at = name(pipeline, counted);
    report.events += counted.events;
    report.skipped += counted.skipped;
    report.dead += counted.dead;
    report.emitted += counted.events - counted.skipped - counted.dead;
    report.rows += counted.rows;
    if counted.beyond > 0 {
        let text = format!(
            "{} rows stand at or above offset {}, the next to decide: they were added by hand, or the partition's row was restored without them",
            counted.beyond, counted.next_offset
        );
        report.differs("rows_beyond_p", &at, text);
    }
    let removed = counted.removed;
    report.removed += removed.rows;
    for (kind, what, told, found) in [
        ("record_count", "records", counted.records, counted.rows + removed.rows),
        ("dead_count", "dead letters", counted.dead, counted.dead_rows + removed.dead),
        (
            "event_count",
            "events that ended with a row or skipped",
            counted.events,
            counted.events_with_rows + removed.events + counted.skipped,
        ),
    ] {
        if told != found {
            let what_happened = if found < told { "rows were deleted" } else { "rows were added by hand" };
            report.differs(kind, &at, format!("the partition counts {told} {what}, and {found} are there: {what_happened}"));
        }
    }
}

/// P must stand in the input log.
fn within_log(review: &Review<'_>, counted: &Counted, report: &mut Report) -> anyhow::Result<()> {
    let (at, p) = (name(&review.pipeline.name, counted), counted.next_offset);
    if !review.pipeline.topic.iter().any(|topic| **topic == *counted.partition.topic) {
        report.note(format!("{at}: the topic is not an input of this config any more; its log was not looked at"));
        return Ok(());
    }
    let bounds = review.kafka.bounds_with_open(&counted.partition)?;
    if p > bounds.high {
        let text = format!(
            "offset {p} is the next to decide, and the log ends at {}: the topic was made again, or lost records",
            bounds.high
        );
        report.differs("p_beyond_log", at, text);
    } else if p < bounds.low {
        let text = format!(
            "{} offsets were removed by retention before they were decided; the log starts at {}",
            bounds.low - p,
            bounds.low
        );
        report.differs("p_before_log", at, text);
    }
    Ok(())
}

/// Q <= K <= P, and K's own count. Returns the offset below which everything must be in the topics.
async fn in_order(
    review: &Review<'_>,
    counted: &Counted,
    before: Option<Committed>,
    after: Option<Committed>,
    report: &mut Report,
) -> anyhow::Result<i64> {
    let at = name(&review.pipeline.name, counted);
    let (p, q) = (counted.next_offset, counted.published_offset);
    let Some(k) = before else {
        // With an offset now the first claim was a moment ago.
        if q < p && after.is_none() {
            report.differs(
                "offset_missing",
                &at,
                format!(
                    "the group has no committed offset, and records of [{q}, {p}) may or may not be published: offsets expired or were deleted. \
                     Set it with `millrace adopt --published auto`"
                ),
            );
        }
        return Ok(q);
    };
    let latest = after.unwrap_or(k).offset;
    if latest < q {
        let text = format!("the group's offset {latest} is below {q}, which was published already: offsets were moved back");
        report.differs("offset_moved_back", &at, text);
    }
    if k.offset > p {
        let text = format!(
            "the group has published up to {}, Postgres has decided up to {p}: the database lost commits, is another one, or offsets were moved",
            k.offset
        );
        report.differs("offset_beyond_p", &at, text);
    } else {
        let key =
            PartitionKey { pipeline: (*review.pipeline.name).into(), run: counted.run, partition: counted.partition.clone() };
        let below = review.store.records_below(&key, k.offset).await?;
        match k.records_total {
            None => report.differs("offset_foreign", &at, format!("the group's offset {} was not written by Millrace", k.offset)),
            Some(total) if total != below => {
                let text = format!(
                    "{total} records were published below the group's offset {}, and {below} rows are there: rows were deleted or added by hand",
                    k.offset
                );
                report.differs("published_count", &at, text);
            }
            Some(_) => {}
        }
    }
    Ok(k.offset.max(q).min(p))
}
