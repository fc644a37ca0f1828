//! Taking partitions over, and stopping them for safety.

use super::{ClaimDone, Driver, Open};
use crate::event::TopicPartition;
use crate::pipeline::claim::ClaimError;
use crate::pipeline::partition::{Partition, Phase, Running};
use crate::pipeline::stood::Stood;
use crate::source::SourceCommand;
use std::time::Duration;

impl Driver {
    pub(super) fn on_claim(&mut self, done: ClaimDone) {
        let ClaimDone { partition, incarnation, result } = done;
        let current = self.partitions.get(&partition).is_some_and(|state| state.incarnation == incarnation);
        if !current {
            return;
        }
        match result {
            Ok(mut claimed) => {
                self.doubted.remove(&partition);
                let turn = claimed.turn.take();
                let mut running = Running::new(claimed, self.settings.decide_events, self.parts.folding.as_ref());
                if self.settings.align.is_some() {
                    running.open = Some(Open::new(running.start(), running.decided));
                }
                if let Some(refused) = self.refused.get(&partition) {
                    running.share = refused.share;
                }
                let named = self.named.get(&partition);
                if let Some((offset, times)) = running.suspected
                    && named.is_some_and(|named| named.get(&offset) == Some(&times))
                {
                    running.condemned = None;
                    running.suspected = Some((offset, times - 1));
                }
                tracing::info!(%partition, epoch = running.epoch, next_offset = running.decided, fold_from = running.fold_from, unpublished = running.queue.len(), "Claimed a partition.");
                self.parts.budget.charge(running.queue.iter().map(|decided| decided.bytes).sum());
                drop(turn);
                let waits = self.pauses.hold(&partition);
                (running.parked, running.paused) = (waits, waits);
                if let Some(state) = self.partitions.get_mut(&partition) {
                    state.phase = Phase::Running(Box::new(running));
                }
                if !waits {
                    self.start(&partition);
                }
                self.follow_swaps();
            }
            Err(ClaimError::Transient(detail)) => {
                tracing::warn!(%partition, detail, "A claim failed for now and is made again.");
                self.parts.observer.retried("claim");
                let lease = self.parts.source.lease.load_full();
                if lease.holds(&partition) {
                    self.take_over(partition, lease, self.settings.backoff * 4);
                } else {
                    self.forget(&partition);
                }
            }
            Err(ClaimError::Halt(reason, stood)) => self.doubt(partition, reason, stood),
            Err(ClaimError::Fatal(reason)) => self.failed = Some(reason),
        }
    }

    /// Lets the source read a partition from where it stands.
    pub(super) fn start(&mut self, partition: &TopicPartition) {
        let waits = self.full || self.draining.is_some();
        let Some(running) = self.partitions.get_mut(partition).and_then(Partition::running) else { return };
        (running.parked, running.paused) = (false, waits);
        let offset = running.start();
        self.tell(SourceCommand::Start { partition: partition.clone(), offset });
        if waits {
            self.tell(SourceCommand::Pause(vec![partition.clone()]));
        }
    }

    /// A claim found a contradiction. What it had read of Kafka may have been old news, when it was slow and the partition was
    /// with another worker meanwhile: only a second claim halts, after the source had time to say so.
    fn doubt(&mut self, partition: TopicPartition, reason: String, stood: Stood) {
        let lease = self.parts.source.lease.load_full();
        if !lease.holds(&partition) {
            self.forget(&partition);
        } else if self.doubted.insert(partition.clone()) {
            tracing::warn!(%partition, reason, "A claim found a contradiction; it is made again to make sure.");
            self.take_over(partition, lease, self.settings.backoff * 32);
        } else {
            self.doubted.remove(&partition);
            self.halt_at(&partition, reason, stood);
        }
    }

    /// Halts a partition where it stands.
    pub(super) fn halt(&mut self, partition: &TopicPartition, reason: String) {
        let running = self.partitions.get_mut(partition).and_then(Partition::running);
        let stood = running.map_or_else(Stood::default, |running| Stood::of(running));
        self.halt_at(partition, reason, stood);
    }

    fn halt_at(&mut self, partition: &TopicPartition, reason: String, stood: Stood) {
        tracing::error!(%partition, reason, "Halted a partition.");
        self.parts.observer.halted(partition, &reason);
        let Some(state) = self.partitions.get_mut(partition) else { return };
        if let Some(running) = state.running() {
            self.parts.budget.free(running.charged_bytes());
        }
        state.phase = Phase::Halted(reason, stood);
        self.incarnations += 1;
        state.incarnation = self.incarnations;
        self.tell(SourceCommand::Pause(vec![partition.clone()]));
    }

    /// Another worker holds the claim. If the lease still says that the partition is ours, claim it again after a while.
    pub(super) fn superseded(&mut self, partition: TopicPartition) {
        tracing::warn!(%partition, "Another worker has claimed the partition.");
        self.reclaim(partition, self.settings.backoff * 32);
    }

    /// Forgets what is in work of a partition and claims it anew, after `wait`, while the lease still says that it is ours.
    pub(super) fn reclaim(&mut self, partition: TopicPartition, wait: Duration) {
        self.note_published(&partition);
        let lease = self.parts.source.lease.load_full();
        if lease.holds(&partition) {
            self.tell(SourceCommand::Pause(vec![partition.clone()]));
            self.take_over(partition, lease, wait);
        } else {
            self.forget(&partition);
        }
    }
}
