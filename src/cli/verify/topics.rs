//! Rows are records: each record of this pipeline in its topics against its row. What no record tells of is found in `missing`.

use super::Review;
use super::counts::Reviewed;
use super::missing::missing;
use super::report::Report;
use super::tally::{Order, Tally};
use crate::cli::log::{Extent, Next, Reader, extent, header, id_of};
use crate::config::Delivery;
use crate::record::{Mode, RecordId, TRACEPARENT_HEADER};
use crate::store::postgres::Row;
use rdkafka::message::{BorrowedMessage, Message};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Records whose rows are looked up in one statement.
const BATCH: usize = 2_000;

/// Run, input topic and input partition.
pub type Input = (i32, String, i32);

/// A record of this pipeline, as far as it is compared.
struct Seen {
    id: RecordId,
    out_partition: i32,
    out_offset: i64,
    key: Option<Vec<u8>>,
    traceparent: Option<Vec<u8>>,
    digest: Vec<u8>,
}

pub async fn compare(review: &Review<'_>, partitions: &[Reviewed], report: &mut Report) -> anyhow::Result<()> {
    let published: BTreeMap<Input, (&Reviewed, i64)> =
        partitions.iter().filter_map(|one| Some((input_of(one), (one, one.published?)))).collect();
    if published.is_empty() && review.pipeline.mode == Mode::Postgres {
        return Ok(());
    }
    let named = review.store.out_topics(&review.pipeline.name).await?;
    let mut topics = named.clone();
    topics.extend([review.pipeline.output_topic(), review.pipeline.dead_letter_topic()]);
    topics.sort();
    topics.dedup();
    for topic in topics {
        if review.kafka.partition_count(&topic)?.is_none() {
            if named.contains(&topic) {
                report.differs("topic_missing", &topic, "rows name this topic, and it is not there or this user may not see it");
            } else {
                report.note(format!("the topic {topic} is not there, or this user may not see it; no row names it"));
            }
            continue;
        }
        let extent = extent(review.kafka, &topic).await?;
        let tallies = read(review, &published, &extent, report).await?;
        for ((run, input, partition), tally) in &tallies {
            report.seen(*run, input, *partition, tally.highest().map(|place| place.0));
        }
        beyond_k(review, &published, &tallies, report)?;
        missing(review, &published, &extent, tallies, report).await?;
    }
    Ok(())
}

/// What retention has removed, asked for once more where a row is missing: it may run meanwhile.
struct Removed<'a> {
    published: &'a BTreeMap<Input, (&'a Reviewed, i64)>,
    below: BTreeMap<Input, Option<i64>>,
}

impl Removed<'_> {
    async fn holds(&mut self, review: &Review<'_>, id: &RecordId) -> anyhow::Result<bool> {
        let input = (id.run, id.topic.to_string(), id.partition);
        let Some((one, _)) = self.published.get(&input) else { return Ok(false) };
        let known = self.below.entry(input).or_insert(one.counted.removed.below);
        if known.is_none_or(|below| id.offset >= below) {
            *known = review.store.removed_below(&one.key(&review.pipeline.name)).await?;
        }
        Ok(known.is_some_and(|below| id.offset < below))
    }
}

fn input_of(one: &Reviewed) -> Input {
    (one.counted.run, one.counted.partition.topic.to_string(), one.counted.partition.partition)
}

/// The first pass: every record against its row, and the tallies.
async fn read(
    review: &Review<'_>,
    published: &BTreeMap<Input, (&Reviewed, i64)>,
    extent: &Extent,
    report: &mut Report,
) -> anyhow::Result<BTreeMap<Input, Tally>> {
    let low =
        |input: &Input| published.get(input).map_or((0, i64::MAX), |(one, below)| (one.counted.lowest.unwrap_or(0), *below));
    let mut tallies: BTreeMap<Input, Tally> =
        published.keys().map(|input| (input.clone(), Tally::new(low(input).0, low(input).1))).collect();
    let oldest = published.keys().map(|(run, ..)| *run).min().unwrap_or(0);
    let repeats = review.pipeline.delivery == Delivery::AtLeastOnce;
    let mut reader = Reader::open(review.kafka, extent, "comparing")?;
    let (mut batch, mut removed) = (Vec::<Seen>::new(), Removed { published, below: BTreeMap::new() });
    loop {
        let end = match reader.next()? {
            Next::End => true,
            Next::Idle => false,
            Next::Record(message) => {
                match ours(&review.pipeline.name, &message) {
                    Some(seen) if seen.id.run < oldest => {
                        report.foreign += 1;
                        report.note(format!(
                            "{} holds records of runs before {oldest}, of which this database has no rows",
                            extent.topic
                        ));
                    }
                    Some(seen) => batch.push(seen),
                    None => report.foreign += 1,
                }
                false
            }
        };
        if batch.len() >= BATCH || end && !batch.is_empty() {
            against_rows(review, &mut removed, &extent.topic, &batch, report).await?;
            for seen in batch.drain(..) {
                let input = (seen.id.run, seen.id.topic.to_string(), seen.id.partition);
                // A partition without a row: its rows are orphans, or it was opened a moment ago.
                let Some(tally) = tallies.get_mut(&input) else { continue };
                report.later +=
                    u64::from(published.get(&input).is_some_and(|(one, _)| seen.id.offset >= one.counted.next_offset));
                match tally.add(seen.out_partition, (seen.id.offset, seen.id.n)) {
                    Order::Ascending => {}
                    Order::NotAfter(_) if repeats => report.repeated += 1,
                    Order::NotAfter(last) => {
                        let text = format!(
                            "at offset {} of {}/{} it comes after {}/{} of the same input partition: it was published twice, or out of order",
                            seen.out_offset, extent.topic, seen.out_partition, last.0, last.1
                        );
                        report.differs("not_ascending", &seen.id, text);
                    }
                }
            }
        }
        if end {
            return Ok(tallies);
        }
    }
}

