//! What the source tells: leases, records, the ends of logs. Also the memory budget, which says when to pause.

use super::{ClaimDone, Driver, HOLD, align, finish, fold, wanting};
use crate::event::{RawEvent, Rejection, TopicPartition};
use crate::pipeline::claim;
use crate::pipeline::memory::{Place, Then};
use crate::pipeline::partition::{Partition, Phase, Running};
use crate::pipeline::safety::{Safety, without};
use crate::source::{Lease, SourceCommand, SourceError, SourceEvent};
use crate::store::PartitionKey;
use futures_util::FutureExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

impl Driver {
    pub(super) fn on_source(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Records(records) => self.on_records(records),
            SourceEvent::Assigned { lease, partitions } => {
                for partition in partitions {
                    self.take_over(partition, lease.clone(), Duration::ZERO);
                }
            }
            SourceEvent::Started { partition, offset } => {
                if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) {
                    running.started |= !running.parked && running.start() == offset && running.ledger.next() == running.decided;
                }
            }
            SourceEvent::Revoked { partitions, done, .. } => self.on_revoked(partitions, done),
            SourceEvent::CaughtUp { partition, offset } => {
                let is_ours = |running: &&mut Running| running.started;
                if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running).filter(is_ours) {
                    running.caught_up(offset);
                }
            }
            SourceEvent::Waits { partition } => {
                if let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) {
                    running.end = None;
                }
            }
            SourceEvent::Failed(error) => match error {
                SourceError::OutOfRange { partition, detail } => {
                    self.halt(&partition, format!("the log does not hold the wanted position: {detail}. Events were removed by retention or the topic was made again; see `millrace adopt`."));
                }
                SourceError::Fatal(detail) => self.failed = Some(detail),
            },
        }
    }

    /// Starts the claim of a partition, after `wait`. An earlier stay of it is forgotten; a publish round that still carries
    /// it comes to its end first, or the claim would bring back what that round is about to publish.
    pub(super) fn take_over(&mut self, partition: TopicPartition, lease: Arc<Lease>, wait: Duration) {
        self.forget(&partition);
        if self.draining.is_some() {
            return;
        }
        let Some(since) = lease.partitions.get(&partition).copied() else { return };
        self.incarnations += 1;
        let incarnation = self.incarnations;
        let provenance = &self.settings.provenance;
        let key = PartitionKey { pipeline: provenance.pipeline.clone(), run: provenance.run, partition: partition.clone() };
        let pause = self.pauses.of(&partition);
        self.partitions.insert(partition.clone(), Partition { key, incarnation, since, pause, phase: Phase::Claiming });
        let (ended, round) = oneshot::channel::<()>();
        if self.is_publishing(&partition) && !without(Safety::ClaimAfterRound) {
            tracing::info!(%partition, "A claim waits for the publish round that still carries the partition.");
            self.after_round.push(ended);
        } else {
            drop(ended);
        }
        let (settings, store, publisher) = (self.settings.clone(), self.parts.store.clone(), self.parts.publisher.clone());
        let room = self.room.clone();
        self.claims.push(
            async move {
                round.await.unwrap_or_default();
                tokio::time::sleep(wait).await;
                let result = claim::claim(&settings, &*store, &*publisher, &room, lease, &partition).await;
                ClaimDone { partition, incarnation, result }
            }
            .boxed(),
        );
    }

    /// Drops what is held of a partition. What was decided is in Postgres, and what was not will be decided by its next owner.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        let Some(mut gone) = self.partitions.remove(partition) else { return };
        if let Some(running) = gone.running() {
            self.parts.budget.free(running.charged_bytes());
        }
    }

    pub(super) fn on_revoked(&mut self, partitions: Vec<TopicPartition>, done: oneshot::Sender<()>) {
        for partition in &partitions {
            self.note(partition, true);
            self.forget(partition);
            self.doubted.remove(partition);
            self.refused.remove(partition);
        }
        if partitions.iter().any(|partition| self.is_publishing(partition)) {
            self.after_round.push(done);
        }
        // Otherwise `done` is dropped here, which lets the source go on.
    }

    /// Writes Q: a help for the next owner.
    pub(super) fn note_published(&mut self, partition: &TopicPartition) {
        self.note(partition, false);
    }

    /// Writes Q on the way out. `handover`: a proof of an orderly end, so that nothing is suspected any more.
    fn note(&mut self, partition: &TopicPartition, handover: bool) {
        let Some(state) = self.partitions.get_mut(partition) else { return };
        let key = state.key.clone();
        let Some(running) = state.running() else { return };
        let (claim, published, store) = (running.claim, running.published, self.parts.store.clone());
        running.noted = published;
        tokio::spawn(async move {
            if let Err(error) = store.published(&key, claim, published, handover).await {
                tracing::debug!(partition = %key.partition, %error, "The published offset was not noted; it is only a late copy.");
            }
        });
    }

    pub(super) fn on_records(&mut self, records: Vec<RawEvent>) {
        self.parts.observer.received(records.len());
        let settings = self.settings.clone();
        let (mut bytes_in, mut over_window, mut beyond_end) = (0, Vec::new(), Vec::new());
        let aligned_to = self.aligned_to();
        for raw in records {
            let partition = TopicPartition { topic: raw.position.topic.clone(), partition: raw.position.partition };
            let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) else { continue };
            if !running.started && !without(Safety::StartedGuard) {
                continue; // Of an earlier stay: its offsets may lie above P.
            }
            let (bytes, offset) = (raw.cost_bytes(), raw.position.offset);
            if running.passes_over(offset) {
                if !running.paused {
                    running.paused = true;
                    over_window.push(partition);
                }
                continue;
            }
            let place = running.memory.as_mut().map_or(Place::Taken(Then::Score), |memory| memory.place(offset));
            if place == Place::BeyondEnd {
                beyond_end.push((partition, offset));
                continue;
            }
            if let Some(open) = running.open.as_mut().filter(|_| !running.rewrites) {
                open.read(offset);
            }
            if place == Place::Taken(Then::Replayed) {
                // One that cannot be decoded was never folded.
                if let Ok(event) = (self.parts.decode)(raw) {
                    bytes_in += event.cost_bytes();
                    fold::take(running, event, Then::Replayed);
                }
                continue;
            }
            if place == Place::Repeated || !running.ledger.push(offset, raw.timestamp_ms, bytes) {
                continue;
            }
            bytes_in += bytes;
            let rejected = if running.condemned == Some(offset) && !without(Safety::Condemn) {
                self.watch.killed(running, &settings.provenance.pipeline, (self.parts.decode)(raw.clone()).ok());
                Some((raw, Rejection::new("kills_process", "the process died twice while this event was in work alone")))
            } else if let Some(refused) = self.refused.get(&partition).filter(|refused| refused.offset == offset) {
                Some((raw, Rejection::new("refused_by_store", refused.detail.as_str())))
            } else {
                match (self.parts.decode)(raw) {
                    Ok(event) => {
                        bytes_in += running.ledger.grow(event.beyond_bytes());
                        if let Some(open) = &mut running.open {
                            open.push(offset, event.event_time_ms);
                        }
                        fold::take(running, event, Then::Score);
                        None
                    }
                    Err(rejected) => Some(rejected),
                }
            };
            if let Some((raw, rejection)) = rejected {
                let ending = self.caller.dead(&raw, &rejection);
                // Whatever becomes of the scoring, what can be decoded is folded: so the states depend on the log alone.
                let folds = running.memory.is_some() && !without(Safety::EndedFolds);
                let decoded = if folds { (self.parts.decode)(raw).ok() } else { None };
                match decoded {
                    Some(event) => fold::take(running, event, Then::End(ending)),
                    None => bytes_in += finish(running, offset, ending),
                }
            }
            let waits = wanting::has_enough(running, &settings.provenance.pipeline, &self.swaps.ready);
            if !running.paused && (waits || running.held() >= settings.window || Self::is_ahead(running, aligned_to)) {
                running.paused = true;
                over_window.push(partition);
            }
        }
        if !over_window.is_empty() {
            self.tell(SourceCommand::Pause(over_window));
        }
        self.parts.budget.charge(bytes_in);
        beyond_end.into_iter().for_each(|(partition, offset)| self.fold_anew(partition, offset));
        self.mind_budget();
    }

    /// An event of [S, P) has come after the end of the log was told: the partition is claimed anew, and folded from S on once more. Where the
    /// states were written up to P meanwhile that is too late: it halts.
    fn fold_anew(&mut self, partition: TopicPartition, offset: i64) {
        let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) else { return };
        let p = running.decided;
        if running.fold_from_sent <= offset {
            tracing::warn!(%partition, offset, "An event came after Kafka had told the end of the log; the partition is folded anew.");
            return self.reclaim(partition, self.settings.backoff);
        }
        self.halt(&partition, format!(
            "the event at offset {offset} came after Kafka had told the end of the log, and states up to {p} may be written without it. Nothing \
             was scored from them. Stop the workers and start a new run with `millrace adopt`, which folds the log again."
        ));
    }

    /// Whether the source waits for room: what it has read is taken when the running rounds have made some.
    pub(super) fn holds(&self) -> bool {
        // The slowest partition of an aligned pipeline may be what has to be read.
        self.settings.align.is_none()
            && !self.full
            && self.draining.is_none()
            && self.full_since.is_some()
            && self.parts.budget.is_full_for(|| self.charged_bytes())
    }

    /// What the budget holds for this pipeline.
    fn charged_bytes(&self) -> usize {
        let of = |state: &Partition| match &state.phase {
            Phase::Running(running) => running.charged_bytes(),
            _ => 0,
        };
        self.partitions.values().map(of).sum()
    }

    /// Pauses everything when the budget stays full, resumes at half; a partition over its window stays paused.
    pub(super) fn mind_budget(&mut self) {
        let aligned_to = self.aligned_to();
        let is_full = self.parts.budget.is_full_for(|| {
            let held = self.charged_bytes();
            self.room.held.store(held, Ordering::Relaxed);
            held
        });
        let now = Instant::now();
        self.full_since = is_full.then(|| self.full_since.unwrap_or(now));
        if !self.full && self.full_since.is_some_and(|since| now - since >= HOLD) {
            self.full = true;
            let mut pause = Vec::new();
            for (partition, state) in &mut self.partitions {
                // While partitions are kept together, those that are not ahead go on: it is their events that make room.
                let may_wait = |running: &&mut Running| aligned_to.is_none() || running.held() >= align::AHEAD_EVENTS;
                if let Some(running) = state.running().filter(|running| !running.paused).filter(may_wait) {
                    running.paused = true;
                    pause.push(partition.clone());
                }
            }
            self.tell(SourceCommand::Pause(pause));
        }
        if self.full && self.parts.budget.has_room_for(|| self.charged_bytes()) {
            self.full = false;
        }
        if self.full && aligned_to.is_none() || self.draining.is_some() {
            return;
        }
        let mut resume = Vec::new();
        for (partition, state) in self.partitions.iter_mut().filter(|(_, state)| !state.rests()) {
            let most = if self.full { align::AHEAD_EVENTS / 2 } else { self.settings.window / 2 };
            let has_room = |running: &&mut Running| {
                running.paused
                    && !running.parked
                    && !running.has_reread()
                    && running.held() <= most
                    && !Self::is_ahead(running, aligned_to)
                    && !wanting::has_enough(running, &self.settings.provenance.pipeline, &self.swaps.ready)
            };
            if let Some(running) = state.running().filter(has_room) {
                running.paused = false;
                resume.push(partition.clone());
            }
        }
        if !resume.is_empty() {
            self.tell(SourceCommand::Resume(resume));
        }
    }
}
