//! The Kafka consumer: one poll thread, which makes the lease inside the rebalance callback and nowhere else.
//!
//! An assigned partition is paused at once and flows only after its `Start`. What was fetched before that is dropped:
//! `expected` holds the next offset that the pipeline may see, and nothing below it passes.

use super::seldom::Seldom;
use super::{Lease, SourceCommand, SourceError, SourceEvent, SourceHandle};
use crate::event::{Header, Position, RawEvent, TopicPartition};
use arc_swap::ArcSwap;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Rest of the poll thread while nothing comes: what it adds to the age of an event, and what it costs, about 1 % of a core.
const IDLE_SLEEP: Duration = Duration::from_millis(1);

/// Payload bytes in one batch, about: what waits in the queue is outside the memory budget.
const BATCH_BYTES: usize = 1 << 20;

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

/// Partitions that may be committed plainly, and the number of the lease that each came with. Kafka checks a plain commit
/// against the member alone, so a late one could set back a partition that has moved on; this binds it to the lease.
#[derive(Default)]
struct Gate {
    since: Mutex<BTreeMap<TopicPartition, u64>>,
    /// No commit of a lease below this begins: set when a partition had to go while a commit held `since`.
    floor: AtomicU64,
}

/// What a lease carries for the publisher: the member's metadata, and the consumer for plain commits.
pub struct KafkaLease {
    pub metadata: ConsumerGroupMetadata,
    number: u64,
    gate: Arc<Gate>,
    consumer: Weak<PollConsumer>,
}

impl KafkaLease {
    /// Commits offsets as this member of the group, and waits for the answer. Refused when one of the partitions has left
    /// since this lease was made, even if it has come back.
    pub fn commit(&self, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
        let gate = lock(&self.gate.since);
        let ours = offsets.elements().iter().all(|element| {
            let partition = TopicPartition::new(element.topic(), element.partition());
            gate.get(&partition).is_some_and(|since| *since <= self.number)
        });
        if !ours || self.number < self.gate.floor.load(Ordering::SeqCst) {
            return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration));
        }
        match self.consumer.upgrade() {
            Some(consumer) => consumer.commit(offsets, rdkafka::consumer::CommitMode::Sync),
            None => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)),
        }
    }
}

type PollConsumer = BaseConsumer<PollContext>;

/// State that the rebalance callback and the poll loop share; both run on the poll thread.
#[derive(Default)]
struct Assignment {
    held: BTreeMap<TopicPartition, u64>,
    /// Started partitions, and the next offset the pipeline may see of each.
    expected: BTreeMap<TopicPartition, i64>,
    leases: u64,
}

struct PollContext {
    events: mpsc::Sender<SourceEvent>,
    lease: Arc<ArcSwap<Lease>>,
    assignment: Arc<Mutex<Assignment>>,
    consumer: Arc<Mutex<Weak<PollConsumer>>>,
    gate: Arc<Gate>,
    revoke_wait: Duration,
    polled_at_ms: Arc<AtomicU64>,
    started: Instant,
    /// Of the client, and of polling.
    trouble: Mutex<Seldom>,
    failures: Mutex<Seldom>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for PollContext {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return; // No trouble: the end of a partition.
        }
        // While Kafka is away the client says so several times a second.
        if let Some(times) = lock(&self.trouble).met(Instant::now()) {
            tracing::warn!(%error, reason, times, "The Kafka consumer reports trouble; it goes on by itself.");
        }
    }
}

