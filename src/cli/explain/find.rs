//! Which event is meant, and its bytes.

use crate::cli::common::Usage;
use crate::cli::kafka::Kafka;
use crate::cli::log::{Extent, Next, Reader, extent};
use crate::config::Pipeline;
use crate::event::{Decoder, RawEvent, TopicPartition};
use crate::record::RecordId;
use crate::source::kafka::raw_event;
use anyhow::{anyhow, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub run: Option<i32>,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    At(TopicPartition, i64),
    Id(String),
}

impl Asked {
    /// Reads a record's id, a place in one of the pipeline's topics, or else an event's own id.
    pub fn of(text: &str, pipeline: &Pipeline, run: Option<i32>) -> Result<Self, Usage> {
        if let Ok(id) = text.parse::<RecordId>() {
            if *id.pipeline != *pipeline.name {
                return Err(Usage(format!(
                    "{text} is a record of pipeline `{}`, and --pipeline names `{}`",
                    id.pipeline, pipeline.name
                )));
            }
            if run.is_some_and(|run| run != id.run) {
                return Err(Usage(format!("{text} is a record of run {}; leave --run out", id.run)));
            }
            let what = What::At(TopicPartition::new(&*id.topic, id.partition), id.offset);
            return Ok(Self { run: Some(id.run), what });
        }
        let what = place(text, &pipeline.topic)
            .map_or_else(|| What::Id(text.to_owned()), |(partition, offset)| What::At(partition, offset));
        Ok(Self { run, what })
    }
}

fn place(text: &str, topics: &[String]) -> Option<(TopicPartition, i64)> {
    let mut parts = text.rsplitn(3, '/');
    let (offset, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
    let known = topics.iter().any(|known| known == topic);
    known.then(|| Some((TopicPartition::new(topic, partition.parse().ok()?), offset.parse().ok()?))).flatten()
}

/// Reads the event; the first of that id in the lowest partition that has one.
pub async fn find(
    asked: &Asked,
    kafka: &Kafka,
    pipeline: &Pipeline,
    decoder: &Decoder,
    only: Option<i32>,
) -> anyhow::Result<RawEvent> {
    let id = match &asked.what {
        What::Id(id) => id,
        What::At(partition, offset) => return at(kafka, partition, *offset),
    };
    for topic in &pipeline.topic {
        for (partition, bounds) in extent(kafka, topic).await?.partitions {
            if only.is_some_and(|only| only != partition) {
                continue;
            }
            let one = Extent { topic: topic.clone(), partitions: BTreeMap::from([(partition, bounds)]) };
            if let Some(raw) = search(kafka, &one, |raw| decoder.decode(raw.clone()).is_ok_and(|event| *event.id == **id))? {
                return Ok(raw);
            }
        }
    }
    let what = format!("no event {id:?} stands in {}", pipeline.topic.join(", "));
    bail!(
        "{what}: it never came, cannot be decoded (then name its place, topic/partition/offset), or the log does not reach back to it"
    )
}

fn at(kafka: &Kafka, partition: &TopicPartition, offset: i64) -> anyhow::Result<RawEvent> {
    let bounds = kafka.bounds(partition)?;
    let gone = || {
        anyhow!(
            "offset {offset} of {partition} is not in the log, which holds [{}, {}): nothing can be folded again up to it",
            bounds.low,
            bounds.high
        )
    };
    if offset < bounds.low || offset >= bounds.high {
        return Err(gone());
    }
    let one =
        Extent { topic: partition.topic.to_string(), partitions: BTreeMap::from([(partition.partition, (offset, offset + 1))]) };
    search(kafka, &one, |_| true)?.ok_or_else(gone)
}

fn search(kafka: &Kafka, extent: &Extent, is_it: impl Fn(&RawEvent) -> bool) -> anyhow::Result<Option<RawEvent>> {
    let topic: Arc<str> = extent.topic.as_str().into();
    let mut reader = Reader::open(kafka, extent, "looking in")?;
    tokio::task::block_in_place(|| {
        loop {
            let raw = match reader.next()? {
                Next::End => return Ok(None),
                Next::Idle => continue,
                Next::Record(message) => raw_event(&message, &topic),
            };
            if is_it(&raw) {
                return Ok(Some(raw));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a place taken for an id, an id with slashes taken for a place, a record of another pipeline.
    #[test]
    fn what_is_asked_for_is_told_apart() {
        let text = "[[pipeline]]\nname = \"p\"\ntopic = \"input\"\nfunction = \"copy\"\nevent = \"json\"";
        let config = crate::config::Config::parse(text, "test.toml", &BTreeMap::new());
        let Ok(config) = config else { return assert!(config.is_ok(), "{config:?}") };
        let of = |text: &str, run| Asked::of(text, &config.pipeline[0], run).map(|asked| (asked.run, asked.what));
        let at = |partition, offset| What::At(TopicPartition::new("input", partition), offset);
        assert_eq!(of("input/3/17", None).ok(), Some((None, at(3, 17))));
        assert_eq!(of("other/3/17", None).ok(), Some((None, What::Id("other/3/17".into()))));
        assert_eq!(of("input/3/x", Some(2)).ok(), Some((Some(2), What::Id("input/3/x".into()))));
        assert_eq!(of("t-1", None).ok(), Some((None, What::Id("t-1".into()))));
        let (run, what) = of("p/4/topic/3/17/0", None).unwrap_or((None, at(0, 0)));
        assert_eq!((run, what), (Some(4), What::At(TopicPartition::new("topic", 3), 17)));
        assert!(of("q/4/topic/3/17/0", None).is_err() && of("p/4/topic/3/17/0", Some(5)).is_err());
    }
}
