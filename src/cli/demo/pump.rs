//! Sends the streams: first what was there before, then events at a steady rate, with a bad one now and then.

use super::streams::{Ends, Feed, Stream};
use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use std::time::Duration;

/// Every so many events one is bad on purpose.
pub const BAD_EVERY: u64 = 97;
/// The mock keeps 5 MiB a partition: far more than this many events of the history. The pump waits above it.
const MOST_BEHIND: u64 = 5_000;
/// Events of the show that may wait. A machine that cannot keep up is sent less, and still ends in time.
const MOST_BEHIND_LIVE: u64 = 1_000;
const TICK: Duration = Duration::from_millis(10);

pub struct Pump<'a> {
    producer: BaseProducer<DefaultProducerContext>,
    streams: &'a [Stream],
    feeds: Vec<Feed>,
    /// What the producer had no room for, a stream each.
    waiting: Vec<Option<Record>>,
}

struct Record {
    key: Option<String>,
    body: String,
    /// `None` of a bad one.
    ends: Option<Ends>,
}

impl<'a> Pump<'a> {
    pub fn new(brokers: &str, streams: &'a [Stream], feeds: Vec<Feed>) -> anyhow::Result<Self> {
        let producer = ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "5").create();
        let producer = producer.context("cannot make the generator's producer")?;
        let waiting = streams.iter().map(|_| None).collect();
        Ok(Self { producer, streams, feeds, waiting })
    }

    /// Sends what was there before, as fast as it is taken, until it is decided and published or `gone` says that nobody waits.
    pub async fn history(&mut self, gone: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        let mut left = true;
        while left && !gone() {
            tick.tick().await;
            left = false;
            for stream in 0..self.streams.len() {
                while self.behind(stream) < MOST_BEHIND {
                    let Some(message) = self.waiting[stream].take().or_else(|| self.past(stream)) else { break };
                    if !self.send(stream, message) {
                        break;
                    }
                }
                left |= self.waiting[stream].is_some() || !self.feeds[stream].history.as_slice().is_empty();
            }
        }
        self.deliver(gone).await
    }

    /// Sends events for so many seconds, at that rate at most.
    pub async fn live(&mut self, rate: u64, seconds: u64, gone: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut sent = vec![0; self.streams.len()];
        let mut tick = tokio::time::interval(TICK);
        let started = tokio::time::Instant::now();
        let total = rate * seconds;
        let mut due = 0;
        while due < total && !gone() {
            tick.tick().await;
            due = ((started.elapsed().as_secs_f64() * rate as f64) as u64).min(total);
            for (stream, sent) in sent.iter_mut().enumerate() {
                while *sent < due && self.behind(stream) < MOST_BEHIND_LIVE {
                    let next = self.waiting[stream].take().or_else(|| self.next(stream, *sent));
                    let Some(message) = next else {
                        // Played out.
                        *sent = total;
                        break;
                    };
                    if !self.send(stream, message) {
                        break;
                    }
                    *sent += 1;
                }
            }
        }
        self.deliver(gone).await
    }

    /// Events that were sent and are not decided.
    fn behind(&self, stream: usize) -> u64 {
        self.producer.poll(Duration::ZERO);
        let stream = &self.streams[stream];
        stream.sent.all().saturating_sub(stream.view.decided())
    }

    fn past(&mut self, stream: usize) -> Option<Record> {
        let message = self.feeds[stream].history.next()?;
        Some(Record { key: Some(message.key), body: message.body, ends: Some(message.ends) })
    }

    fn next(&mut self, stream: usize, number: u64) -> Option<Record> {
        let bad = self.streams[stream].bad;
        if number % BAD_EVERY == BAD_EVERY - 1 {
            let (_, body) = bad[(number / BAD_EVERY) as usize % bad.len()];
            return Some(Record { key: None, body: body.into(), ends: None });
        }
        let message = self.feeds[stream].live.next()?;
        Some(Record { key: Some(message.key), body: message.body, ends: Some(message.ends) })
    }

    /// False when the producer has no room; the next tick goes on.
    fn send(&mut self, stream: usize, message: Record) -> bool {
        let of = &self.streams[stream];
        let record = BaseRecord::to(&of.topic).payload(&message.body).timestamp(jiff::Timestamp::now().as_millisecond());
        let record = match &message.key {
            Some(key) => record.key(key.as_str()),
            None => record,
        };
        let sent = self.producer.send(record).is_ok();
        match sent {
            true => of.sent.add(message.ends),
            false => self.waiting[stream] = Some(message),
        }
        sent
    }

    /// Waits until all is decided and published, at most a minute.
    async fn deliver(&self, gone: impl Fn() -> bool) -> anyhow::Result<()> {
        self.producer.flush(Duration::from_secs(10)).context("the generator could not deliver its last events")?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !self.streams.iter().all(Stream::is_through) && !gone() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }
}