impl ConsumerContext for PollContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, tpl: &mut TopicPartitionList) {
        let partitions: Vec<TopicPartition> =
            tpl.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect();
        if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let lease = self.new_lease(consumer, &partitions, true);
            lock(&self.gate.since).extend(partitions.iter().map(|partition| (partition.clone(), lease.number)));
            // An explicit offset, since `auto.offset.reset=error` refuses to guess. Nothing read from it passes before `Start`.
            let assigned = tpl
                .set_all_offsets(Offset::Beginning)
                .and_then(|()| consumer.incremental_assign(tpl))
                .and_then(|()| consumer.pause(tpl));
            if let Err(error) = assigned {
                self.send(SourceEvent::Failed(SourceError::Fatal(format!("partitions could not be assigned: {error}"))));
                return;
            }
            self.send(SourceEvent::Assigned { lease, partitions });
            return;
        }
        let lost = consumer.assignment_lost();
        {
            let mut assignment = lock(&self.assignment);
            for partition in &partitions {
                assignment.held.remove(partition);
                assignment.expected.remove(partition);
            }
            if lost {
                assignment.held.clear();
            }
        }
        // In force before the partitions go: no transaction begins under the old one any more.
        let lease = self.new_lease(consumer, &[], !lost);
        let number = lease.number;
        let (done, finished) = oneshot::channel();
        self.send(SourceEvent::Revoked { lease, partitions: partitions.clone(), lost, done });
        if !lost {
            self.wait(finished);
        }
        self.close_gate(&partitions, number);
        if let Err(error) = consumer.incremental_unassign(tpl) {
            tracing::warn!(%error, "Partitions could not be given back in good order.");
        }
    }
}

impl PollContext {
    /// What the callback does when the group gives partitions, once and without a group.
    fn assign_alone(&self, consumer: &PollConsumer, partitions: Vec<TopicPartition>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Beginning)?;
        }
        let lease = self.new_lease(consumer, &partitions, true);
        lock(&self.gate.since).extend(partitions.iter().map(|partition| (partition.clone(), lease.number)));
        consumer.incremental_assign(&list)?;
        consumer.pause(&list)?;
        self.send(SourceEvent::Assigned { lease, partitions });
        Ok(())
    }

    /// `arrived` comes with this lease.
    fn new_lease(&self, consumer: &BaseConsumer<Self>, arrived: &[TopicPartition], with_metadata: bool) -> Arc<Lease> {
        let mut assignment = lock(&self.assignment);
        assignment.leases += 1;
        let number = assignment.leases;
        assignment.held.extend(arrived.iter().map(|partition| (partition.clone(), number)));
        let metadata = if with_metadata { consumer.group_metadata() } else { None };
        let lease = Arc::new(Lease {
            number: assignment.leases,
            partitions: if metadata.is_some() { assignment.held.clone() } else { BTreeMap::new() },
            metadata: metadata.map(|metadata| {
                let consumer = lock(&self.consumer).clone();
                Arc::new(KafkaLease { metadata, number: assignment.leases, gate: self.gate.clone(), consumer }) as _
            }),
        });
        self.lease.store(lease.clone());
        lease
    }

    /// No plain commit of these begins any more; waits for one that is under way.
    fn close_gate(&self, partitions: &[TopicPartition], lease: u64) {
        let deadline = Instant::now() + self.revoke_wait;
        loop {
            match self.gate.since.try_lock() {
                Ok(mut gate) => {
                    gate.retain(|partition, _| !partitions.contains(partition));
                    return;
                }
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => {
                    self.gate.floor.store(lease, Ordering::SeqCst);
                    tracing::warn!("A plain commit was still under way when its partitions had to go; it may set them back.");
                    return;
                }
            }
        }
    }

    /// Hands an event over. The pipeline listens but while its memory budget is full (`driver/membership.rs`); a queue that stays full
    /// shows in `/livez`.
    fn send(&self, mut event: SourceEvent) -> bool {
        loop {
            match self.events.try_send(event) {
                Ok(()) => return true,
                Err(TrySendError::Closed(_)) => return false,
                Err(TrySendError::Full(back)) => {
                    event = back;
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }

    fn wait(&self, mut finished: oneshot::Receiver<()>) {
        let deadline = Instant::now() + self.revoke_wait;
        while Instant::now() < deadline {
            match finished.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(2)),
                Ok(()) | Err(oneshot::error::TryRecvError::Closed) => return,
            }
        }
        tracing::warn!("A publish round was still running when its partitions had to go; Kafka decides whether it counts.");
    }

    fn tick(&self) {
        self.polled_at_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
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
            let (paused, doubtful) = (BTreeSet::new(), BTreeSet::new());
            let look_not_before = Instant::now();
            let topic = Arc::from("");
            Poll { consumer, paused, doubtful, look_not_before, assignment, commands: commands_out, topic, batch_max }.run();
        })
        .map_err(|error| SourceError::Fatal(format!("the poll thread cannot be started: {error}")))?;
    Ok(SourceHandle { events, commands, lease, polled_at_ms })
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
        .set("fetch.max.bytes", "8388608");
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

