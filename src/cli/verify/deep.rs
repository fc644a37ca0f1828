//! The counts against the input log: reads it up to P, and counts.

use super::Review;
use super::counts::Reviewed;
use super::report::Report;
use crate::cli::log::{Extent, Next, Reader, extent};
use rdkafka::message::Message;
use std::collections::BTreeMap;

/// Offsets may have gaps, so events are counted by reading them.
pub async fn compare(review: &Review<'_>, partitions: &[Reviewed], report: &mut Report) -> anyhow::Result<()> {
    for topic in &review.pipeline.topic {
        let whole = extent(review.kafka, topic).await?;
        let of_topic = |number: i32| {
            partitions
                .iter()
                .find(|one| one.current && *one.counted.partition.topic == **topic && one.counted.partition.partition == number)
        };
        let mut decided = Extent { topic: topic.clone(), partitions: BTreeMap::new() };
        for (number, (low, end)) in &whole.partitions {
            if let Some(one) = of_topic(*number) {
                decided.partitions.insert(*number, (*low, one.counted.next_offset.min(*end)));
            }
        }
        let found = count(review, &decided, &|number| of_topic(number).and_then(first))?;
        for (number, (low, _)) in &decided.partitions {
            let (Some(one), (all, since_first)) = (of_topic(*number), found.get(number).copied().unwrap_or_default()) else {
                continue;
            };
            judge(review, one, *low, all, since_first, report);
        }
    }
    Ok(())
}

/// From where on each event must have an ending: where the run began, or at least the first offset that has a row.
fn first(one: &Reviewed) -> Option<i64> {
    one.counted.start_offset.or(one.counted.lowest)
}

/// Events of each partition: all, and those from its first offset on.
fn count(review: &Review<'_>, extent: &Extent, first: &dyn Fn(i32) -> Option<i64>) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
    let mut found: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    let mut reader = Reader::open(review.kafka, extent, "counting")?;
    loop {
        match reader.next()? {
            Next::End => return Ok(found),
            Next::Idle => {}
            Next::Record(message) => {
                let count = found.entry(message.partition()).or_default();
                count.0 += 1;
                count.1 += i64::from(first(message.partition()).is_some_and(|first| message.offset() >= first));
            }
        }
    }
}

fn judge(review: &Review<'_>, one: &Reviewed, low: i64, all: i64, since_first: i64, report: &mut Report) {
    let counted = &one.counted;
    let at = format!("{}/{}/{}", review.pipeline.name, counted.run, counted.partition);
    let (events, p) = (counted.events, counted.next_offset);
    *report.input_events.get_or_insert(0) += all as u64;
    // How many there can be at most, when the log tells.
    let most = match counted.start_offset {
        Some(start) => (low <= start).then_some(since_first),
        None => (low == 0).then_some(all),
    };
    if events < since_first {
        let from = first(one).unwrap_or(low).max(low);
        let text = format!(
            "the log holds {since_first} events of [{from}, {p}), and the partition counts {events}: {} have no ending",
            since_first - events
        );
        report.differs("input_count", at, text);
    } else if let Some(most) = most.filter(|most| events > *most) {
        let text = format!(
            "the partition counts {events} events and the log, which is whole, holds {most} below offset {p}: the topic is another one, or events \
             were counted twice"
        );
        report.differs("input_count", at, text);
    } else if events > since_first && counted.start_offset.is_some() || events > all {
        report.note(format!("{at}: {} of its events were removed by retention since", events - since_first));
    } else if events < all && counted.start_offset.is_none() {
        report.note(format!(
            "{at}: {} events stand before its first row; an early version opened it, so that it is not known whether it began after them",
            all - events
        ));
    }
}
