//! Events of dead letters back into the input topic.
//!
//! Marked before they are written, so that two operators, or one who tries again, do not write an event twice without knowing: what
//! stays `redriving` was cut off between the two.

use super::show::handled;
use crate::cli::common;
use crate::cli::kafka::Kafka;
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::record::{Original, RecordId, decode_dead_letter};
use crate::store::postgres::{DeadLetter, Mark, PostgresStore};
use anyhow::Context;
use futures_util::future::join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::Duration;

/// The dead letter that an event was driven from.
const FROM_HEADER: &str = "millrace-redriven-from";
/// How often an event was driven again.
const COUNT_HEADER: &str = "millrace-redrive-count";
/// Events that are marked, written, and marked as written, together.
const CHUNK: usize = 500;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

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
    letters: Vec<DeadLetter>,
    again: bool,
    json: bool,
) -> anyhow::Result<Exit> {
    let producer = producer(&common::kafka(config, pipeline)?)?;
    let mut exit = Exit::Done;
    let mut refuse = |id: &RecordId, why: &str| {
        exit = Exit::Failed;
        eprintln!("millrace: {id}: {why}");
    };
    let mut events = Vec::new();
    for letter in letters {
        match (readable(&letter), &*letter.handling) {
            (_, "redriving") if !again => refuse(
                &letter.id,
                "its redrive was cut off, so it may stand in the input topic already: look for the header millrace-redriven-from there, then \
                 --again, or discard it",
            ),
            (_, handling @ ("redriven" | "discarded")) => refuse(&letter.id, &format!("it was {handling} already")),
            (Ok(event), _) => events.push(event),
            (Err(why), _) => refuse(&letter.id, &why),
        }
    }
    // In the order of the log.
    events.sort_by(|a, b| a.id.cmp(&b.id));
    let over: &[Mark] = if again { &[Mark::Redriving] } else { &[] };
    for chunk in events.chunks(CHUNK) {
        let ids: Vec<RecordId> = chunk.iter().map(|event| event.id.clone()).collect();
        let marked = store.mark(&pipeline.name, &ids, Mark::Redriving, over, None).await?;
        let (ours, others): (Vec<&Again>, Vec<&Again>) = chunk.iter().partition(|event| marked.contains(&event.id));
        others.iter().for_each(|event| refuse(&event.id, "somebody else deals with it at this moment"));
        let mut written = Vec::new();
        for (event, result) in ours.iter().zip(join_all(ours.iter().map(|event| write(&producer, event))).await) {
            match result {
                Ok(()) => written.push(event.id.clone()),
                Err(why) => refuse(&event.id, &format!("{why}; it stays `redriving`: see to the cause, then --again")),
            }
        }
        store
            .mark(&pipeline.name, &written, Mark::Redriven, &[Mark::Redriving], None)
            .await
            .context("events were written to the input topic, and they could not be marked: they stay `redriving`")?;
        written.iter().try_for_each(|id| handled(id, Mark::Redriven.as_str(), true, json))?;
    }
    Ok(exit)
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
