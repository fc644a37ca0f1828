//! Kafka's part in memory, for simulation: logs, a consumer group with generations and cooperative rebalancing, committed
//! offsets, and the topics of output. What a real cluster may do late, twice or not at all, this one does by a seed.
//!
//! [`crate::publisher::memory`] is the producer's side of the same cluster.

use super::{Lease, LogBounds, SourceCommand, SourceEvent, SourceHandle};
use crate::event::{RawEvent, TopicPartition};
use crate::twin::{Chance, Process};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A member that was not heard of for so long is put out of the group.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a revocation waits for the pipeline.
const REVOKE_WAIT: Duration = Duration::from_secs(3);
/// Records in one batch.
const BATCH: usize = 7;

/// K as the cluster holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOffset {
    pub offset: i64,
    pub metadata: String,
}

#[derive(Debug)]
struct Member {
    heard: Instant,
    target: BTreeSet<TopicPartition>,
}

/// A record that a `read_committed` reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub partition: TopicPartition,
    pub offset: i64,
    pub n: i16,
    pub value: Box<str>,
}

#[derive(Debug, Default)]
pub struct State {
    logs: BTreeMap<TopicPartition, Vec<RawEvent>>,
    generation: u64,
    members: BTreeMap<u64, Member>,
    owner: BTreeMap<TopicPartition, u64>,
    pub offsets: BTreeMap<TopicPartition, StoredOffset>,
    /// Open transactions that carry an offset of the partition.
    pub pending: BTreeMap<TopicPartition, usize>,
    pub output: Vec<Published>,
    /// Where markers end that stand behind the last event.
    markers: BTreeMap<TopicPartition, i64>,
    /// Below the end of the log: readers come no further for now, and are told that this is the end.
    pub stable_ends: BTreeMap<TopicPartition, i64>,
    /// The ends that were told.
    pub told_ends: BTreeSet<(TopicPartition, i64)>,
    /// The newest producer of each transactional id.
    pub epochs: BTreeMap<u64, u64>,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    state: Mutex<State>,
    pub chance: Chance,
}

