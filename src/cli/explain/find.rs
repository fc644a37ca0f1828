//! Which event is meant, and its bytes.

use crate::cli::common::Usage;
use crate::cli::decoding::Decoding;
use crate::cli::kafka::Kafka;
use crate::cli::log::{Extent, Next, Reader, extent};
use crate::config::Pipeline;
use crate::event::{Position, RawEvent, TopicPartition};
use crate::record::RecordId;
use crate::source::kafka::raw_event;
use crate::store::postgres::PostgresStore;
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
        // A record of another pipeline may be an event of this one, under that id.
        if let Some(id) = text.parse::<RecordId>().ok().filter(|id| *id.pipeline == *pipeline.name) {
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

/// Where an event's id is looked for.
pub struct Places<'a> {
    pub store: &'a PostgresStore,
    pub kafka: &'a Kafka,
    pub pipeline: &'a Pipeline,
    /// The run that is meant; the newest without one.
    pub run: Option<i32>,
    /// This partition alone.
    pub only: Option<i32>,
}

impl Places<'_> {
    /// Reads the one event of that id that the run could score. Of several the user says which.
    pub async fn search(&self, id: &str, decoder: &Decoding) -> anyhow::Result<RawEvent> {
        let (mut first, mut more, mut failed) = (None, Vec::new(), None);
        for topic in &self.pipeline.topic {
            for (partition, (low, high)) in extent(self.kafka, topic).await?.partitions {
                if self.only.is_some_and(|only| only != partition) {
                    continue;
                }
                let start = self.start_of(&TopicPartition::new(topic.as_str(), partition)).await?;
                let range = (low.max(start).min(high), high);
                let one = Extent { topic: topic.clone(), partitions: BTreeMap::from([(partition, range)]) };
                each(self.kafka, &one, |raw| {
                    let decoded = match decoder.decode(raw) {
                        Ok(decoded) => decoded,
                        Err(error) => {
                            failed = Some(error);
                            return false;
                        }
                    };
                    match decoded {
                        Ok(event) if *event.id == *id && first.is_none() => first = Some(event.raw),
                        Ok(event) if *event.id == *id => more.push(event.raw.position),
                        _ => {}
                    }
                    true
                })?;
                if let Some(error) = failed.take() {
                    return Err(error);
                }
            }
        }
        let Some(first) = first else {
            let what = format!("no event {id:?} stands in {}", self.pipeline.topic.join(", "));
            bail!(
                "{what}: it never came, cannot be decoded (then name its place, topic/partition/offset), the run began after it, or the \
                 log does not reach back to it"
            )
        };
        if !more.is_empty() {
            let places: Vec<String> = std::iter::once(&first.position).chain(&more).take(10).map(Position::to_string).collect();
            let what = format!("the id {id:?} stands {} times, at {}", more.len() + 1, places.join(", "));
            return Err(Usage(format!("{what}: name one of these places")).into());
        }
        Ok(first)
    }

    /// Where the run began in a partition; 0 where it has not been.
    async fn start_of(&self, partition: &TopicPartition) -> anyhow::Result<i64> {
        let runs = self.store.runs(&self.pipeline.name, partition).await?;
        let run = runs.into_iter().find(|run| self.run.is_none_or(|wanted| run.run == wanted));
        Ok(run.and_then(|run| run.start_offset).unwrap_or_default())
    }
}

/// Reads the event that stands there.
pub fn at(kafka: &Kafka, partition: &TopicPartition, offset: i64) -> anyhow::Result<RawEvent> {
    let bounds = kafka.bounds(partition)?;
    if offset < bounds.low || offset >= bounds.high {
        let (low, high) = (bounds.low, bounds.high);
        bail!(
            "offset {offset} of {partition} is not in the log, which holds [{low}, {high}): nothing can be folded again up to it"
        )
    }
    let range = BTreeMap::from([(partition.partition, (offset, offset + 1))]);
    let mut found = None;
    each(kafka, &Extent { topic: partition.topic.to_string(), partitions: range }, |raw| {
        found = Some(raw);
        false
    })?;
    found.ok_or_else(|| {
        anyhow!(
            "no event stands at offset {offset} of {partition}: a marker, a transaction that was taken back, or compacted away"
        )
    })
}

/// The first events of [from, until) of a partition, at most `most`.
pub fn first_events(
    kafka: &Kafka,
    partition: &TopicPartition,
    from: i64,
    until: i64,
    most: usize,
) -> anyhow::Result<Vec<RawEvent>> {
    let range = BTreeMap::from([(partition.partition, (from, until))]);
    let mut found = Vec::new();
    each(kafka, &Extent { topic: partition.topic.to_string(), partitions: range }, |raw| {
        found.push(raw);
        found.len() < most
    })?;
    Ok(found)
}

/// Hands events over in order, until there is no more or `go_on` says no.
fn each(kafka: &Kafka, extent: &Extent, mut go_on: impl FnMut(RawEvent) -> bool) -> anyhow::Result<()> {
    let topic: Arc<str> = extent.topic.as_str().into();
    let mut reader = Reader::open(kafka, extent, "looking in")?;
    tokio::task::block_in_place(|| {
        loop {
            let raw = match reader.next()? {
                Next::End => return Ok(()),
                Next::Idle => continue,
                Next::Record(message) => raw_event(&message, &topic),
            };
            if !go_on(raw) {
                return Ok(());
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
        assert_eq!(of("q/4/topic/3/17/0", None).ok(), Some((None, What::Id("q/4/topic/3/17/0".into()))));
        assert!(of("p/4/topic/3/17/0", Some(5)).is_err());
    }
}
