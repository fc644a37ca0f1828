//! A source whose events wait until what they need to be read is at hand. Only their partitions wait.
//!
//! Stands between a source and its pipeline. A partition whose next event needs something is paused; what is on its way already is kept in
//! order until it may go, and the pipeline hears that it waits: it is not caught up. What the source tells otherwise, a revocation above all,
//! passes at once, so that nothing hangs on what is fetched.

mod asking;

use super::{SourceCommand, SourceEvent, SourceHandle};
use crate::event::{RawEvent, TopicPartition};
use asking::Asking;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// What events need.
pub trait Needs: Send + Sync + 'static {
    /// What has to be fetched before this event can be read. What is not missing stays at hand for this round and those that follow.
    fn missing(&self, raw: &RawEvent) -> Option<u32>;
    /// Ends when it is at hand.
    fn fetch(&self, what: u32) -> BoxFuture<'static, ()>;
    /// A batch goes to where it is read.
    fn next_round(&self);
}

/// Bytes that wait in all partitions; beyond, every partition is paused.
const HELD_BYTES: usize = 16 << 20;
/// What both directions know.
#[derive(Default)]
struct Shared {
    /// Paused by the pipeline.
    by_pipeline: BTreeSet<TopicPartition>,
    /// Paused here.
    here: BTreeSet<TopicPartition>,
}

