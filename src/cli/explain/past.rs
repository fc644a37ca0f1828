//! Folds a partition again, up to one event.

use crate::cli::decoding::Decoding;
use crate::cli::kafka::Kafka;
use crate::cli::log::{Extent, Next, Reader};
use crate::event::{Event, Rejection, TopicPartition};
use crate::source::kafka::raw_event;
use crate::state::{Features, Keys, States};
use crate::worker::folds::{Past, step};
use std::collections::{BTreeMap, HashSet};

/// What was folded before the event.
#[derive(Debug, Clone, serde::Serialize)]
pub struct History {
    /// The keys that the event names.
    pub keys: Vec<String>,
    /// First offset that was read.
    pub from: i64,
    /// Events before it that were read, and those of them that say something of its keys.
    pub events: u64,
    pub folded: u64,
    /// The log does not reach back to where the run began to fold: what stood in [from, to) is not known any more. Where that was is not known
    /// of a run that an early version opened.
    pub gone: Option<(Option<i64>, i64)>,
}

pub struct Folded {
    pub history: History,
    /// What the fold says of the event, or why it cannot be folded.
    pub features: Result<Features, Rejection>,
}

/// Folds what a run that began to fold at `start` had folded when it came to the event, and then the event.
pub fn fold(mut past: Past, kafka: &Kafka, event: &Event, start: Option<i64>, decoder: &Decoding) -> anyhow::Result<Folded> {
    let position = &event.raw.position;
    let partition = TopicPartition::new(position.topic.clone(), position.partition);
    let low = kafka.bounds(&partition)?.low;
    let from = low.max(start.unwrap_or_default());
    let gone = (low > start.unwrap_or_default()).then_some((start, low));
    let mut history = History { keys: Vec::new(), from, events: 0, folded: 0, gone };
    let wanted = match keys_of(&*past.names, event)? {
        Ok(keys) => keys,
        Err(rejection) => return Ok(Folded { history, features: Err(rejection) }),
    };
    history.keys = wanted.iter().map(|key| key.to_string()).collect();
    let wanted: HashSet<Box<str>> = wanted.into_iter().collect();

    let extent =
        Extent { topic: position.topic.to_string(), partitions: BTreeMap::from([(position.partition, (from, position.offset))]) };
    let mut reader = Reader::open(kafka, &extent, "folding")?;
    loop {
        let raw = match reader.next()? {
            Next::End => break,
            Next::Idle => continue,
            Next::Record(message) => raw_event(&message, &position.topic),
        };
        history.events += 1;
        let Ok(before) = decoder.decode(raw)? else { continue };
        let touches = past.links || keys_of(&*past.names, &before)?.is_ok_and(|keys| keys.iter().any(|key| wanted.contains(key)));
        if touches && step(&mut *past.states, &before, |states, facts, at| states.replay(facts, at))?.is_ok() {
            history.folded += 1;
        }
    }
    Ok(Folded { history, features: step(&mut *past.states, event, |states, facts, at| states.advance(facts, at))? })
}

/// Nothing is in that memory, so all keys are missing there.
fn keys_of(names: &dyn States, event: &Event) -> anyhow::Result<Result<Keys, Rejection>> {
    match names.read(event) {
        Ok(facts) => Ok(Ok(names.prefetch_keys(&facts)?)),
        Err(rejection) => Ok(Err(rejection)),
    }
}
