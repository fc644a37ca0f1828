//! The loop of one pipeline. Compute, decide and publish overlap; when one is free it takes everything that the one
//! before it has finished, up to a cap. There is no commit interval.
//!
//! `membership` hears the source · `claims` takes partitions over and halts them · `fold` minds the states of keys · `compute`
//! calls the function · `swaps` brings versions into force · `wanting` minds those that stand without theirs · `canary` watches them · `pauses` asks what an operator has paused · `decide` moves P · `publish` moves K · `drain` minds idle partitions and the end.

mod align;
mod canary;
mod claims;
mod compute;
mod decide;
mod drain;
mod fold;
mod membership;
mod pauses;
mod publish;
mod swaps;
mod wanting;

pub use align::{Align, Open};

use super::call::{Caller, Ended as SliceEnded, SliceError};
use super::claim::{ClaimError, Claimed, Room};
use super::partition::{Partition, Running};
use super::patient::Patient;
use super::safety::{Safety, without};
use super::version::Version;
use super::{Ended, Parts, Settings};
use crate::event::TopicPartition;
use crate::flow::Ending;
use crate::source::SourceCommand;
use decide::{DecideDone, Refused};
use fold::FoldDone;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use publish::{PublishDone, PublishRound};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often Q is written on an idle partition, the status is told, and paused work is looked at again.
const TICK: Duration = Duration::from_millis(250);

/// How long a full budget only keeps the source waiting. After that partitions are paused, which throws away what was fetched ahead.
const HOLD: Duration = Duration::from_millis(500);

/// Runs one pipeline until `stop` (drain) or `abort` (now), or until going on is pointless.
pub async fn run(settings: Arc<Settings>, parts: Parts, stop: CancellationToken, abort: CancellationToken) -> Ended {
    let driver = Driver::new(settings, parts);
    tokio::select! {
        ended = driver.run(stop) => ended,
        () = abort.cancelled() => Ended::Abandoned,
    }
}

struct ClaimDone {
    partition: TopicPartition,
    incarnation: u64,
    result: Result<Claimed, ClaimError>,
}

struct SliceDone {
    taken: Vec<(TopicPartition, u64, usize)>,
    result: Result<Vec<SliceEnded>, SliceError>,
}

struct Driver {
    settings: Arc<Settings>,
    parts: Parts,
    caller: Arc<Caller>,
    partitions: BTreeMap<TopicPartition, Partition>,
    incarnations: u64,
    room: Room,
    claims: FuturesUnordered<BoxFuture<'static, ClaimDone>>,
    slices: JoinSet<SliceDone>,
    folds: JoinSet<FoldDone>,
    /// Rounds on their way to Postgres, over partitions of their own.
    decides: FuturesUnordered<BoxFuture<'static, DecideDone>>,
    publish: Option<PublishRound>,
    /// Offsets of mode `postgres` on their way to the group.
    hint: Option<BoxFuture<'static, ()>>,
    hint_not_before: Instant,
    /// The suspects that this process named in a partition, from P on, each with its count: found again by a claim of its own it has
    /// killed nobody. All of them: that the last one was written is not sure, and then the row has the one before.
    named: BTreeMap<TopicPartition, BTreeMap<i64, i32>>,
    /// Partitions whose claim found a contradiction, which a second claim must confirm.
    doubted: BTreeSet<TopicPartition>,
    refused: BTreeMap<TopicPartition, Refused>,
    /// Revocations and claims that wait for the running publish round; dropping one lets it go on.
    after_round: Vec<oneshot::Sender<()>>,
    /// No publish round before this.
    publish_not_before: Instant,
    /// A lease whose generation Kafka refused, and when it may be tried again in spite of that.
    refused_lease: Option<(u64, Instant)>,
    publish_failures: u32,
    /// Since when nothing but halted partitions is held.
    all_halted_since: Option<Instant>,
    /// The caps of a publish round are halved this many times: rounds had no known end.
    publish_halvings: u32,
    /// Whose turn is over: the partition that was served last.
    last_decided: Option<TopicPartition>,
    last_published: Option<TopicPartition>,
    /// No decide round before this.
    decide_not_before: Instant,
    decide_failures: u32,
    /// Rounds that still carry one partition each, to find out whose data Postgres refuses.
    solo_rounds: u32,
    /// What alignment knows of the other workers' partitions.
    group: align::Group,
    /// What an operator has paused.
    pauses: pauses::Pauses,
    /// Which versions are wanted, and which are in memory.
    swaps: swaps::Swaps,
    /// How a canary does.
    watch: canary::Watch,
    draining: Option<Instant>,
    /// Since when the budget has been full, while nothing is paused for it.
    full_since: Option<Instant>,
    /// Everything is paused until half of the budget is free.
    full: bool,
    failed: Option<String>,
}

