//! Publish: what is decided goes to Kafka together with its offsets, and K moves.

use super::{Driver, current};
use crate::event::TopicPartition;
use crate::pipeline::partition::{Partition, Running};
use crate::pipeline::safety::{Safety, without};
use crate::publisher::{Committed, CommittedOffsets, Publication, PublishError};
use crate::source::{Lease, SourceCommand};
use crate::store::Mode;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most records in one round.
const ROUND_RECORDS: usize = 20_000;
/// Most bytes in one round: with the transaction's time-out of 10 s a broker may be as slow as 800 kB/s before rounds shrink.
const ROUND_BYTES: usize = 8 << 20;
/// How far a round shrinks when rounds have no known end: to 1/1024 of the caps.
const HALVINGS: u32 = 10;
/// A generation that Kafka refused is tried again after this, if no newer lease came.
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// How often mode `postgres` commits offsets as a hint.
const HINT_INTERVAL: Duration = Duration::from_secs(2);

/// A round on its way, and whom it carries.
pub(super) struct PublishRound {
    partitions: Vec<TopicPartition>,
    pub(super) done: BoxFuture<'static, PublishDone>,
}

/// What came of a round.
pub(super) struct PublishDone {
    /// Partition, incarnation, new K of each publication.
    round: Vec<(TopicPartition, u64, i64)>,
    lease: u64,
    records: usize,
    result: Result<(), PublishError>,
    /// K, read again after an outcome that is not known.
    committed: Option<CommittedOffsets>,
    seconds: f64,
}

impl Driver {
    /// Whether the running round carries a partition, of this stay or an earlier one.
    pub(super) fn is_publishing(&self, partition: &TopicPartition) -> bool {
        self.publish.as_ref().is_some_and(|round| round.partitions.contains(partition))
    }

    pub(super) fn start_publish(&mut self) {
        if self.publish.is_some() || self.settings.mode != Mode::Both || Instant::now() < self.publish_not_before {
            return;
        }
        if !self.partitions.values_mut().filter_map(Partition::running).any(|running| !running.queue.is_empty()) {
            return;
        }
        let lease = self.parts.source.lease.load_full();
        if self.refused_lease.is_some_and(|(refused, again)| lease.number <= refused && Instant::now() < again) {
            return;
        }
        let (round, ids, records) = self.gather(&lease);
        if round.is_empty() {
            return;
        }
        self.last_published = ids.last().map(|(partition, ..)| partition.clone());
        let (publisher, number) = (self.parts.publisher.clone(), lease.number);
        let partitions: Vec<TopicPartition> = ids.iter().map(|(partition, ..)| partition.clone()).collect();
        let names = partitions.clone();
        let done = async move {
            let started = Instant::now();
            let result = publisher.publish(lease, round).await;
            let committed = match &result {
                Err(PublishError::Indefinite(_)) => publisher.committed(&names).await.ok(),
                _ => None,
            };
            PublishDone { round: ids, lease: number, records, result, committed, seconds: started.elapsed().as_secs_f64() }
        };
        self.publish = Some(PublishRound { partitions, done: done.boxed() });
    }

    /// What goes into the next round, each partition in its turn, up to the caps; one piece goes in any case.
    fn gather(&mut self, lease: &Lease) -> (Vec<Publication>, Vec<(TopicPartition, u64, i64)>, usize) {
        let (max_records, max_bytes) = (ROUND_RECORDS >> self.publish_halvings, ROUND_BYTES >> self.publish_halvings);
        let (mut round, mut ids, mut records_in_round, mut bytes_in_round) = (Vec::new(), Vec::new(), 0, 0);
        for partition in self.turns(self.last_published.as_ref()) {
            let Some(state) = self.partitions.get_mut(&partition) else { continue };
            let (key, incarnation) = (state.key.clone(), state.incarnation);
            // What was taken over under an earlier stay does not go out under this one.
            let held = if without(Safety::OneLease) {
                lease.holds(&partition)
            } else {
                lease.partitions.get(&partition) == Some(&state.since)
            };
            if !held {
                continue;
            }
            let Some(running) = state.running() else { continue };
            let (mut records, mut to, mut total) = (Vec::new(), running.published, running.published_records);
            for decided in &running.queue {
                let full = records_in_round + decided.records.len() > max_records || bytes_in_round + decided.bytes > max_bytes;
                if full && !(round.is_empty() && records.is_empty()) {
                    break;
                }
                running.publishing += 1;
                records_in_round += decided.records.len();
                bytes_in_round += decided.bytes;
                total += decided.records.len() as i64;
                to = decided.to;
                records.push(decided.records.at_or_above(running.publish_floor));
            }
            if running.publishing == 0 {
                continue;
            }
            ids.push((partition.clone(), incarnation, to));
            round.push(Publication { pipeline: key.pipeline, run: key.run, partition, to, records_total: total, records });
        }
        (round, ids, records_in_round)
    }

