//! A source that ends: of each partition it brings what stands below an offset, no faster than it may, and not while it has to wait.
//!
//! Stands between a source and its pipeline. At its bound a partition is told as caught up and paused; other events pass as they are.

use super::{SourceCommand, SourceEvent, SourceHandle};
use crate::event::{RawEvent, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How far each partition was brought: the offset after its last event below the bound, of which nothing is known before one came.
#[derive(Debug, Default)]
pub struct Brought(Mutex<BTreeMap<TopicPartition, i64>>);

impl Brought {
    pub fn to(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(partition).copied()
    }

    /// An event that is brought a second time takes nothing back.
    pub fn bring(&self, partition: TopicPartition, to: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(partition).or_insert(to);
        *known = to.max(*known);
    }
}

/// What is brought, and when.
pub struct Bounds {
    /// The offset after the last of each partition.
    pub until: BTreeMap<TopicPartition, i64>,
    /// Events a second at most; `None` is as fast as they are taken.
    pub rate: Option<f64>,
    /// While it is true nothing is brought.
    pub waits: watch::Receiver<bool>,
    /// Told before the events are on their way, and so before the end of their partition.
    pub brought: Arc<Brought>,
}

/// Parts of a second into which a rate is cut.
const PARTS: f64 = 10.0;

/// What both directions know.
#[derive(Clone)]
struct Shared {
    ended: Arc<Mutex<BTreeSet<TopicPartition>>>,
    stopped: CancellationToken,
}

impl Shared {
    fn ended(&self) -> MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same source, within bounds.
pub fn bounded(inner: SourceHandle, bounds: Bounds) -> SourceHandle {
    let (events_in, events) = mpsc::channel(1);
    let (commands, commands_out) = mpsc::unbounded_channel();
    let shared = Shared { ended: Arc::default(), stopped: CancellationToken::new() };
    let SourceHandle { events: from, commands: to, lease, polled_at_ms, read_to } = inner;
    tokio::spawn(obey(commands_out, to.clone(), shared.clone()));
    let forward = Forward { to: events_in, commands: to, bounds, shared, not_before: Instant::now() };
    tokio::spawn(forward.run(from));
    SourceHandle { events, commands, lease, polled_at_ms, read_to }
}

/// Hands commands on; a partition that has come to its end flows again when it is started anew, and not before.
async fn obey(mut from: mpsc::UnboundedReceiver<SourceCommand>, to: mpsc::UnboundedSender<SourceCommand>, shared: Shared) {
    while let Some(command) = from.recv().await {
        let command = match command {
            SourceCommand::Resume(mut partitions) => {
                partitions.retain(|partition| !shared.ended().contains(partition));
                SourceCommand::Resume(partitions)
            }
            other => other,
        };
        let stops = command == SourceCommand::Stop;
        if to.send(command).is_err() || stops {
            break;
        }
    }
    shared.stopped.cancel();
}

struct Forward {
    to: mpsc::Sender<SourceEvent>,
    commands: mpsc::UnboundedSender<SourceCommand>,
    bounds: Bounds,
    shared: Shared,
    /// When the next events may go.
    not_before: Instant,
}

impl Forward {
    /// Until the source or the pipeline is gone.
    async fn run(mut self, mut from: mpsc::Receiver<SourceEvent>) {
        while let Some(event) = from.recv().await {
            let passed = match event {
                SourceEvent::Records(records) => self.records(records).await,
                SourceEvent::Started { partition, offset } => self.started(partition, offset).await,
                other => self.to.send(other).await.is_ok(),
            };
            if !passed {
                break;
            }
        }
    }

    /// What came before it was of an earlier stay, its end too.
    async fn started(&mut self, partition: TopicPartition, offset: i64) -> bool {
        let had_ended = self.shared.ended().remove(&partition);
        let resumed = !had_ended || self.commands.send(SourceCommand::Resume(vec![partition.clone()])).is_ok();
        resumed && self.to.send(SourceEvent::Started { partition, offset }).await.is_ok()
    }

    async fn records(&mut self, records: Vec<RawEvent>) -> bool {
        let (records, ended) = self.within(records);
        let mut records = records.into_iter();
        loop {
            let piece: Vec<RawEvent> = records.by_ref().take(self.at_once()).collect();
            if piece.is_empty() {
                break;
            }
            self.turn(piece.len()).await;
            if self.to.send(SourceEvent::Records(piece)).await.is_err() {
                return false;
            }
        }
        for (partition, offset) in ended {
            // A source that is gone ends its events too.
            if self.commands.send(SourceCommand::Pause(vec![partition.clone()])).is_err() {
                return false;
            }
            if self.to.send(SourceEvent::CaughtUp { partition, offset }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// What stands below the bounds, and the partitions that have come to theirs.
    fn within(&self, mut records: Vec<RawEvent>) -> (Vec<RawEvent>, Vec<(TopicPartition, i64)>) {
        let mut newly = Vec::new();
        let mut ended = self.shared.ended();
        records.retain(|raw| {
            let partition = TopicPartition::new(raw.position.topic.clone(), raw.position.partition);
            let until = self.bounds.until.get(&partition).copied().unwrap_or(i64::MIN);
            if raw.position.offset + 1 >= until && ended.insert(partition.clone()) {
                newly.push((partition.clone(), until));
            }
            let below = raw.position.offset < until;
            if below {
                self.bounds.brought.bring(partition, raw.position.offset + 1);
            }
            below
        });
        (records, newly)
    }

    fn at_once(&self) -> usize {
        self.bounds.rate.map_or(usize::MAX, |rate| (rate / PARTS).max(1.0) as usize)
    }

    /// Waits until so many events may go, or until nothing is wanted any more.
    async fn turn(&mut self, events: usize) {
        let stopped = self.shared.stopped.clone();
        let may_go = async {
            loop {
                let waits = *self.bounds.waits.borrow_and_update();
                // Who said that it has to wait and is gone says nothing any more.
                if !waits || self.bounds.waits.changed().await.is_err() {
                    break;
                }
            }
            tokio::time::sleep_until(self.not_before).await;
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = may_go => {}
        }
        if let Some(rate) = self.bounds.rate {
            self.not_before = self.not_before.max(Instant::now()) + Duration::from_secs_f64(events as f64 / rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use crate::source::Lease;
    use arc_swap::ArcSwap;

    struct Ends {
        inner: mpsc::Sender<SourceEvent>,
        obeyed: mpsc::UnboundedReceiver<SourceCommand>,
        waits: watch::Sender<bool>,
        brought: Arc<Brought>,
        outer: SourceHandle,
    }

    fn source(until: &[(i32, i64)], rate: Option<f64>) -> Ends {
        let (inner, events) = mpsc::channel(8);
        let (commands, obeyed) = mpsc::unbounded_channel();
        let lease = Lease { number: 0, partitions: BTreeMap::new(), metadata: None };
        let handle = SourceHandle {
            events,
            commands,
            lease: Arc::new(ArcSwap::from_pointee(lease)),
            polled_at_ms: Arc::default(),
            read_to: Arc::default(),
        };
        let (waits, waiting) = watch::channel(false);
        let until = until.iter().map(|(number, until)| (TopicPartition::new("t", *number), *until)).collect();
        let brought = Arc::<Brought>::default();
        let outer = bounded(handle, Bounds { until, rate, waits: waiting, brought: brought.clone() });
        Ends { inner, obeyed, waits, brought, outer }
    }

    fn records(partition: i32, offsets: std::ops::Range<i64>) -> SourceEvent {
        let raw = |offset| RawEvent {
            position: Position { topic: "t".into(), partition, offset },
            timestamp_ms: 0,
            key: None,
            payload: None,
            headers: Vec::new(),
        };
        SourceEvent::Records(offsets.map(raw).collect())
    }

    async fn offsets(outer: &mut SourceHandle) -> Vec<i64> {
        match outer.events.recv().await {
            Some(SourceEvent::Records(records)) => records.iter().map(|raw| raw.position.offset).collect(),
            other => panic!("no records: {other:?}"),
        }
    }

    /// Would catch: an event beyond the bound, a partition that never ends or that is resumed after its end, one that ends another.
    #[tokio::test]
    async fn a_partition_ends_at_its_bound_and_the_others_go_on() {
        let Ends { inner, mut obeyed, waits: _waits, brought, mut outer } = source(&[(0, 5), (1, 100)], None);
        inner.send(records(0, 2..8)).await.unwrap();
        inner.send(records(1, 0..3)).await.unwrap();
        assert_eq!(offsets(&mut outer).await, [2, 3, 4]);
        let ended = TopicPartition::new("t", 0);
        assert!(matches!(outer.events.recv().await, Some(SourceEvent::CaughtUp { partition, offset: 5 }) if partition == ended));
        assert_eq!(offsets(&mut outer).await, [0, 1, 2]);
        let to = |number| brought.to(&TopicPartition::new("t", number));
        assert_eq!((to(0), to(1), to(2)), (Some(5), Some(3), None));
        assert_eq!(obeyed.recv().await, Some(SourceCommand::Pause(vec![ended.clone()])));
        let other = TopicPartition::new("t", 1);
        outer.commands.send(SourceCommand::Resume(vec![ended.clone(), other.clone()])).unwrap();
        assert_eq!(obeyed.recv().await, Some(SourceCommand::Resume(vec![other])));
        // What is still on its way when it is started anew belongs to the stay before.
        for hole in [4..5, 9..10] {
            outer.commands.send(SourceCommand::Start { partition: ended.clone(), offset: 4 }).unwrap();
            assert!(matches!(obeyed.recv().await, Some(SourceCommand::Start { .. })));
            inner.send(records(0, 5..9)).await.unwrap();
            inner.send(SourceEvent::Started { partition: ended.clone(), offset: 4 }).await.unwrap();
            assert!(matches!(outer.events.recv().await, Some(SourceEvent::Started { .. })));
            assert_eq!(obeyed.recv().await, Some(SourceCommand::Resume(vec![ended.clone()])));
            let below = hole.start < 5;
            inner.send(records(0, hole)).await.unwrap();
            if below {
                assert_eq!(offsets(&mut outer).await, [4]);
            }
            assert!(matches!(outer.events.recv().await, Some(SourceEvent::CaughtUp { .. })));
            assert!(matches!(obeyed.recv().await, Some(SourceCommand::Pause(_))));
        }
    }

    /// Would catch: a rate that is a burst, a wait that is passed over, a stop that waits for either.
    #[tokio::test(start_paused = true)]
    async fn events_come_no_faster_than_they_may() {
        let Ends { inner, obeyed: _obeyed, waits, mut outer, .. } = source(&[(0, 1_000)], Some(20.0));
        let started = Instant::now();
        inner.send(records(0, 0..40)).await.unwrap();
        for _ in 0..20 {
            assert_eq!(offsets(&mut outer).await.len(), 2);
        }
        let took = started.elapsed().as_secs_f64();
        assert!((1.7..2.1).contains(&took), "40 events at 20 a second took {took} s");
        waits.send(true).unwrap();
        inner.send(records(0, 40..50)).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(60), outer.events.recv()).await.is_err(), "it has to wait");
        waits.send(false).unwrap();
        assert_eq!(offsets(&mut outer).await, [40, 41]);
        waits.send(true).unwrap();
        outer.commands.send(SourceCommand::Stop).unwrap();
        drop(inner);
        while tokio::time::timeout(Duration::from_secs(1), outer.events.recv()).await.expect("a stop ends all waits").is_some() {}
    }
}