/// The record, when its id is one of this pipeline.
fn ours(pipeline: &str, message: &BorrowedMessage<'_>) -> Option<Seen> {
    Some(Seen {
        id: id_of(pipeline, message)?,
        out_partition: message.partition(),
        out_offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        traceparent: header(message, TRACEPARENT_HEADER).map(<[u8]>::to_vec),
        // No digest for no value: it can equal none.
        digest: message.payload().map_or_else(Vec::new, |payload| Sha256::digest(payload).to_vec()),
    })
}

async fn against_rows(
    review: &Review<'_>,
    removed: &mut Removed<'_>,
    topic: &str,
    batch: &[Seen],
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut ids: Vec<&RecordId> = batch.iter().map(|seen| &seen.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = review.store.rows_by_id(&review.pipeline.name, &ids).await?;
    let rows: HashMap<&RecordId, &Row> = rows.iter().map(|row| (&row.id, row)).collect();
    for seen in batch {
        report.compared += 1;
        let place = format!("the record at offset {} of {topic}/{}", seen.out_offset, seen.out_partition);
        match rows.get(&seen.id) {
            None if removed.holds(review, &seen.id).await? => report.outlived += 1,
            None => {
                let text = format!(
                    "{place} has no row: the row was deleted, the database lost commits, or the record was written by hand"
                );
                report.differs("record_without_row", &seen.id, text);
            }
            Some(row) if row.out_topic != topic => {
                report.differs("wrong_topic", &seen.id, format!("{place} has a row that is meant for {}", row.out_topic));
            }
            Some(row) if row.erased => report.erased += 1,
            Some(row) if row.digest != seen.digest => {
                report.differs(
                    "value_differs",
                    &seen.id,
                    format!("{place} and its row hold different values: one of them was altered"),
                );
            }
            Some(row) if row.key != seen.key => {
                report.differs(
                    "key_differs",
                    &seen.id,
                    format!("{place} and its row hold different keys: one of them was altered"),
                );
            }
            Some(row) if row.traceparent.as_deref().map(str::as_bytes) != seen.traceparent.as_deref() => {
                report.differs("headers_differ", &seen.id, format!("{place} and its row hold different trace contexts"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// With transactions nothing stands in a topic that the group does not know of; K is read again, since workers may go on.
fn beyond_k(
    review: &Review<'_>,
    published: &BTreeMap<Input, (&Reviewed, i64)>,
    tallies: &BTreeMap<Input, Tally>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if review.pipeline.delivery == Delivery::AtLeastOnce {
        return Ok(());
    }
    let beyond: Vec<_> = published
        .iter()
        .filter_map(|(input, (one, below))| Some((one, tallies.get(input)?.highest()?, *below)))
        .filter(|(one, highest, below)| one.current && highest.0 >= *below)
        .collect();
    let asked: Vec<_> = beyond.iter().map(|(one, ..)| one.counted.partition.clone()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let now = review.kafka.committed(&asked)?;
    for (one, highest, below) in beyond {
        let k = now.iter().find(|(partition, _)| *partition == one.counted.partition).and_then(|(_, k)| Some((*k)?.offset));
        let k = k.unwrap_or(below);
        if highest.0 >= k {
            let at =
                format!("{}/{}/{}/{}/{}", review.pipeline.name, one.counted.run, one.counted.partition, highest.0, highest.1);
            let text = format!("it was published, and the group's offset is {k}: the next worker would publish it again");
            report.differs("published_beyond_k", at, text);
        }
    }
    Ok(())
}