    pub(super) fn on_publish(&mut self, done: PublishDone) {
        self.after_round.clear();
        let PublishDone { round, lease, records, result, committed, seconds } = done;
        self.parts.observer.round_ended("publish", round.len(), seconds, result.is_ok());
        let Err(error) = result else {
            self.publish_failures = 0;
            self.publish_halvings = self.publish_halvings.saturating_sub(1);
            self.parts.observer.published(records, seconds);
            for (partition, incarnation, to) in round {
                self.published(&partition, incarnation, to);
            }
            return;
        };
        tracing::warn!(%error, "A publish round did not go through.");
        self.parts.observer.retried("publish");
        self.publish_failures += 1;
        self.publish_not_before = Instant::now() + self.settings.backoff * 2u32.pow(self.publish_failures.min(5));
        match &error {
            PublishError::Aborted { stale_lease: true, .. } => {
                self.refused_lease = Some((lease, Instant::now() + REFUSED_FOR));
            }
            PublishError::Indefinite(_) => self.publish_halvings = (self.publish_halvings + 1).min(HALVINGS),
            _ => {}
        }
        for (partition, incarnation, to) in round {
            let Some(running) = current(&mut self.partitions, &partition, incarnation) else { continue };
            match &error {
                PublishError::Indefinite(_) => self.settle(partition, incarnation, to, committed.as_ref()),
                PublishError::Impossible { partition: bad, detail } if *bad == partition => {
                    let reason = format!("its records can never be published: {detail}. Mend the topic and start again.");
                    self.halt(&partition, reason);
                }
                PublishError::Fatal(_) | PublishError::Aborted { .. } | PublishError::Impossible { .. } => running.publishing = 0,
            }
        }
        if let PublishError::Fatal(detail) = error {
            self.failed = Some(detail);
        }
    }

    /// A round is all or nothing: K tells which.
    fn settle(&mut self, partition: TopicPartition, incarnation: u64, to: i64, committed: Option<&CommittedOffsets>) {
        let Some(running) = current(&mut self.partitions, &partition, incarnation) else { return };
        if without(Safety::ReadOffset) {
            running.publishing = 0;
            return;
        }
        let k = committed.map(|all| all.iter().find(|(of, _)| *of == partition).and_then(|(_, k)| *k));
        match k {
            Some(Some(k)) if k.offset == to => self.published(&partition, incarnation, to),
            Some(Some(k)) if k.offset == running.published => running.publishing = 0,
            // Not readable, or not what this worker left: start again at the claim, which compares and halts where it must.
            _ => self.take_over_again(partition),
        }
    }

    fn take_over_again(&mut self, partition: TopicPartition) {
        self.note_published(&partition);
        let lease = self.parts.source.lease.load_full();
        self.tell(SourceCommand::Pause(vec![partition.clone()]));
        if lease.holds(&partition) {
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

    /// In mode `postgres` the group's offsets are for lag tools: sent now and then, and nobody minds when it fails.
    pub(super) fn start_hint(&mut self) {
        let now = Instant::now();
        if self.settings.mode != Mode::Postgres || self.hint.is_some() || now < self.hint_not_before {
            return;
        }
        self.hint_not_before = now + HINT_INTERVAL;
        let lease = self.parts.source.lease.load_full();
        let offsets = hints(&lease, self.partitions.values_mut());
        if !offsets.is_empty() {
            let publisher = self.parts.publisher.clone();
            let hint = async move {
                if let Err(error) = publisher.hint(lease, offsets).await {
                    tracing::debug!(%error, "The offsets of the group were not renewed; they are only a hint.");
                }
            };
            self.hint = Some(hint.boxed());
        }
    }

    /// The last hint, on the way out.
    pub(super) fn last_hint(&mut self) -> BoxFuture<'static, ()> {
        if self.settings.mode == Mode::Postgres {
            self.hint_not_before = Instant::now();
            self.hint = None;
            self.start_hint();
        }
        self.hint.take().unwrap_or_else(|| std::future::ready(()).boxed())
    }
}

/// P of each partition that has moved since its last hint.
fn hints<'a>(lease: &Arc<Lease>, partitions: impl Iterator<Item = &'a mut Partition>) -> Vec<(TopicPartition, Committed)> {
    let hint = |state: &'a mut Partition| {
        let partition = state.key.partition.clone();
        let running: &mut Running = state.running()?;
        if running.hinted >= running.decided || !lease.holds(&partition) {
            return None;
        }
        running.hinted = running.decided;
        Some((partition, Committed { offset: running.decided, records_total: Some(running.records) }))
    };
    partitions.filter_map(hint).collect()
}