impl Driver {
    fn new(settings: Arc<Settings>, mut parts: Parts) -> Self {
        parts.store = Arc::new(Patient { inner: parts.store, patience: settings.store_patience });
        let caller =
            Arc::new(Caller { settings: settings.clone(), store: parts.store.clone(), observer: parts.observer.clone() });
        let base = Arc::new(Version::base(parts.function.clone()));
        let now = Instant::now();
        let (budget, waits) = (parts.budget.clone(), settings.align.is_none() || without(Safety::AlignedClaims));
        let room = Room { budget, held: Arc::default(), turn: Arc::new(Semaphore::new(1)), waits };
        Self {
            settings,
            parts,
            caller,
            partitions: BTreeMap::new(),
            incarnations: 0,
            room,
            claims: FuturesUnordered::new(),
            slices: JoinSet::new(),
            folds: JoinSet::new(),
            decides: FuturesUnordered::new(),
            publish: None,
            hint: None,
            hint_not_before: now,
            named: BTreeMap::new(),
            doubted: BTreeSet::new(),
            refused: BTreeMap::new(),
            after_round: Vec::new(),
            publish_not_before: now,
            refused_lease: None,
            publish_failures: 0,
            all_halted_since: None,
            publish_halvings: 0,
            last_decided: None,
            last_published: None,
            decide_not_before: now,
            decide_failures: 0,
            solo_rounds: 0,
            group: align::Group::default(),
            pauses: pauses::Pauses::default(),
            swaps: swaps::Swaps::new(base),
            watch: canary::Watch::default(),
            draining: None,
            full_since: None,
            full: false,
            failed: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.ask_for_pauses();
            self.ask_for_swaps();
            self.start_asking();
            self.start_folds();
            self.dispatch();
            self.start_decide();
            self.start_publish();
            self.start_hint();
            if let Some(ended) = self.ended() {
                // A halt that ends it would not be seen before the next tick.
                self.tell_status();
                return self.leave(ended).await;
            }
            tokio::select! {
                // What makes room comes before what fills it.
                biased;
                () = stop.cancelled(), if self.draining.is_none() => self.start_drain(),
                Some(done) = self.claims.next(), if !self.claims.is_empty() => self.on_claim(done),
                Some(done) = self.decides.next(), if !self.decides.is_empty() => self.on_decide(done),
                done = published(&mut self.publish) => { self.publish = None; self.on_publish(done); }
                () = round(&mut self.hint) => self.hint = None,
                answer = round(&mut self.pauses.asking) => { self.pauses.asking = None; self.on_pauses(answer); }
                answer = round(&mut self.swaps.asking) => { self.swaps.asking = None; self.on_wish(answer); }
                result = round(&mut self.watch.going_back) => { self.watch.going_back = None; self.on_back(result); }
                Some(done) = self.swaps.takes.next(), if !self.swaps.takes.is_empty() => self.on_take(done),
                Some(done) = self.swaps.loads.next(), if !self.swaps.loads.is_empty() => self.on_load(done),
                answer = round(&mut self.group.asking) => { self.group.asking = None; self.on_answer(answer); }
                Some(done) = self.slices.join_next(), if !self.slices.is_empty() => match done {
                    Ok(done) => self.on_slice(done),
                    Err(error) => self.failed = Some(format!("a slice task ended badly: {error}")),
                },
                Some(done) = self.folds.join_next(), if !self.folds.is_empty() => match done {
                    Ok(done) => self.on_fold(done),
                    Err(error) => self.failed = Some(format!("a fold task ended badly: {error}")),
                },
                _ = tick.tick() => self.on_tick(),
                event = self.parts.source.events.recv(), if !self.holds() => match event {
                    Some(event) => self.on_source(event),
                    None => self.failed = Some("the source ended without being asked".into()),
                },
            }
        }
    }

    /// The partitions, beginning after the one that was served last.
    fn turns(&self, last: Option<&TopicPartition>) -> Vec<TopicPartition> {
        let after = |partition: &&TopicPartition| last.is_none_or(|last| *partition > last);
        let (first, then): (Vec<_>, Vec<_>) = self.partitions.keys().partition(after);
        first.into_iter().chain(then).cloned().collect()
    }

    /// A source that is gone says so through its events.
    fn tell(&self, command: SourceCommand) {
        if self.parts.source.commands.send(command).is_err() {
            tracing::debug!("The source has ended; a command was dropped.");
        }
    }
}

/// The running state of a partition, when it is still the same stay.
fn current<'a>(
    partitions: &'a mut BTreeMap<TopicPartition, Partition>,
    partition: &TopicPartition,
    incarnation: u64,
) -> Option<&'a mut Running> {
    let same = |state: &&mut Partition| state.incarnation == incarnation || without(Safety::Incarnation);
    partitions.get_mut(partition).filter(same)?.running()
}

/// Waits for a round that may not be there.
async fn round<T>(round: &mut Option<BoxFuture<'static, T>>) -> T {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

async fn published(round: &mut Option<PublishRound>) -> PublishDone {
    match round {
        Some(round) => (&mut round.done).await,
        None => std::future::pending().await,
    }
}

/// Writes an ending, and returns the bytes of its records for the budget.
fn finish(running: &mut Running, offset: i64, ending: Ending) -> usize {
    let charged = running.ledger.finish(offset, ending);
    if charged.is_none() {
        tracing::error!(offset, "An event was ended twice; the first ending stands.");
    }
    charged.unwrap_or(0)
}