/// What a lease of this cluster carries for the publisher.
pub struct MemoryLease {
    pub generation: u64,
    pub process: Arc<Process>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub fn new(seed: u64, partitions: &[TopicPartition]) -> Arc<Self> {
        let logs = partitions.iter().map(|partition| (partition.clone(), Vec::new())).collect();
        Arc::new(Self { state: Mutex::new(State { logs, ..State::default() }), chance: Chance::new(seed) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Appends an event; its position is filled in. Now and then an offset is left out, as transaction markers do.
    pub fn append(&self, partition: &TopicPartition, payload: &str) -> i64 {
        let gap = i64::from(self.chance.percent(5));
        let mut state = self.state();
        let end = state.end(partition);
        let log = state.logs.entry(partition.clone()).or_default();
        let offset = end + gap;
        log.push(RawEvent {
            position: crate::event::Position { topic: partition.topic.clone(), partition: partition.partition, offset },
            timestamp_ms: offset,
            key: None,
            payload: Some(payload.as_bytes().into()),
            headers: Vec::new(),
        });
        offset
    }

    /// Appends a marker of a transaction, which no reader sees.
    pub fn mark(&self, partition: &TopicPartition) {
        let mut state = self.state();
        let end = state.end(partition) + 1;
        state.markers.insert(partition.clone(), end);
    }

    pub fn events(&self, partition: &TopicPartition) -> Vec<RawEvent> {
        self.state().logs.get(partition).cloned().unwrap_or_default()
    }

    pub fn bounds(&self, partition: &TopicPartition) -> LogBounds {
        LogBounds { low: 0, high: self.state().end(partition) }
    }

    pub fn partition_count(&self, topic: &str) -> i32 {
        self.state().logs.keys().filter(|partition| &*partition.topic == topic).count() as i32
    }

    /// A process joins the group.
    pub fn join(self: &Arc<Self>, process: Arc<Process>) -> SourceHandle {
        let (events_in, mut queue) = mpsc::channel(16);
        let (late_in, events) = mpsc::channel(1);
        let cluster = self.clone();
        // The lease is in force before the pipeline hears of it: there is a queue between them.
        tokio::spawn(async move {
            while let Some(event) = queue.recv().await {
                if cluster.chance.percent(5) {
                    tokio::time::sleep(cluster.chance.delay()).await;
                }
                if late_in.send(event).await.is_err() {
                    return;
                }
            }
        });
        let (commands, commands_out) = mpsc::unbounded_channel();
        let lease = Arc::new(ArcSwap::from_pointee(Lease { number: 0, partitions: BTreeMap::new(), metadata: None }));
        self.state().members.insert(process.id, Member { heard: Instant::now(), target: BTreeSet::new() });
        self.state().rebalance();
        let poll = Poll {
            cluster: self.clone(),
            process,
            events: events_in,
            commands: commands_out,
            lease: lease.clone(),
            leases: 0,
            generation: 0,
            held: BTreeMap::new(),
        };
        tokio::spawn(poll.run());
        SourceHandle { events, commands, lease, polled_at_ms: Arc::new(AtomicU64::new(0)), read_to: Arc::default() }
    }

    /// Puts out members that were not heard of.
    pub fn expire(&self) {
        let mut state = self.state();
        let before = state.members.len();
        state.members.retain(|_, member| member.heard.elapsed() < SESSION_TIMEOUT);
        if state.members.len() != before {
            state.rebalance();
        }
    }
}

impl State {
    fn end(&self, partition: &TopicPartition) -> i64 {
        let behind_last = self.logs.get(partition).and_then(|log| log.last()).map_or(0, |last| last.position.offset + 1);
        self.markers.get(partition).map_or(behind_last, |end| behind_last.max(*end))
    }

    /// Whether the group takes offsets from this member and generation.
    pub fn accepts(&self, process: u64, generation: u64) -> bool {
        self.members.contains_key(&process) && self.generation == generation
    }

    /// A new generation: partitions are spread evenly, and stay where they are as far as that allows.
    fn rebalance(&mut self) {
        self.generation += 1;
        self.owner.retain(|_, owner| self.members.contains_key(owner));
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for member in self.members.values_mut() {
            member.target.clear();
        }
        if ids.is_empty() {
            return;
        }
        let share = self.logs.len().div_ceil(ids.len());
        let mut homeless = Vec::new();
        for partition in self.logs.keys() {
            let stays = self.owner.get(partition).and_then(|owner| self.members.get_mut(owner));
            match stays.filter(|member| member.target.len() < share) {
                Some(member) => drop(member.target.insert(partition.clone())),
                None => homeless.push(partition.clone()),
            }
        }
        for partition in homeless {
            if let Some(member) = self.members.values_mut().min_by_key(|member| member.target.len()) {
                member.target.insert(partition);
            }
        }
    }
}

/// A partition in the hands of one member's poll loop.
struct Held {
    /// Set by `Start`.
    position: Option<i64>,
    /// The lease it came with.
    since: u64,
    paused: bool,
    told_end: Option<i64>,
}

/// The poll loop of one member.
struct Poll {
    cluster: Arc<Cluster>,
    process: Arc<Process>,
    events: mpsc::Sender<SourceEvent>,
    commands: mpsc::UnboundedReceiver<SourceCommand>,
    lease: Arc<ArcSwap<Lease>>,
    leases: u64,
    generation: u64,
    held: BTreeMap<TopicPartition, Held>,
}

impl Poll {
    async fn run(mut self) {
        loop {
            self.process.awake().await;
            if self.process.is_killed() {
                return;
            }
            while let Ok(command) = self.commands.try_recv() {
                if !self.obey(command).await {
                    self.leave();
                    return;
                }
            }
            if !self.heartbeat().await || !self.fetch().await {
                return;
            }
            let pause = if self.cluster.chance.percent(2) { 700 } else { 30 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn leave(&self) {
        let mut state = self.cluster.state();
        state.members.remove(&self.process.id);
        state.rebalance();
    }

    async fn obey(&mut self, command: SourceCommand) -> bool {
        match command {
            SourceCommand::Start { partition, offset } => {
                if let Some(held) = self.held.get_mut(&partition) {
                    *held = Held { position: Some(offset), since: held.since, paused: false, told_end: None };
                    return self.events.send(SourceEvent::Started { partition, offset }).await.is_ok();
                }
            }
            SourceCommand::Pause(partitions) => self.pause(&partitions, true),
            SourceCommand::Resume(partitions) => self.pause(&partitions, false),
            SourceCommand::Stop => return false,
        }
        true
    }

    fn pause(&mut self, partitions: &[TopicPartition], paused: bool) {
        for partition in partitions {
            if let Some(held) = self.held.get_mut(partition) {
                held.paused = paused;
            }
        }
    }

    /// Says that it is alive, and goes through what the group wants of it.
    async fn heartbeat(&mut self) -> bool {
        self.cluster.expire();
        let (lost, target, generation) = {
            let mut state = self.cluster.state();
            let generation = state.generation;
            match state.members.get_mut(&self.process.id) {
                Some(member) => {
                    member.heard = Instant::now();
                    (false, member.target.clone(), generation)
                }
                None => (true, BTreeSet::new(), generation),
            }
        };
        if lost {
            let gone: Vec<TopicPartition> = std::mem::take(&mut self.held).into_keys().collect();
            let lease = self.new_lease(None);
            let (done, _) = oneshot::channel();
            if self.events.send(SourceEvent::Revoked { lease, partitions: gone, lost: true, done }).await.is_err() {
                return false;
            }
            let mut state = self.cluster.state();
            let member = Member { heard: Instant::now(), target: BTreeSet::new() };
            state.members.insert(self.process.id, member);
            state.rebalance();
            return true;
        }
        let leaving: Vec<TopicPartition> = self.held.keys().filter(|partition| !target.contains(*partition)).cloned().collect();
        if !leaving.is_empty() {
            self.held.retain(|partition, _| target.contains(partition));
            let lease = self.new_lease(Some(generation));
            let (done, finished) = oneshot::channel();
            if self.events.send(SourceEvent::Revoked { lease, partitions: leaving.clone(), lost: false, done }).await.is_err() {
                return false;
            }
            tokio::time::timeout(REVOKE_WAIT, finished).await.ok();
            self.process.awake().await;
            let mut state = self.cluster.state();
            let id = self.process.id;
            state.owner.retain(|partition, owner| *owner != id || !leaving.contains(partition));
            state.rebalance();
            return true;
        }
        let arriving: Vec<TopicPartition> = {
            let mut state = self.cluster.state();
            let free: Vec<TopicPartition> =
                target.iter().filter(|partition| !state.owner.contains_key(*partition)).cloned().collect();
            for partition in &free {
                state.owner.insert(partition.clone(), self.process.id);
            }
            free
        };
        if arriving.is_empty() && generation == self.generation {
            return true;
        }
        for partition in &arriving {
            let since = self.leases + 1;
            self.held.insert(partition.clone(), Held { position: None, since, paused: false, told_end: None });
        }
        let lease = self.new_lease(Some(generation));
        self.events.send(SourceEvent::Assigned { lease, partitions: arriving }).await.is_ok()
    }

    fn new_lease(&mut self, generation: Option<u64>) -> Arc<Lease> {
        self.leases += 1;
        self.generation = generation.unwrap_or_default();
        let metadata = generation.map(|generation| Arc::new(MemoryLease { generation, process: self.process.clone() }) as Arc<_>);
        let partitions = if metadata.is_some() {
            self.held.iter().map(|(partition, held)| (partition.clone(), held.since)).collect()
        } else {
            BTreeMap::new()
        };
        let lease = Arc::new(Lease { number: self.leases, partitions, metadata: metadata.map(|metadata| metadata as _) });
        self.lease.store(lease.clone());
        lease
    }

    async fn fetch(&mut self) -> bool {
        let mut batch = Vec::new();
        let mut ends = Vec::new();
        for (partition, held) in &mut self.held {
            let Some(position) = held.position.filter(|_| !held.paused) else { continue };
            let mut state = self.cluster.state();
            let stable_end = state.stable_ends.get(partition).copied().unwrap_or(i64::MAX);
            let Some(log) = state.logs.get(partition) else { continue };
            let log = &log[..log.partition_point(|raw| raw.position.offset < stable_end)];
            let from = log.partition_point(|raw| raw.position.offset < position);
            // Sometimes a record comes again: the source is free to repeat.
            let repeat = from.min(usize::from(self.cluster.chance.percent(3)));
            let some: Vec<RawEvent> = log[from - repeat..].iter().take(BATCH).cloned().collect();
            if let Some(last) = some.last() {
                held.position = Some(last.position.offset.max(position - 1) + 1);
            }
            let end = log.last().map_or(0, |last| last.position.offset + 1);
            if held.position.is_some_and(|position| position >= end) && held.told_end != Some(end) {
                held.told_end = Some(end);
                state.told_ends.insert((partition.clone(), end));
                ends.push((partition.clone(), end));
            }
            batch.extend(some);
        }
        if !batch.is_empty() && self.events.send(SourceEvent::Records(batch)).await.is_err() {
            return false;
        }
        for (partition, offset) in ends {
            if self.events.send(SourceEvent::CaughtUp { partition, offset }).await.is_err() {
                return false;
            }
        }
        true
    }
}
