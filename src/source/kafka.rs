//! The Kafka consumer: one poll thread, which makes the lease inside the rebalance callback and nowhere else.
//!
//! An assigned partition is paused at once and flows only after its `Start`. What was fetched before that is dropped:
//! `expected` holds the next offset that the pipeline may see, and nothing below it passes.

mod lease;
mod poll;
mod rebalance;

pub use lease::KafkaLease;
pub use poll::raw_event;

use super::{Lease, ReadTo, SourceError, SourceHandle};
use crate::event::TopicPartition;
use arc_swap::ArcSwap;
use poll::Poll;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rebalance::{Assignment, PollContext};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How a consumer is made.
#[derive(Debug, Clone)]
pub struct KafkaSourceSettings {
    pub group: String,
    pub topics: Vec<String>,
    /// librdkafka properties: `bootstrap.servers`, security, time-outs. Those of the protocol are set here.
    pub client: Vec<(String, String)>,
    /// Records in one batch at most.
    pub batch_max: usize,
    /// Batches that may wait for the pipeline.
    pub channel_capacity: usize,
    /// How long a revocation waits for the running publish round.
    pub revoke_wait: Duration,
}

type PollConsumer = BaseConsumer<PollContext>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the poll thread and joins the group.
pub fn spawn(settings: KafkaSourceSettings) -> Result<SourceHandle, SourceError> {
    let topics = settings.topics.clone();
    start(settings, |consumer| consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Starts the poll thread with these partitions, as a group's only member, which never joins it: nobody else gets them, and none is taken away.
pub fn spawn_alone(settings: KafkaSourceSettings, partitions: Vec<TopicPartition>) -> Result<SourceHandle, SourceError> {
    start(settings, |consumer| consumer.context().assign_alone(consumer, partitions))
}

fn start(
    settings: KafkaSourceSettings,
    begin: impl FnOnce(&PollConsumer) -> Result<(), KafkaError>,
) -> Result<SourceHandle, SourceError> {
    let (events_in, events) = mpsc::channel(settings.channel_capacity);
    let (commands, commands_out) = mpsc::unbounded_channel();
    let lease = Arc::new(ArcSwap::from_pointee(Lease { number: 0, partitions: BTreeMap::new(), metadata: None }));
    let polled_at_ms = Arc::new(AtomicU64::new(0));
    let read_to = Arc::<ReadTo>::default();
    let slot = Arc::new(Mutex::new(Weak::new()));
    let assignment = Arc::new(Mutex::new(Assignment::default()));
    let context = PollContext {
        events: events_in,
        lease: lease.clone(),
        assignment: assignment.clone(),
        consumer: slot.clone(),
        gate: Arc::default(),
        revoke_wait: settings.revoke_wait,
        polled_at_ms: polled_at_ms.clone(),
        read_to: read_to.clone(),
        started: Instant::now(),
        trouble: Mutex::default(),
        failures: Mutex::default(),
    };
    let fatal = |error: KafkaError| SourceError::Fatal(format!("the Kafka consumer cannot be made: {error}"));
    let consumer: Arc<PollConsumer> = Arc::new(client_config(&settings).create_with_context(context).map_err(fatal)?);
    *lock(&slot) = Arc::downgrade(&consumer);
    begin(&consumer).map_err(fatal)?;
    let batch_max = settings.batch_max;
    std::thread::Builder::new()
        .name(format!("poll-{}", settings.group))
        .spawn(move || {
            Poll::new(consumer, assignment, commands_out, batch_max).run();
        })
        .map_err(|error| SourceError::Fatal(format!("the poll thread cannot be started: {error}")))?;
    Ok(SourceHandle { events, commands, lease, polled_at_ms, read_to })
}

fn client_config(settings: &KafkaSourceSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    // A pause throws away what was fetched ahead, so little is.
    config
        .set("queued.max.messages.kbytes", "4096")
        // While that much is queued librdkafka fetches nothing, and by default looks again after a second: a topic whose events are in
        // one partition was read at a quarter of the rate (`copy_pipeline -- throughput --accounts 1`).
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.max.bytes", "8388608")
        // Tell how far a partition is read, of which its events alone say too little.
        .set("statistics.interval.ms", "2000");
    let classic = !settings.client.iter().any(|(name, value)| name == "group.protocol" && value == "consumer");
    if classic {
        // A dead worker is missed after the shortest session that brokers allow by default; librdkafka sends heartbeats on a
        // thread of its own, so a busy pipeline misses none.
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1500");
        config.set("group.protocol", "classic").set("partition.assignment.strategy", "cooperative-sticky");
    }
    for (name, value) in &settings.client {
        config.set(name, value);
    }
    config
        .set("group.id", &settings.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    config
}
