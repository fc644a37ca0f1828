//! The loop of one pipeline. Compute, decide and publish overlap; when one is free it takes everything that the one
//! before it has finished, up to a cap. There is no commit interval.

use super::call::{Caller, Ended as SliceEnded, Item, SliceError, Suspect};
use super::claim::{self, ClaimError, Claimed};
use super::partition::{Decided, Partition, Phase, Running};
use super::{Ended, Parts, Settings};
use crate::event::{Position, RawEvent, Rejection, TopicPartition};
use crate::flow::Ending;
use crate::function::Input;
use crate::publisher::{CommittedOffsets, Publication, PublishError};
use crate::record::{self, Kind, Record};
use crate::source::{Lease, SourceCommand, SourceEvent};
use crate::store::{Advance, Mode, PartitionKey, PartitionRow, StoreError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Most records in one publish round.
const PUBLISH_RECORDS: usize = 50_000;
/// Most records in one decide round over all partitions.
const DECIDE_RECORDS: usize = 20_000;
/// Rounds of one partition each after Postgres refused the data of a shared one.
const SOLO_ROUNDS: u32 = 64;
/// How often Q is written on an idle partition, the status is told, and paused work is looked at again.
const TICK: Duration = Duration::from_millis(250);
/// Window of the dead-letter share, in events.
const SHARE_EVENTS: usize = 1_000;

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

struct DecideDone {
    /// Partition, incarnation, claim, from, to of each advance.
    round: Vec<(TopicPartition, u64, Uuid, i64, i64)>,
    result: Result<Vec<TopicPartition>, StoreError>,
    /// The rows of what did not move, read again.
    rows: HashMap<TopicPartition, Option<PartitionRow>>,
    seconds: f64,
}

struct PublishDone {
    /// Partition, incarnation, new K of each publication.
    round: Vec<(TopicPartition, u64, i64)>,
    lease: u64,
    records: usize,
    result: Result<(), PublishError>,
    /// K, read again after an outcome that is not known.
    committed: Option<CommittedOffsets>,
    seconds: f64,
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
    claims: FuturesUnordered<BoxFuture<'static, ClaimDone>>,
    slices: JoinSet<SliceDone>,
    decide: Option<BoxFuture<'static, DecideDone>>,
    publish: Option<BoxFuture<'static, PublishDone>>,
    /// Revocations that wait for the running publish round.
    leaving: Vec<oneshot::Sender<()>>,
    /// No publish round before this, and none under a lease of this number or older.
    publish_not_before: Instant,
    refused_lease: Option<u64>,
    publish_failures: u32,
    /// No decide round before this.
    decide_not_before: Instant,
    decide_failures: u32,
    /// Rounds that still carry one partition each, to find out whose data Postgres refuses.
    solo_rounds: u32,
    draining: Option<Instant>,
    full: bool,
    failed: Option<String>,
}

impl Driver {
    fn new(settings: Arc<Settings>, parts: Parts) -> Self {
        let caller = Arc::new(Caller {
            settings: settings.clone(),
            store: parts.store.clone(),
            function: parts.function.clone(),
            observer: parts.observer.clone(),
        });
        let now = Instant::now();
        Self {
            settings,
            parts,
            caller,
            partitions: BTreeMap::new(),
            incarnations: 0,
            claims: FuturesUnordered::new(),
            slices: JoinSet::new(),
            decide: None,
            publish: None,
            leaving: Vec::new(),
            publish_not_before: now,
            refused_lease: None,
            publish_failures: 0,
            decide_not_before: now,
            decide_failures: 0,
            solo_rounds: 0,
            draining: None,
            full: false,
            failed: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.dispatch();
            self.start_decide();
            self.start_publish();
            if let Some(ended) = self.ended() {
                return self.leave(ended).await;
            }
            tokio::select! {
                event = self.parts.source.events.recv() => match event {
                    Some(event) => self.on_source(event),
                    None => self.failed = Some("the source ended without being asked".into()),
                },
                Some(done) = self.claims.next(), if !self.claims.is_empty() => self.on_claim(done),
                Some(done) = self.slices.join_next(), if !self.slices.is_empty() => match done {
                    Ok(done) => self.on_slice(done),
                    Err(error) => self.failed = Some(format!("a slice task ended badly: {error}")),
                },
                done = pending(&mut self.decide) => { self.decide = None; self.on_decide(done); }
                done = pending(&mut self.publish) => { self.publish = None; self.on_publish(done); }
                () = stop.cancelled(), if self.draining.is_none() => self.start_drain(),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    // ---- source ----------------------------------------------------------------------------------------------------

    fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(records) => self.on_records(records),
            SourceEvent::Assigned { lease, partitions } => {
                for partition in partitions {
                    self.take_over(partition, lease.clone(), Duration::ZERO);
                }
            }
            SourceEvent::Started { partition, offset } => {
                if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) {
                    running.started |= running.decided == offset && running.ledger.next() == offset;
                }
            }
            SourceEvent::Revoked { partitions, done, .. } => self.on_revoked(partitions, done),
            SourceEvent::CaughtUp { partition, offset } => {
                if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) {
                    running.end = Some(offset);
                }
            }
            SourceEvent::Failed(error) => match error {
                crate::source::SourceError::OutOfRange { partition, detail } => {
                    self.halt(&partition, format!("the log does not hold the wanted position: {detail}. Events were removed by retention or the topic was made again; see `millrace adopt`."));
                }
                crate::source::SourceError::Fatal(detail) => self.failed = Some(detail),
            },
        }
    }

    /// Starts the claim of a partition, after `wait`. An earlier stay of it is forgotten.
    fn take_over(&mut self, partition: TopicPartition, lease: Arc<Lease>, wait: Duration) {
        self.forget(&partition);
        if self.draining.is_some() {
            return;
        }
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let provenance = &self.settings.provenance;
        let key = PartitionKey { pipeline: provenance.pipeline.clone(), run: provenance.run, partition: partition.clone() };
        self.partitions.insert(partition.clone(), Partition { key, incarnation, phase: Phase::Claiming });
        let (settings, store, publisher) = (self.settings.clone(), self.parts.store.clone(), self.parts.publisher.clone());
        self.claims.push(
            async move {
                tokio::time::sleep(wait).await;
                let result = claim::claim(&settings, &*store, &*publisher, lease, &partition).await;
                ClaimDone { partition, incarnation, result }
            }
            .boxed(),
        );
    }

    /// Drops what is held of a partition. What was decided is in Postgres, and what was not will be decided by its next owner.
    fn forget(&mut self, partition: &TopicPartition) {
        let Some(mut gone) = self.partitions.remove(partition) else { return };
        if let Some(running) = gone.running() {
            self.parts.budget.free(running.charged_bytes());
        }
    }

    fn on_revoked(&mut self, partitions: Vec<TopicPartition>, done: oneshot::Sender<()>) {
        for partition in &partitions {
            self.note_published(partition);
            self.forget(partition);
        }
        if self.publish.is_some() {
            self.leaving.push(done);
        }
        // Otherwise `done` is dropped here, which lets the source go on.
    }

    /// Writes Q on the way out: a proof of an orderly end, and a help for the next owner.
    fn note_published(&mut self, partition: &TopicPartition) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let key = state.key.clone();
        let Some(running) = state.running() else { return };
        let (claim, published, store) = (running.claim, running.published, self.parts.store.clone());
        running.noted = published;
        tokio::spawn(async move {
            if let Err(error) = store.published(&key, claim, published).await {
                tracing::debug!(partition = %key.partition, %error, "The published offset was not noted; it is only a late copy.");
            }
        });
    }

    fn on_records(&mut self, records: Vec<RawEvent>) {
        self.parts.observer.received(records.len());
        let settings = self.settings.clone();
        let mut bytes_in = 0;
        for raw in records {
            let partition = TopicPartition { topic: raw.position.topic.clone(), partition: raw.position.partition };
            let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) else { continue };
            if !running.started {
                continue; // Of an earlier stay: its offsets may lie above P.
            }
            let bytes = raw.cost_bytes();
            if !running.ledger.push(raw.position.offset, raw.timestamp_ms, bytes) {
                continue;
            }
            bytes_in += bytes;
            let offset = raw.position.offset;
            let rejected = if running.condemned == Some(offset) {
                Some((raw, Rejection::new("kills_process", "the process died twice while this event was in work alone")))
            } else {
                match (self.parts.decode)(raw) {
                    Ok(event) => {
                        running.buffer.push(event);
                        None
                    }
                    Err(rejected) => Some(rejected),
                }
            };
            if let Some((raw, rejection)) = rejected {
                let ending = self.caller.dead(&raw, &rejection);
                bytes_in += finish(running, offset, ending);
            }
            if !running.paused && running.ledger.len() >= settings.window {
                running.paused = true;
                send(&self.parts, SourceCommand::Pause(vec![partition]));
            }
        }
        self.parts.budget.charge(bytes_in);
        self.mind_budget();
    }

    /// Pauses everything when the budget is full, resumes at half; a partition over its window stays paused.
    fn mind_budget(&mut self) {
        if !self.full && self.parts.budget.is_full() {
            self.full = true;
            let mut pause = Vec::new();
            for (partition, state) in &mut self.partitions {
                if let Some(running) = state.running().filter(|running| !running.paused) {
                    running.paused = true;
                    pause.push(partition.clone());
                }
            }
            send(&self.parts, SourceCommand::Pause(pause));
        }
        if self.full && self.parts.budget.has_room() {
            self.full = false;
        }
        if self.full || self.draining.is_some() {
            return;
        }
        let mut resume = Vec::new();
        for (partition, state) in &mut self.partitions {
            if let Some(running) =
                state.running().filter(|running| running.paused && running.ledger.len() <= self.settings.window / 2)
            {
                running.paused = false;
                resume.push(partition.clone());
            }
        }
        if !resume.is_empty() {
            send(&self.parts, SourceCommand::Resume(resume));
        }
    }

    // ---- claim -----------------------------------------------------------------------------------------------------

    fn on_claim(&mut self, done: ClaimDone) {
        let ClaimDone { partition, incarnation, result } = done;
        let current = self.partitions.get(&partition).is_some_and(|state| state.incarnation == incarnation);
        if !current {
            return;
        }
        match result {
            Ok(claimed) => {
                let running = Running::new(claimed, self.settings.decide_events);
                tracing::info!(%partition, epoch = running.epoch, next_offset = running.decided, unpublished = running.queue.len(), "Claimed a partition.");
                self.parts.budget.charge(running.queue.iter().map(|decided| decided.bytes).sum());
                let offset = running.decided;
                if let Some(state) = self.partitions.get_mut(&partition) {
                    state.phase = Phase::Running(Box::new(running));
                }
                send(&self.parts, SourceCommand::Start { partition: partition.clone(), offset });
                if self.full || self.draining.is_some() {
                    if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) {
                        running.paused = true;
                    }
                    send(&self.parts, SourceCommand::Pause(vec![partition]));
                }
            }
            Err(ClaimError::Transient(detail)) => {
                tracing::warn!(%partition, detail, "A claim failed for now and is made again.");
                self.parts.observer.retried("claim");
                let lease = self.parts.source.lease.load_full();
                if lease.partitions.contains(&partition) {
                    self.take_over(partition, lease, self.settings.backoff * 4);
                } else {
                    self.forget(&partition);
                }
            }
            Err(ClaimError::Halt(reason)) => self.halt(&partition, reason),
            Err(ClaimError::Fatal(reason)) => self.failed = Some(reason),
        }
    }

    fn halt(&mut self, partition: &TopicPartition, reason: String) {
        tracing::error!(%partition, reason, "Halted a partition.");
        self.parts.observer.halted(partition, &reason);
        let Some(state) = self.partitions.get_mut(partition) else { return };
        if let Some(running) = state.running() {
            self.parts.budget.free(running.charged_bytes());
        }
        state.phase = Phase::Halted(reason);
        self.incarnations += 1;
        state.incarnation = self.incarnations;
        send(&self.parts, SourceCommand::Pause(vec![partition.clone()]));
    }

    // ---- compute ---------------------------------------------------------------------------------------------------

    /// Cuts slices across partitions while the function has room: the oldest head goes first.
    fn dispatch(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let limits = self.parts.function.spec().limits.clone();
        // While a partition is on probation its next event is alone in work, over all partitions: else a death would not tell whose it was.
        let mut probing = self.is_probing();
        if probing && !self.slices.is_empty() {
            return;
        }
        while self.slices.len() < if probing { 1 } else { limits.calls_in_flight } {
            let (mut items, mut taken, mut suspect) = (Vec::new(), Vec::new(), None);
            while items.len() < limits.slice && suspect.is_none() {
                let oldest = self
                    .partitions
                    .iter_mut()
                    .filter_map(|(partition, state)| {
                        let incarnation = state.incarnation;
                        let running = state.running()?;
                        if probing && (running.probation == 0 || !items.is_empty()) {
                            return None;
                        }
                        Some((running.buffer.head_ms()?, partition.clone(), incarnation))
                    })
                    .min();
                let Some((_, partition, incarnation)) = oldest else { break };
                let Some(state) = self.partitions.get_mut(&partition) else { break };
                let key = state.key.clone();
                let Some(running) = state.running() else { break };
                let room = if running.probation > 0 { 1 } else { limits.slice - items.len() };
                let before = items.len();
                items.extend(running.buffer.take(room).map(|event| Item { incarnation, input: Input { event } }));
                let count = items.len() - before;
                running.in_call += count;
                if running.probation > 0 {
                    running.probation -= 1;
                    suspect = items.last().map(|item| Suspect {
                        key,
                        claim: running.claim,
                        offset: item.input.event.raw.position.offset,
                    });
                }
                taken.push((partition, incarnation, count));
            }
            if items.is_empty() {
                return;
            }
            let caller = self.caller.clone();
            probing |= suspect.is_some();
            self.slices.spawn(async move { SliceDone { taken, result: caller.run(items, suspect).await } });
        }
    }

    /// Whether a partition on probation has an event that waits or is in work.
    fn is_probing(&mut self) -> bool {
        let mut running = self.partitions.values_mut().filter_map(Partition::running);
        running.any(|running| running.probation > 0 && (!running.buffer.is_empty() || running.in_call > 0))
    }

    fn on_slice(&mut self, done: SliceDone) {
        for (partition, incarnation, count) in &done.taken {
            if let Some(running) = current(&mut self.partitions, partition, *incarnation) {
                running.in_call -= count;
            }
        }
        match done.result {
            Ok(endings) => {
                let mut charged = 0;
                for SliceEnded { partition, incarnation, offset, ending } in endings {
                    if let Some(running) = current(&mut self.partitions, &partition, incarnation) {
                        charged += finish(running, offset, ending);
                    }
                }
                self.parts.budget.charge(charged);
            }
            Err(SliceError::Superseded) => {
                for (partition, incarnation, _) in done.taken {
                    if current(&mut self.partitions, &partition, incarnation).is_some() {
                        self.superseded(partition);
                    }
                }
            }
            Err(SliceError::Fatal(reason)) => self.failed = Some(reason),
        }
    }

    /// Another worker holds the claim. If the lease still says that the partition is ours, claim it again after a while.
    fn superseded(&mut self, partition: TopicPartition) {
        tracing::warn!(%partition, "Another worker has claimed the partition.");
        self.note_published(&partition);
        let lease = self.parts.source.lease.load_full();
        if lease.partitions.contains(&partition) {
            send(&self.parts, SourceCommand::Pause(vec![partition.clone()]));
            self.take_over(partition, lease, self.settings.backoff * 32);
        } else {
            self.forget(&partition);
        }
    }

    // ---- decide ----------------------------------------------------------------------------------------------------

    fn start_decide(&mut self) {
        if self.decide.is_some() || Instant::now() < self.decide_not_before {
            return;
        }
        let (mut round, mut ids, mut records_in_round, mut halts) = (Vec::new(), Vec::new(), 0, Vec::new());
        for (partition, state) in &mut self.partitions {
            let incarnation = state.incarnation;
            let Some(running) = state.running() else { continue };
            if records_in_round >= DECIDE_RECORDS || (self.solo_rounds > 0 && !round.is_empty()) {
                break;
            }
            if running.deciding.is_none() {
                let Some(prefix) = running.ledger.take_prefix(running.decide_cap) else { continue };
                if too_many_dead(running, &prefix, self.settings.max_dead_share) {
                    halts.push((partition.clone(), running.share));
                    running.ledger.restore(prefix);
                    continue;
                }
                running.deciding = Some(prefix);
            }
            let Some(prefix) = &running.deciding else { continue };
            records_in_round += prefix.records.len();
            ids.push((partition.clone(), incarnation, running.claim, prefix.from, prefix.to));
            round.push(Advance {
                partition: partition.clone(),
                claim: running.claim,
                from: prefix.from,
                to: prefix.to,
                event_time_ms: Some(prefix.newest_ms),
                events: prefix.events.len() as i64,
                skipped: prefix.skipped,
                dead: prefix.dead,
                published_offset: if self.settings.mode == Mode::Both { running.published } else { prefix.to },
                records: prefix.records.clone(),
            });
        }
        for (partition, (ended, dead)) in halts {
            let share = self.settings.max_dead_share;
            self.halt(&partition, format!(
                "{dead} of the last {ended} events are dead letters, more than the share {share} that `max_dead_share` allows: the topic or \
                 its producer has changed. Nothing of them was decided; look at the reasons in the log, mend the cause or raise the share, \
                 and start again."
            ));
        }
        if round.is_empty() {
            return;
        }
        let (store, settings) = (self.parts.store.clone(), self.settings.clone());
        self.decide = Some(
            async move {
                let started = Instant::now();
                let result = store.decide(&settings.provenance, &round).await;
                let fresh = result.is_err();
                let mut rows = HashMap::new();
                if !matches!(result, Err(StoreError::Data(_) | StoreError::Fatal(_))) {
                    let moved = result.as_deref().unwrap_or_default();
                    for advance in round.iter().filter(|advance| !moved.contains(&advance.partition)) {
                        let provenance = &settings.provenance;
                        let key = PartitionKey {
                            pipeline: provenance.pipeline.clone(),
                            run: provenance.run,
                            partition: advance.partition.clone(),
                        };
                        // Without an answer here the outcome stays open: the same advance is sent again, and the row decides.
                        if let Ok(row) = store.read(&key, fresh).await {
                            rows.insert(advance.partition.clone(), row);
                        }
                    }
                }
                DecideDone { round: ids, result, rows, seconds: started.elapsed().as_secs_f64() }
            }
            .boxed(),
        );
    }

    fn on_decide(&mut self, done: DecideDone) {
        let moved = match done.result {
            Ok(moved) => {
                self.decide_failures = 0;
                self.solo_rounds = self.solo_rounds.saturating_sub(1);
                moved
            }
            Err(StoreError::Transient(detail)) => {
                tracing::warn!(detail, "A decide round has no clear answer; the rows are read again.");
                self.parts.observer.retried("decide");
                self.decide_failures += 1;
                self.decide_not_before = Instant::now() + self.settings.backoff * 2u32.pow(self.decide_failures.min(5));
                Vec::new()
            }
            Err(StoreError::Data(detail)) => return self.on_refused(done.round, &detail),
            Err(StoreError::Fatal(detail)) => {
                self.failed = Some(detail);
                return;
            }
        };
        for (partition, incarnation, claim, from, to) in done.round {
            if current(&mut self.partitions, &partition, incarnation).is_none() {
                continue;
            }
            if moved.contains(&partition) {
                self.decided(&partition, incarnation, done.seconds);
                continue;
            }
            // Not returned: the row tells what happened.
            match done.rows.get(&partition) {
                None => {}
                Some(Some(row)) if row.claim == claim && row.next_offset == to => {
                    self.decided(&partition, incarnation, done.seconds)
                }
                Some(Some(row)) if row.claim == claim && row.next_offset == from => {}
                Some(Some(row))
                    if row.claim != claim
                        && current(&mut self.partitions, &partition, incarnation)
                            .is_some_and(|running| row.epoch > running.epoch) =>
                {
                    self.superseded(partition);
                }
                Some(row) => {
                    let found = row
                        .as_ref()
                        .map_or("no row".to_owned(), |row| format!("epoch {} and next offset {}", row.epoch, row.next_offset));
                    self.halt(&partition, format!(
                        "Postgres went back: this worker decided up to {from}, and the row now says {found}. A backup was restored or a \
                         standby without the last commits took over. Find out which, compare with `millrace verify`, then start again."
                    ));
                }
            }
        }
    }

    /// Postgres refuses the data: halve until one event is left, which becomes a dead letter.
    fn on_refused(&mut self, round: Vec<(TopicPartition, u64, Uuid, i64, i64)>, detail: &str) {
        let alone = round.len() == 1;
        if !alone {
            self.solo_rounds = SOLO_ROUNDS;
        }
        for (partition, incarnation, ..) in round {
            let Some(running) = current(&mut self.partitions, &partition, incarnation) else { continue };
            let Some(mut prefix) = running.deciding.take() else { continue };
            if !alone {
                // Nobody is to blame yet: each partition goes again by itself.
                running.ledger.restore(prefix);
                continue;
            }
            if prefix.events.len() == 1 {
                if prefix.records.iter().any(|record| record.kind == Kind::DeadLetter) {
                    self.failed =
                        Some(format!("{partition}: Postgres refuses even the dead letter of offset {}: {detail}", prefix.from));
                    return;
                }
                tracing::warn!(%partition, offset = prefix.from, detail, "Postgres refuses the record of an event; the event becomes a dead letter.");
                self.parts.observer.rejected("refused_by_store");
                let position =
                    Position { topic: partition.topic.clone(), partition: partition.partition, offset: prefix.events[0].offset };
                let letter = record::refused(&self.settings.provenance, &position, &self.settings.dead_letter_topic, detail);
                prefix.records = Arc::new(vec![letter]);
            }
            running.decide_cap = (prefix.events.len() / 2).max(1);
            running.ledger.restore(prefix);
        }
    }

    fn decided(&mut self, partition: &TopicPartition, incarnation: u64, seconds: f64) {
        let settings = self.settings.clone();
        let Some(running) = current(&mut self.partitions, partition, incarnation) else { return };
        let Some(prefix) = running.deciding.take() else { return };
        let events = prefix.events.len();
        running.decided = prefix.to;
        running.events += events as i64;
        running.skipped += prefix.skipped;
        running.dead += prefix.dead;
        running.records += prefix.records.len() as i64;
        running.decide_cap = (running.decide_cap * 2).min(settings.decide_events);
        if settings.mode == Mode::Both {
            // The events are gone, their records stay until they are published.
            let bytes = prefix.records.iter().map(Record::cost_bytes).sum();
            running.queue.push_back(Decided { to: prefix.to, records: prefix.records.clone(), bytes });
            self.parts.budget.charge(bytes);
        }
        self.parts.budget.free(prefix.bytes);
        let timestamps: Vec<i64> = prefix.events.iter().map(|event| event.timestamp_ms).collect();
        self.parts.observer.decided(partition, &prefix.records, seconds, &timestamps);
        self.mind_budget();
    }

    // ---- publish ---------------------------------------------------------------------------------------------------

    fn start_publish(&mut self) {
        if self.publish.is_some() || self.settings.mode != Mode::Both || Instant::now() < self.publish_not_before {
            return;
        }
        let lease = self.parts.source.lease.load_full();
        if self.refused_lease.is_some_and(|refused| lease.number <= refused) {
            return;
        }
        let (mut round, mut ids, mut records_in_round) = (Vec::new(), Vec::new(), 0);
        for (partition, state) in &mut self.partitions {
            let (key, incarnation) = (state.key.clone(), state.incarnation);
            let Some(running) = state.running() else { continue };
            if running.queue.is_empty() || records_in_round >= PUBLISH_RECORDS || !lease.partitions.contains(partition) {
                continue;
            }
            let (mut records, mut to, mut total) = (Vec::new(), running.published, running.published_records);
            for decided in &running.queue {
                if records_in_round >= PUBLISH_RECORDS {
                    break;
                }
                running.publishing += 1;
                records_in_round += decided.records.len();
                total += decided.records.len() as i64;
                to = decided.to;
                records.push(above(&decided.records, running.publish_floor));
            }
            if to < running.published {
                to = running.published; // Still below what was published before the database lost it.
                total = running.published_records;
            }
            ids.push((partition.clone(), incarnation, to));
            round.push(Publication {
                pipeline: key.pipeline,
                run: key.run,
                partition: partition.clone(),
                to,
                records_total: total,
                records,
            });
        }
        if round.is_empty() {
            return;
        }
        let (publisher, number) = (self.parts.publisher.clone(), lease.number);
        let names: Vec<TopicPartition> = ids.iter().map(|(partition, ..)| partition.clone()).collect();
        self.publish = Some(
            async move {
                let started = Instant::now();
                let result = publisher.publish(lease, round).await;
                let committed = match &result {
                    Err(PublishError::Indefinite(_)) => publisher.committed(&names).await.ok(),
                    _ => None,
                };
                PublishDone {
                    round: ids,
                    lease: number,
                    records: records_in_round,
                    result,
                    committed,
                    seconds: started.elapsed().as_secs_f64(),
                }
            }
            .boxed(),
        );
    }

    fn on_publish(&mut self, done: PublishDone) {
        self.leaving.clear();
        let PublishDone { round, lease, records, result, committed, seconds } = done;
        match result {
            Ok(()) => {
                self.publish_failures = 0;
                self.parts.observer.published(records, seconds);
                for (partition, incarnation, to) in round {
                    self.published(&partition, incarnation, to);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "A publish round did not go through.");
                self.parts.observer.retried("publish");
                self.publish_failures += 1;
                self.publish_not_before = Instant::now() + self.settings.backoff * 2u32.pow(self.publish_failures.min(5));
                if let PublishError::Aborted { stale_lease: true, .. } = &error {
                    self.refused_lease = Some(lease);
                }
                for (partition, incarnation, to) in round {
                    let Some(running) = current(&mut self.partitions, &partition, incarnation) else { continue };
                    let before = running.published;
                    match &error {
                        PublishError::Indefinite(_) => {
                            let k =
                                committed.as_ref().map(|all| all.iter().find(|(of, _)| *of == partition).and_then(|(_, k)| *k));
                            match k {
                                None => self.take_over_again(partition),
                                Some(Some(k)) if k.offset == to => self.published(&partition, incarnation, to),
                                Some(Some(k)) if k.offset == before => running.publishing = 0,
                                Some(_) => self.take_over_again(partition),
                            }
                        }
                        PublishError::Impossible { partition: bad, detail } if *bad == partition => {
                            let reason = format!(
                                "its records can never be published: {detail}. Mend the topic or its rights and start again."
                            );
                            self.halt(&partition, reason);
                        }
                        PublishError::Fatal(_) | PublishError::Aborted { .. } | PublishError::Impossible { .. } => {
                            running.publishing = 0
                        }
                    }
                }
                if let PublishError::Fatal(detail) = error {
                    self.failed = Some(detail);
                }
            }
        }
    }

    /// K is not what this worker left: start again at step 1, which compares and halts where it must.
    fn take_over_again(&mut self, partition: TopicPartition) {
        self.note_published(&partition);
        let lease = self.parts.source.lease.load_full();
        send(&self.parts, SourceCommand::Pause(vec![partition.clone()]));
        if lease.partitions.contains(&partition) {
            self.take_over(partition, lease, self.settings.backoff);
        } else {
            self.forget(&partition);
        }
    }

    fn published(&mut self, partition: &TopicPartition, incarnation: u64, to: i64) {
        let Some(running) = current(&mut self.partitions, partition, incarnation) else { return };
        let mut freed = 0;
        for _ in 0..std::mem::take(&mut running.publishing) {
            if let Some(decided) = running.queue.pop_front() {
                running.published_records += decided.records.len() as i64;
                freed += decided.bytes;
            }
        }
        running.published = running.published.max(to);
        self.parts.budget.free(freed);
        self.mind_budget();
    }

    // ---- idle, drain, end ------------------------------------------------------------------------------------------

    fn on_tick(&mut self) {
        let idle: Vec<TopicPartition> = self
            .partitions
            .iter_mut()
            .filter_map(|(partition, state)| {
                let running = state.running()?;
                (running.is_settled() && running.noted < running.published).then(|| partition.clone())
            })
            .collect();
        for partition in idle {
            self.note_published(&partition);
        }
        self.mind_budget();
        let views = self.partitions.values().map(|state| state.view(self.settings.mode)).collect();
        self.parts.observer.status(views, self.parts.budget.used());
    }

    fn start_drain(&mut self) {
        tracing::info!(deadline = ?self.settings.drain, "Draining: what is in work is finished, nothing new is started.");
        self.draining = Some(Instant::now() + self.settings.drain);
        send(&self.parts, SourceCommand::Pause(self.partitions.keys().cloned().collect()));
    }

    fn ended(&mut self) -> Option<Ended> {
        if let Some(reason) = self.failed.take() {
            return Some(Ended::Failed(reason));
        }
        let mut first = None;
        let all_halted = !self.partitions.is_empty()
            && self.partitions.values().all(|state| match &state.phase {
                Phase::Halted(reason) => {
                    first.get_or_insert_with(|| reason.clone());
                    true
                }
                _ => false,
            });
        if all_halted {
            return first.map(Ended::Halted);
        }
        let deadline = self.draining?;
        let lease = self.parts.source.lease.load();
        let settled = self.slices.is_empty()
            && self.decide.is_none()
            && self.publish.is_none()
            && self.partitions.values_mut().all(|state| {
                let ours = lease.partitions.contains(&state.key.partition);
                state.running().is_none_or(|running| running.is_settled() || !ours)
            });
        if settled {
            Some(Ended::Drained)
        } else if Instant::now() >= deadline {
            Some(Ended::Abandoned)
        } else {
            None
        }
    }

    /// Notes Q, leaves the group, and waits a bounded while for the source to say so.
    async fn leave(mut self, ended: Ended) -> Ended {
        self.slices.abort_all();
        if ended == Ended::Drained {
            for state in self.partitions.values_mut() {
                let key = state.key.clone();
                if let Some(running) = state.running() {
                    let noted = self.parts.store.published(&key, running.claim, running.published).await;
                    if let Err(error) = noted {
                        tracing::debug!(partition = %key.partition, %error, "The published offset was not noted; it is only a late copy.");
                    }
                }
            }
        }
        for partition in self.partitions.keys().cloned().collect::<Vec<_>>() {
            self.forget(&partition);
        }
        send(&self.parts, SourceCommand::Stop);
        let goodbye = async { while self.parts.source.events.recv().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(5), goodbye).await.is_err() {
            tracing::warn!("The source did not end in time; the group will notice by itself.");
        }
        ended
    }
}