struct Poll {
    consumer: Arc<PollConsumer>,
    /// Paused by command: assigning anew forgets it.
    paused: BTreeSet<TopicPartition>,
    /// Started partitions whose position must be looked at, after an error that does not say which of them it means.
    doubtful: BTreeSet<TopicPartition>,
    look_not_before: Instant,
    assignment: Arc<Mutex<Assignment>>,
    commands: mpsc::UnboundedReceiver<SourceCommand>,
    /// The topic of the last record: its name is shared by all that follow.
    topic: Arc<str>,
    batch_max: usize,
}

impl Poll {
    fn run(mut self) {
        loop {
            self.consumer.context().tick();
            loop {
                match self.commands.try_recv() {
                    Ok(SourceCommand::Stop) | Err(mpsc::error::TryRecvError::Disconnected) => return,
                    Ok(command) => self.obey(command),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                }
            }
            if let Err(error) = self.look() {
                tracing::warn!(%error, "A partition could not be assigned anew.");
            }
            let mut batch = Vec::new();
            let consumer = self.consumer.clone();
            let mut bytes = 0;
            while batch.len() < self.batch_max && bytes < BATCH_BYTES {
                // A wait of the client ends in a busy loop for what is left of a millisecond.
                match consumer.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => {
                        bytes += message.payload_len();
                        self.take(&message, &mut batch);
                    }
                    Some(Err(error)) => {
                        // What was read before the error comes first.
                        self.flush(&mut batch);
                        if !self.on_error(error) {
                            return;
                        }
                    }
                }
            }
            if batch.is_empty() {
                std::thread::sleep(IDLE_SLEEP);
            } else if !self.flush(&mut batch) {
                return;
            }
        }
    }

    fn flush(&self, batch: &mut Vec<RawEvent>) -> bool {
        batch.is_empty() || self.consumer.context().send(SourceEvent::Records(std::mem::take(batch)))
    }

    fn obey(&mut self, command: SourceCommand) {
        match &command {
            SourceCommand::Pause(partitions) => self.paused.extend(partitions.iter().cloned()),
            SourceCommand::Resume(partitions) => self.paused.retain(|partition| !partitions.contains(partition)),
            SourceCommand::Start { partition, .. } => drop(self.paused.remove(partition)),
            SourceCommand::Stop => {}
        }
        let result = match &command {
            SourceCommand::Start { partition, offset } => self.start(partition, *offset),
            SourceCommand::Pause(partitions) => self.consumer.pause(&self.held(partitions)),
            SourceCommand::Resume(partitions) => self.consumer.resume(&self.held(partitions)),
            SourceCommand::Stop => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(?command, %error, "A command to the consumer failed.");
            self.consumer
                .context()
                .send(SourceEvent::Failed(SourceError::Fatal(format!("the consumer refuses a command: {error}"))));
        }
    }

    /// Starts a partition at an offset. Assigning it anew at the explicit offset, rather than seeking while it is paused,
    /// leaves no room for a position that an earlier fetch had set.
    fn start(&self, partition: &TopicPartition, offset: i64) -> Result<(), KafkaError> {
        if !lock(&self.assignment).held.contains_key(partition) {
            return Ok(()); // Revoked meanwhile.
        }
        self.assign_at(partition, offset)?;
        lock(&self.assignment).expected.insert(partition.clone(), offset);
        self.consumer.context().send(SourceEvent::Started { partition: partition.clone(), offset });
        Ok(())
    }

    fn assign_at(&self, partition: &TopicPartition, offset: i64) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        self.consumer.incremental_unassign(&list)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&list)?;
        self.consumer.resume(&list)
    }

    fn held(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let assignment = lock(&self.assignment);
        let mut list = TopicPartitionList::new();
        for partition in partitions.iter().filter(|partition| assignment.held.contains_key(partition)) {
            list.add_partition(&partition.topic, partition.partition);
        }
        list
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, batch: &mut Vec<RawEvent>) {
        if *self.topic != *message.topic() {
            self.topic = Arc::from(message.topic());
        }
        let (partition, offset) = (message.partition(), message.offset());
        {
            let mut assignment = lock(&self.assignment);
            let key = TopicPartition { topic: self.topic.clone(), partition };
            match assignment.expected.get_mut(&key) {
                Some(expected) if offset >= *expected => *expected = offset + 1,
                _ => return,
            }
        }
        batch.push(raw_event(message, &self.topic));
    }

    /// Looks at one doubtful partition: its position is not in the log, which is for the pipeline to judge, or fetching begins
    /// anew where it was. Kafka may be busy: then it is looked at later.
    fn look(&mut self) -> Result<(), KafkaError> {
        if Instant::now() < self.look_not_before {
            return Ok(());
        }
        let Some(partition) = self.doubtful.pop_first() else { return Ok(()) };
        let Some(expected) = lock(&self.assignment).expected.get(&partition).copied() else { return Ok(()) };
        match self.consumer.fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(1)) {
            Err(error) => {
                tracing::warn!(%partition, %error, "The ends of a partition cannot be read; it is looked at again.");
                self.look_not_before = Instant::now() + Duration::from_secs(1);
                self.doubtful.insert(partition);
            }
            Ok((low, high)) if expected < low || expected > high => {
                let detail = format!("offset {expected} is wanted, the log holds [{low}, {high})");
                self.consumer.context().send(SourceEvent::Failed(SourceError::OutOfRange { partition, detail }));
            }
            Ok(_) => {
                self.assign_at(&partition, expected)?;
                if self.paused.contains(&partition) {
                    self.consumer.pause(&self.held(std::slice::from_ref(&partition)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether the log is known to end at or before `offset`.
    fn is_end(&self, partition: &TopicPartition, offset: i64) -> bool {
        match self.consumer.fetch_watermarks(&partition.topic, partition.partition, Duration::from_secs(1)) {
            Ok((_, high)) => offset >= high,
            Err(_) => false,
        }
    }

    /// Returns whether polling goes on.
    fn on_error(&mut self, error: KafkaError) -> bool {
        let consumer = self.consumer.clone();
        let context = consumer.context();
        match &error {
            KafkaError::PartitionEOF(number) => {
                let started = lock(&self.assignment).expected.clone();
                let candidates: Vec<_> = started.into_iter().filter(|(partition, _)| partition.partition == *number).collect();
                // The error names the partition without its topic: with several topics the ends of the log decide.
                let alone = candidates.len() == 1;
                candidates
                    .into_iter()
                    .filter(|(partition, offset)| alone || self.is_end(partition, *offset))
                    .all(|(partition, offset)| context.send(SourceEvent::CaughtUp { partition, offset }))
            }
            KafkaError::MessageConsumptionFatal(code) => {
                context.send(SourceEvent::Failed(SourceError::Fatal(format!("the consumer cannot go on: {code}"))));
                false
            }
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                // librdkafka does not say which partition, and has stopped fetching it: each that was started is looked at.
                self.doubtful.extend(lock(&self.assignment).expected.keys().cloned());
                true
            }
            KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition),
            ) => {
                context.send(SourceEvent::Failed(SourceError::Fatal(format!(
                    "the broker refuses to let this group read: {code}. Check that the topic exists and that the user may read it and the group."
                ))));
                false
            }
            other => {
                if let Some(times) = lock(&context.failures).met(Instant::now()) {
                    tracing::warn!(error = %other, times, "Reading from Kafka failed for now; polling goes on.");
                }
                true
            }
        }
    }
}

/// A record of the log, copied out of librdkafka.
pub fn raw_event(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> RawEvent {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| Header { name: header.key.into(), value: header.value.map(Into::into) }).collect()
    });
    RawEvent {
        position: Position { topic: topic.clone(), partition: message.partition(), offset: message.offset() },
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(Into::into),
        payload: message.payload().map(Into::into),
        headers,
    }
}
