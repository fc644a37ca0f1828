//! Rows below K that no record tells of, and ids that are there twice. Where the tallies differ, another pass looks at each id.

use super::Review;
use super::counts::Reviewed;
use super::report::Report;
use super::tally::{Place, Tally};
use super::topics::Input;
use crate::cli::log::{Extent, Next, Reader, id_of};
use crate::config::Delivery;
use rdkafka::message::Message;
use std::collections::BTreeMap;
use std::ops::Range;

/// Rows whose records are counted one by one in one pass.
const PASS_ROWS: usize = 1_000_000;

/// How often an id was seen, and how often of those after what stands before it.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    all: u64,
    ascending: u64,
}

/// Of each input partition, the ids that are looked at in one pass.
type Ids = BTreeMap<Input, BTreeMap<Place, Times>>;

pub async fn missing(
    review: &Review<'_>,
    published: &BTreeMap<Input, (&Reviewed, i64)>,
    extent: &Extent,
    tallies: BTreeMap<Input, Tally>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let compacted = review
        .kafka
        .settings(&extent.topic)
        .await
        .is_ok_and(|settings| settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")));
    if compacted {
        report.note(format!("{} is compacted: records that are missing there cannot be told", extent.topic));
        return Ok(());
    }
    let mut ranges = differing(review, published, extent, &tallies, report).await?;
    // What may repeat differs without a fault, so there each range is looked at.
    if review.pipeline.delivery == Delivery::ExactlyOnce {
        let mut before = None;
        ranges.retain(|(input, _)| before.replace(input.clone()).as_ref() != Some(input));
    }
    let mut ranges = ranges.into_iter().peekable();
    while ranges.peek().is_some() {
        let (mut ids, mut rows) = (Ids::new(), 0);
        while rows < PASS_ROWS
            && let Some((input, range)) = ranges.next()
        {
            let Some((one, _)) = published.get(&input) else { continue };
            let places = review.store.ids(&one.key(&review.pipeline.name), Some(&extent.topic), range.start, range.end).await?;
            rows += places.len();
            ids.entry(input).or_default().extend(places.into_iter().map(|place| (place, Times::default())));
        }
        count(review, extent, &mut ids)?;
        judge(review, extent, ids, report);
    }
    Ok(())
}

/// The ranges of offsets in which rows and records differ, as far as it can be told. What cannot is said.
async fn differing(
    review: &Review<'_>,
    published: &BTreeMap<Input, (&Reviewed, i64)>,
    extent: &Extent,
    tallies: &BTreeMap<Input, Tally>,
    report: &mut Report,
) -> anyhow::Result<Vec<(Input, Range<i64>)>> {
    let topic = &extent.topic;
    let cut: Vec<i32> = extent.partitions.iter().filter(|(_, (low, _))| *low > 0).map(|(partition, _)| *partition).collect();
    let mut ranges = Vec::new();
    for (input, tally) in tallies {
        let Some((one, _)) = published.get(input) else { continue };
        let (low, width, below) = tally.grid();
        let rows = review.store.buckets(&one.key(&review.pipeline.name), topic, low, width, below).await?;
        let name = || format!("run {} {}", input.0, one.counted.partition);
        let floor = match tally.floor(&cut) {
            _ if rows.is_empty() && tally.highest().is_none() => continue,
            Ok(floor) => floor,
            Err(unseen) => {
                let number: i64 = rows.iter().map(|(_, count, _)| count).sum();
                report.note(format!(
                    "{}: not compared whether {topic} misses any of its {number} records: the beginning of {topic} is gone in the partitions \
                     {unseen:?} (retention), which hold none of them, and may have held some",
                    name()
                ));
                continue;
            }
        };
        // Of what retention has removed no row tells.
        let gone = one.counted.removed.below.map_or(i64::MIN, |below| below - 1);
        let cut_floor = floor;
        let floor = floor.max(gone);
        if cut_floor > low {
            report.note(format!(
                "{}: not compared whether {topic} misses records up to offset {cut_floor}: its beginning is gone in the partitions {cut:?} (retention)",
                name()
            ));
        }
        ranges.extend(tally.differs(&rows, floor).into_iter().map(|range| (input.clone(), range)));
    }
    Ok(ranges)
}

/// One pass: how often each of these ids is there.
fn count(review: &Review<'_>, extent: &Extent, ids: &mut Ids) -> anyhow::Result<()> {
    let mut last: BTreeMap<(Input, i32), Place> = BTreeMap::new();
    let mut reader = Reader::open(review.kafka, extent, "looking again at")?;
    loop {
        match reader.next()? {
            Next::End => return Ok(()),
            Next::Idle => {}
            Next::Record(message) => {
                let Some(id) = id_of(&review.pipeline.name, &message) else { continue };
                let (input, place) = ((id.run, id.topic.to_string(), id.partition), (id.offset, id.n));
                let Some(of_input) = ids.get_mut(&input) else { continue };
                let last = last.entry((input, message.partition())).or_insert((i64::MIN, 0));
                if let Some(times) = of_input.get_mut(&place) {
                    times.all += 1;
                    times.ascending += u64::from(place > *last);
                }
                *last = place.max(*last);
            }
        }
    }
}

fn judge(review: &Review<'_>, extent: &Extent, ids: Ids, report: &mut Report) {
    let topic = &extent.topic;
    for (input, places) in ids {
        for (place, times) in places {
            let id = || format!("{}/{}/{}/{}/{}/{}", review.pipeline.name, input.0, input.1, input.2, place.0, place.1);
            match times.all {
                0 => report.differs(
                    "record_missing",
                    id(),
                    format!(
                        "its row is below the group's offset, and {topic} does not hold the record: it was removed, the topic was made again, or \
                         offsets were moved forward"
                    ),
                ),
                1 => {}
                // Those out of order were counted when they were read first.
                _ if review.pipeline.delivery == Delivery::AtLeastOnce => {
                    report.repeated += times.ascending.saturating_sub(1);
                }
                times => report.differs("record_doubled", id(), format!("{topic} holds it {times} times")),
            }
        }
    }
}