/// The running state of a partition, when it is still the same stay.
fn current<'a>(
    partitions: &'a mut BTreeMap<TopicPartition, Partition>,
    partition: &TopicPartition,
    incarnation: u64,
) -> Option<&'a mut Running> {
    partitions.get_mut(partition).filter(|state| state.incarnation == incarnation)?.running()
}

/// Waits for a round that may not be there.
async fn pending<T>(round: &mut Option<BoxFuture<'static, T>>) -> T {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

/// A source that is gone says so through its events.
fn send(parts: &Parts, command: SourceCommand) {
    if parts.source.commands.send(command).is_err() {
        tracing::debug!("The source has ended; a command was dropped.");
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

/// The records at or above `floor`.
fn above(records: &Arc<Vec<Record>>, floor: i64) -> Arc<Vec<Record>> {
    match records.first() {
        Some(first) if first.offset < floor => {
            Arc::new(records.iter().filter(|record| record.offset >= floor).cloned().collect())
        }
        _ => records.clone(),
    }
}

fn too_many_dead(running: &mut Running, prefix: &crate::flow::Prefix, share: f64) -> bool {
    let (ended, dead) = &mut running.share;
    if *ended >= SHARE_EVENTS {
        (*ended, *dead) = (0, 0);
    }
    *ended += prefix.events.len();
    *dead += prefix.dead as usize;
    *ended >= 100 && (*dead as f64) > share * (*ended as f64)
}