/// The same source, whose events can be read when they come.
pub fn readied(inner: SourceHandle, needs: Arc<dyn Needs>) -> SourceHandle {
    let (events_in, events) = mpsc::channel(1);
    let (commands, commands_out) = mpsc::unbounded_channel();
    let shared = Arc::<Mutex<Shared>>::default();
    let SourceHandle { events: from, commands: to, lease, polled_at_ms, read_to } = inner;
    tokio::spawn(obey(commands_out, to.clone(), shared.clone()));
    tokio::spawn(Forward::new(events_in, to, shared, needs).run(from));
    SourceHandle { events, commands, lease, polled_at_ms, read_to }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands commands on. What is paused here is not resumed by the pipeline, and the other way round. A start begins a partition anew, paused or
/// not; it is told by the source and seen there.
async fn obey(
    mut from: mpsc::UnboundedReceiver<SourceCommand>,
    to: mpsc::UnboundedSender<SourceCommand>,
    shared: Arc<Mutex<Shared>>,
) {
    while let Some(mut command) = from.recv().await {
        // Sent under the lock: what the other direction sends then comes after it.
        let mut shared = lock(&shared);
        match &mut command {
            SourceCommand::Pause(partitions) => shared.by_pipeline.extend(partitions.iter().cloned()),
            SourceCommand::Resume(partitions) => {
                shared.by_pipeline.retain(|partition| !partitions.contains(partition));
                partitions.retain(|partition| !shared.here.contains(partition));
            }
            SourceCommand::Start { partition, .. } => drop(shared.by_pipeline.remove(partition)),
            SourceCommand::Stop => {}
        }
        let stops = command == SourceCommand::Stop;
        if to.send(command).is_err() || stops {
            break;
        }
    }
}

/// What of a partition waits.
enum Waiting {
    Record(RawEvent),
    CaughtUp(i64),
}

struct Forward {
    to: mpsc::Sender<SourceEvent>,
    commands: mpsc::UnboundedSender<SourceCommand>,
    shared: Arc<Mutex<Shared>>,
    needs: Arc<dyn Needs>,
    /// Partitions that flow, but for pauses.
    started: BTreeSet<TopicPartition>,
    held: BTreeMap<TopicPartition, VecDeque<Waiting>>,
    held_bytes: usize,
    asking: Asking,
}

/// Whether the pipeline still listens.
type Listens = bool;

impl Forward {
    fn new(
        to: mpsc::Sender<SourceEvent>,
        commands: mpsc::UnboundedSender<SourceCommand>,
        shared: Arc<Mutex<Shared>>,
        needs: Arc<dyn Needs>,
    ) -> Self {
        let (started, held, asking) = (BTreeSet::new(), BTreeMap::new(), Asking::default());
        Self { to, commands, shared, needs, started, held, held_bytes: 0, asking }
    }

    /// Until the source or the pipeline is gone.
    async fn run(mut self, mut from: mpsc::Receiver<SourceEvent>) {
        loop {
            let listens = tokio::select! {
                () = self.asking.fetched() => self.release().await,
                event = from.recv() => match event {
                    Some(event) => self.on(event).await,
                    None => break,
                },
            };
            if !listens {
                break;
            }
        }
    }

    async fn on(&mut self, event: SourceEvent) -> Listens {
        match event {
            SourceEvent::Records(records) => return self.records(records).await,
            SourceEvent::CaughtUp { partition, offset } if self.held.contains_key(&partition) => {
                let waiting = self.held.entry(partition).or_default();
                // Ends may be told without end while it waits: the last one says it all.
                if let Some(Waiting::CaughtUp(last)) = waiting.back_mut() {
                    *last = offset;
                } else {
                    waiting.push_back(Waiting::CaughtUp(offset));
                }
                return true;
            }
            SourceEvent::Started { ref partition, .. } => {
                // What came before it was of an earlier stay.
                self.forget(partition);
                self.started.insert(partition.clone());
                self.mind_asking();
                self.mind_pauses();
            }
            SourceEvent::Revoked { ref partitions, .. } => {
                for partition in partitions {
                    self.forget(partition);
                    self.started.remove(partition);
                    let mut shared = lock(&self.shared);
                    shared.here.remove(partition);
                    shared.by_pipeline.remove(partition);
                }
                self.mind_asking();
                self.mind_pauses();
            }
            SourceEvent::CaughtUp { .. } | SourceEvent::Waits { .. } | SourceEvent::Assigned { .. } | SourceEvent::Failed(_) => {}
        }
        self.to.send(event).await.is_ok()
    }

    async fn records(&mut self, records: Vec<RawEvent>) -> Listens {
        let (mut passed, mut begin_to_wait) = (Vec::with_capacity(records.len()), Vec::new());
        for raw in records {
            let partition = || TopicPartition::new(raw.position.topic.clone(), raw.position.partition);
            let waits = !self.held.is_empty() && self.held.contains_key(&partition());
            if waits || self.needs.missing(&raw).is_some() {
                if !waits {
                    begin_to_wait.push(partition());
                }
                self.held_bytes += raw.cost_bytes();
                self.held.entry(partition()).or_default().push_back(Waiting::Record(raw));
            } else {
                passed.push(raw);
            }
        }
        self.mind_asking();
        self.mind_pauses();
        if !self.pass(passed).await {
            return false;
        }
        for partition in begin_to_wait {
            if self.to.send(SourceEvent::Waits { partition }).await.is_err() {
                return false;
            }
        }
        true
    }

    async fn pass(&mut self, records: Vec<RawEvent>) -> Listens {
        if records.is_empty() {
            return true;
        }
        self.needs.next_round();
        self.to.send(SourceEvent::Records(records)).await.is_ok()
    }

    fn mind_asking(&mut self) {
        let records = self.held.values().map(|waiting| {
            waiting.iter().filter_map(|waiting| match waiting {
                Waiting::Record(raw) => Some(raw),
                Waiting::CaughtUp(_) => None,
            })
        });
        self.asking.mind(&*self.needs, records);
    }

    /// Lets go what can be read by now, in the order of each partition.
    async fn release(&mut self) -> Listens {
        let partitions: Vec<TopicPartition> = self.held.keys().cloned().collect();
        for partition in partitions {
            let mut ready = Vec::new();
            let mut end = None;
            while let Some(front) = self.held.get_mut(&partition).and_then(VecDeque::pop_front) {
                match front {
                    Waiting::CaughtUp(offset) => end = Some(offset),
                    Waiting::Record(raw) => match self.needs.missing(&raw) {
                        None => {
                            self.held_bytes -= raw.cost_bytes();
                            end = None;
                            ready.push(raw);
                        }
                        Some(_) => {
                            self.held.entry(partition.clone()).or_default().push_front(Waiting::Record(raw));
                            break;
                        }
                    },
                }
            }
            match self.held.get(&partition) {
                Some(waiting) if waiting.is_empty() => drop(self.held.remove(&partition)),
                // Its next event is known, so that what was its end is none; another is told behind that event.
                _ => end = None,
            }
            let told = self.pass(ready).await;
            let caught_up = end.map(|offset| SourceEvent::CaughtUp { partition, offset });
            let listens = match caught_up {
                Some(event) => told && self.to.send(event).await.is_ok(),
                None => told,
            };
            if !listens {
                return false;
            }
        }
        self.mind_asking();
        self.mind_pauses();
        true
    }

    /// Drops what waits of a partition, and its pause.
    fn forget(&mut self, partition: &TopicPartition) {
        for waiting in self.held.remove(partition).into_iter().flatten() {
            if let Waiting::Record(raw) = waiting {
                self.held_bytes -= raw.cost_bytes();
            }
        }
        // A start has ended a pause that came before it and not one that came after it; so none is left.
        let mut shared = lock(&self.shared);
        if shared.here.remove(partition) && !shared.by_pipeline.contains(partition) {
            self.tell(SourceCommand::Resume(vec![partition.clone()]));
        }
    }

    /// Pauses what waits, all when much does, and resumes what waits no more.
    fn mind_pauses(&self) {
        let wanted = |partition: &&TopicPartition| self.held_bytes > HELD_BYTES || self.held.contains_key(*partition);
        let mut shared = lock(&self.shared);
        if self.held.is_empty() && shared.here.is_empty() {
            return;
        }
        let wanted: BTreeSet<TopicPartition> = self.started.iter().filter(wanted).cloned().collect();
        let pause: Vec<TopicPartition> = wanted.difference(&shared.here).cloned().collect();
        let resume = shared.here.difference(&wanted).filter(|partition| !shared.by_pipeline.contains(*partition));
        let resume: Vec<TopicPartition> = resume.cloned().collect();
        if !pause.is_empty() {
            self.tell(SourceCommand::Pause(pause));
        }
        if !resume.is_empty() {
            self.tell(SourceCommand::Resume(resume));
        }
        shared.here = wanted;
    }

    /// A source that is gone ends its events too.
    fn tell(&self, command: SourceCommand) {
        if self.commands.send(command).is_err() {
            tracing::debug!("The source is gone and takes no command.");
        }
    }
}

#[cfg(test)]
mod tests;
