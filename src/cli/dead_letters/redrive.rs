//! Events of dead letters back into the input topic.
//!
//! Marked before they are written, so that two operators, or one who tries again, do not write an event twice without knowing: what
//! stays `redriving` was cut off between the two. Each mark replaces the one that was read, and no other.

use super::show::handled;
use crate::cli::common;
use crate::cli::kafka::Kafka;
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::record::{Original, RecordId, decode_dead_letter};
use crate::store::postgres::{DeadLetter, Mark, Marked, PostgresStore};
use anyhow::Context;
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// The dead letter that an event was driven from.
const FROM_HEADER: &str = "millrace-redriven-from";
/// How often an event was driven again.
const COUNT_HEADER: &str = "millrace-redrive-count";
/// Events that are marked, written, and marked as written, together.
const CHUNK: usize = 500;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// What is `redriving` for longer than this has been cut off: the wait for the queue, and for the brokers, and some more.
const UNDER_WAY: Duration = Duration::from_secs(90);

/// An event that can be written again.
struct Again {
    id: RecordId,
    original: Original,
    timestamp_ms: i64,
}

pub async fn run(
    config: &Config,
    pipeline: &Pipeline,
    store: &PostgresStore,
    mut ids: Vec<RecordId>,
    again: bool,
    json: bool,
) -> anyhow::Result<Exit> {
    let mut redrive =
        Redrive { pipeline, store, producer: producer(&common::kafka(config, pipeline)?)?, again, json, exit: Exit::Done };
    ids.sort();
    if let Some(twice) = ids.windows(2).find(|two| two[0] == two[1]) {
        return Err(common::Usage(format!("{} is named twice", twice[0])).into());
    }
    for chunk in ids.chunks(CHUNK) {
        redrive.chunk(super::by_id(store, pipeline, chunk).await?).await?;
    }
    Ok(redrive.exit)
}

struct Redrive<'a> {
    pipeline: &'a Pipeline,
    store: &'a PostgresStore,
    producer: FutureProducer,
    again: bool,
    json: bool,
    exit: Exit,
}

impl Redrive<'_> {
    fn refuse(&mut self, id: &RecordId, why: &str) {
        self.exit = Exit::Failed;
        eprintln!("millrace: {id}: {why}");
    }

    async fn chunk(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let mut events = Vec::new();
        for letter in letters {
            match takes(&letter, self.again) {
                Ok(event) => events.push((event, letter.mark)),
                Err(why) => self.refuse(&letter.id, &why),
            }
        }
        let wanted: Vec<(RecordId, Option<Marked>)> = events.iter().map(|(event, mark)| (event.id.clone(), *mark)).collect();
        let marked: BTreeMap<RecordId, Marked> =
            self.store.mark(&self.pipeline.name, &wanted, Mark::Redriving, None).await?.into_iter().collect();
        let (ours, others): (Vec<Again>, Vec<Again>) =
            events.into_iter().map(|(event, _)| event).partition(|event| marked.contains_key(&event.id));
        for event in others {
            self.refuse(&event.id, "somebody else deals with it at this moment");
        }
        let results = join_all(ours.iter().map(|event| write(&self.producer, event))).await;
        let mut written = Vec::new();
        for (event, result) in ours.iter().zip(results) {
            match result {
                Ok(()) => written.push((event.id.clone(), marked.get(&event.id).copied())),
                Err(why) => self.refuse(&event.id, &format!("{why}; it stays `redriving`: see to the cause, then --again")),
            }
        }
        let done = self
            .store
            .mark(&self.pipeline.name, &written, Mark::Redriven, None)
            .await
            .context("events were written to the input topic, and they could not be marked: they stay `redriving`")?;
        for (id, _) in &written {
            if done.iter().any(|(of, _)| of == id) {
                handled(id, Mark::Redriven.as_str(), true, self.json)?;
            } else {
                self.refuse(
                    id,
                    "it was written to the input topic, and somebody else has marked it meanwhile: see `dead-letters show`",
                );
            }
        }
        Ok(())
    }
}

/// The event, when it may be written now.
fn takes(letter: &DeadLetter, again: bool) -> Result<Again, String> {
    match &*letter.handling {
        handling @ ("redriven" | "discarded") => Err(format!("it was {handling} already")),
        "redriving" if !again => Err(
            "its redrive was cut off, so it may stand in the input topic already: look for the header millrace-redriven-from there, then \
             --again, or discard it"
                .into(),
        ),
        "redriving" if letter.mark_age_s.is_some_and(|age| age < UNDER_WAY.as_secs_f64()) => Err(format!(
            "its redrive began less than {} s ago and may be under way; wait, then --again",
            UNDER_WAY.as_secs()
        )),
        _ => readable(letter),
    }
}

/// The event as it came, or why it cannot be written again.
fn readable(letter: &DeadLetter) -> Result<Again, String> {
    let id = &letter.id;
    let stands = format!("the event itself stands at {}/{}/{} of the input", id.topic, id.partition, id.offset);
    let original = decode_dead_letter(&letter.value).map_err(|why| format!("{why}: it does not hold the event; {stands}"))?;
    if original.truncated {
        return Err(format!("it was cut to fit and is not the event as it came; {stands}"));
    }
    let value: serde_json::Value = serde_json::from_str(&letter.value).map_err(|why| why.to_string())?;
    let timestamp_ms = value.get("timestamp_ms").and_then(serde_json::Value::as_i64).unwrap_or(-1);
    Ok(Again { id: id.clone(), original, timestamp_ms })
}

fn producer(kafka: &Kafka) -> anyhow::Result<FutureProducer> {
    let mut config = kafka.config();
    // Members alone have sessions.
    for consumer_only in ["session.timeout.ms", "heartbeat.interval.ms", "fetch.wait.max.ms", "max.poll.interval.ms"] {
        config.remove(consumer_only);
    }
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
        .create()
        .context("the Kafka producer cannot be made")
}

async fn write(producer: &FutureProducer, event: &Again) -> Result<(), String> {
    let id = event.id.to_string();
    let headers = headers(&id, &event.original);
    let mut record = FutureRecord::<[u8], [u8]>::to(&event.id.topic).partition(event.id.partition).headers(headers);
    if let Some(key) = &event.original.key {
        record = record.key(key);
    }
    if let Some(payload) = &event.original.payload {
        record = record.payload(payload);
    }
    if event.timestamp_ms >= 0 {
        record = record.timestamp(event.timestamp_ms);
    }
    producer.send(record, DELIVERY_TIMEOUT).await.map(|_| ()).map_err(|(error, _)| format!("it was not written: {error}"))
}

/// The event's own headers, without the marks of an earlier redrive, and the marks of this one.
fn headers(id: &str, original: &Original) -> OwnedHeaders {
    let (mut count, mut headers) = (0u32, OwnedHeaders::new());
    for header in &original.headers {
        match &*header.name {
            FROM_HEADER => {}
            COUNT_HEADER => {
                let text = header.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
                count = text.and_then(|text| text.parse().ok()).unwrap_or(0);
            }
            name => headers = headers.insert(Header { key: name, value: header.value.as_deref() }),
        }
    }
    headers
        .insert(Header { key: FROM_HEADER, value: Some(id) })
        .insert(Header { key: COUNT_HEADER, value: Some(&(count.saturating_add(1)).to_string()) })
}
