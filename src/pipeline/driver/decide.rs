//! Decide: the finished prefixes of all partitions go to Postgres in one round, and P moves.

mod read_again;
mod refused;
mod told;

pub(super) use refused::Refused;

use super::{Driver, current};
use crate::event::TopicPartition;
use crate::flow::Prefix;
use crate::pipeline::memory::Brings;
use crate::pipeline::partition::{Partition, Running};
use crate::pipeline::safety::{Safety, without};
use crate::record::Chunk;
use crate::store::{Advance, Mode, PartitionRow, StoreError};
use futures_util::FutureExt;
use read_again::read_again;
use std::collections::HashMap;
use tokio::time::Instant;
use told::{Sent, Told};

/// Most records and states in one round over all partitions, about: the last partition that joins brings what it has.
const ROUND_RECORDS: usize = 20_000;
/// Rounds at the same time, each over partitions that no other has: while one waits for a reply or for the disk, the other
/// writes. `benches/copy_pipeline` shows what the second is worth.
const ROUNDS: usize = 2;
/// Another round begins when this part of what a partition may bring has gathered, and a round of so many leaves half of the
/// partitions to the other; less is not worth a commit of its own.
const ANOTHER_PART: usize = 20;
/// Most bytes that one partition brings to a round.
const PREFIX_BYTES: usize = 16 << 20;
/// Timestamps that Postgres and people can read: from 1970 to the year 9999. A producer may write any number into a record.
const CALENDAR_MS: std::ops::Range<i64> = 0..253_402_300_800_000;
/// Most bytes in one round over all partitions.
const ROUND_BYTES: usize = 32 << 20;
/// A round that had no clear answer is halved down to this many events a partition.
const HALVED_EVENTS: usize = 64;
/// Rounds of one partition each after Postgres refused the data of a shared one.
const SOLO_ROUNDS: u32 = 64;
/// Window of the dead-letter share, in events.
const SHARE_EVENTS: usize = 1_000;

/// What came of a round.
pub(super) struct DecideDone {
    round: Vec<Sent>,
    result: Result<Vec<TopicPartition>, StoreError>,
    /// The rows of what did not move, read again.
    rows: HashMap<TopicPartition, Option<PartitionRow>>,
    seconds: f64,
}

impl Driver {
    pub(super) fn start_decide(&mut self) {
        let alone = self.solo_rounds > 0 && !self.decides.is_empty();
        if self.decides.len() >= ROUNDS || alone || Instant::now() < self.decide_not_before {
            return;
        }
        // Looked at in every turn of the loop: mostly there is nothing to do.
        let finished = |running: &mut Running| match &running.deciding {
            _ if running.in_round => 0,
            // One that stands still brings states.
            Some(prefix) => prefix.events.len().max(1),
            None if running.ledger.is_ready() => running.ledger.finished(),
            None => 0,
        };
        let finished: Vec<usize> = self.partitions.values_mut().filter_map(Partition::running).map(finished).collect();
        let another = self.settings.decide_events.div_ceil(ANOTHER_PART);
        if finished.iter().sum::<usize>() < if self.decides.is_empty() { 1 } else { another } {
            return;
        }
        let half = finished.len().div_ceil(ROUNDS);
        let (mut round, mut ids, mut halts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut records_in_round, mut bytes_in_round) = (0, 0);
        for partition in self.turns(self.last_decided.as_ref()) {
            let Some(state) = self.partitions.get_mut(&partition) else { continue };
            let incarnation = state.incarnation;
            let Some(running) = state.running() else { continue };
            let full = records_in_round >= ROUND_RECORDS || bytes_in_round >= ROUND_BYTES;
            let shared = round.len() >= half && records_in_round >= another;
            if full || shared || (self.solo_rounds > 0 && !round.is_empty()) {
                break;
            }
            if running.in_round {
                continue;
            }
            if running.deciding.is_none() {
                running.write_past();
            }
            if running.deciding.is_none() {
                let Some(prefix) = running.ledger.take_prefix(running.decide_cap, PREFIX_BYTES) else { continue };
                let share = share_with(running.share, &prefix);
                if share.0 >= 100 && (share.1 as f64) > self.settings.max_dead_share * (share.0 as f64) {
                    halts.push((partition.clone(), share));
                    running.ledger.restore(prefix);
                    continue;
                }
                running.deciding = Some(prefix);
            }
            let Some(prefix) = &running.deciding else { continue };
            running.in_round = true;
            records_in_round += prefix.records.len();
            bytes_in_round += prefix.bytes;
            let (states, brings) = match &running.memory {
                Some(memory) => memory.due(prefix.to, prefix.from == prefix.to),
                None => (Vec::new(), Brings::nothing(prefix.to)),
            };
            running.fold_from_sent = running.fold_from_sent.max(brings.fold_from);
            let (claim, from, to) = (running.claim, prefix.from, prefix.to);
            ids.push(Sent { partition: partition.clone(), incarnation, claim, from, to, brings });
            bytes_in_round += states.iter().map(|(_, state)| state.bytes.len()).sum::<usize>();
            records_in_round += states.len();
            round.push(Advance {
                partition,
                claim: running.claim,
                from: prefix.from,
                to: prefix.to,
                event_time_ms: Some(prefix.newest_ms).filter(|ms| CALENDAR_MS.contains(ms)),
                events: prefix.events.len() as i64,
                skipped: prefix.skipped,
                dead: prefix.dead,
                // After lost commits K stands above what is decided again.
                published_offset: if self.settings.mode == Mode::Both { running.published.min(prefix.to) } else { prefix.to },
                records: prefix.records.clone(),
                fold_from: brings.fold_from,
                states,
            });
        }
        for (partition, (ended, dead)) in halts {
            let share = self.settings.max_dead_share;
            self.halt(&partition, format!(
                "{dead} of the last {ended} events are dead letters, more than the share {share} that `max_dead_share` allows: the topic or \
                 its producer has changed. The newest of them are not decided; look at the reasons in the log, mend the cause or raise the share, \
                 and start again."
            ));
        }
        if round.is_empty() {
            return;
        }
        self.last_decided = ids.last().map(|sent| sent.partition.clone());
        let (store, settings) = (self.parts.store.clone(), self.settings.clone());
        self.decides.push(
            async move {
                let started = Instant::now();
                let result = store.decide(&settings.provenance, &round).await;
                let fresh = result.is_err();
                let rows = match &result {
                    Err(StoreError::Data(_) | StoreError::Fatal(_)) => HashMap::new(),
                    answer => {
                        let moved = answer.as_deref().unwrap_or_default();
                        let left =
                            round.into_iter().map(|advance| advance.partition).filter(|partition| !moved.contains(partition));
                        read_again(&*store, &settings.provenance, left.collect(), fresh).await
                    }
                };
                DecideDone { round: ids, result, rows, seconds: started.elapsed().as_secs_f64() }
            }
            .boxed(),
        );
    }

    pub(super) fn on_decide(&mut self, done: DecideDone) {
        for sent in &done.round {
            if let Some(running) = current(&mut self.partitions, &sent.partition, sent.incarnation) {
                running.in_round = false;
            }
        }
        self.parts.observer.round_ended("decide", done.round.len(), done.seconds, done.result.is_ok());
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
                self.wait_to_decide();
                Vec::new()
            }
            Err(StoreError::Data(detail)) => return self.on_refused(done.round, &detail),
            Err(StoreError::Fatal(detail)) => {
                self.failed = Some(detail);
                return;
            }
        };
        for Sent { partition, incarnation, claim, from, to, brings } in done.round {
            if current(&mut self.partitions, &partition, incarnation).is_none() {
                continue;
            }
            // Not returned: the row tells what happened.
            if moved.contains(&partition) || without(Safety::ReadRow) {
                self.decided(&partition, incarnation, Told::ByReply(brings), done.seconds);
                continue;
            }
            match done.rows.get(&partition) {
                None => self.wait_to_decide(),
                Some(Some(row)) if row.claim == claim && row.next_offset == to => {
                    self.decided(&partition, incarnation, Told::by_row(row, brings), done.seconds)
                }
                Some(Some(row)) if row.claim == claim && row.next_offset == from => self.halve(&partition, incarnation),
                Some(Some(row)) if row.claim == claim && self.overtaken(&partition, incarnation, row.next_offset) => {
                    self.decided(&partition, incarnation, Told::by_row(row, brings), done.seconds)
                }
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

    fn wait_to_decide(&mut self) {
        self.decide_not_before = Instant::now() + self.settings.backoff * 2u32.pow(self.decide_failures.min(5));
    }

    /// The round was not carried out; it may have been too large for the time that a statement has.
    fn halve(&mut self, partition: &TopicPartition, incarnation: u64) {
        let Some(running) = current(&mut self.partitions, partition, incarnation) else { return };
        if let Some(prefix) = running.deciding.take_if(|prefix| prefix.events.len() > HALVED_EVENTS) {
            running.decide_cap = (prefix.events.len() / 2).max(HALVED_EVENTS);
            running.ledger.restore(prefix);
        }
    }

    /// An earlier statement of this stay, given up and cut differently since, was carried out after all and moved P to `to`.
    /// A finished ending changes only when Postgres has refused it, so what was carried out is what stands in the ledger.
    fn overtaken(&mut self, partition: &TopicPartition, incarnation: u64, to: i64) -> bool {
        let Some(running) = current(&mut self.partitions, partition, incarnation) else { return false };
        if let Some(prefix) = running.deciding.take() {
            running.ledger.restore(prefix);
        }
        running.deciding = running.ledger.take_until(to);
        running.deciding.is_some()
    }

    fn decided(&mut self, partition: &TopicPartition, incarnation: u64, told: Told, seconds: f64) {
        let settings = self.settings.clone();
        let Some(running) = current(&mut self.partitions, partition, incarnation) else { return };
        let Some(prefix) = running.deciding.take() else { return };
        let events = prefix.events.len();
        running.share = share_with(running.share, &prefix);
        let fold_from = told.written(running.memory.as_ref());
        running.fold_from = running.fold_from.max(fold_from);
        running.decided = prefix.to;
        running.write_past();
        if self.refused.get(partition).is_some_and(|refused| refused.offset < prefix.to) {
            self.refused.remove(partition);
        }
        running.named = running.named.filter(|named| *named >= prefix.to);
        running.events += events as i64;
        running.skipped += prefix.skipped;
        running.dead += prefix.dead;
        running.records += prefix.records.len() as i64;
        running.decide_cap = (running.decide_cap * 2).min(settings.decide_events);
        if settings.mode == Mode::Both && events > 0 {
            // The events are gone, their records stay until they are published.
            let bytes = running.enqueue(prefix.to, &Chunk::from(prefix.records.clone()));
            self.parts.budget.charge(bytes);
        }
        self.parts.budget.free(prefix.bytes);
        let timestamps: Vec<i64> = prefix.events.iter().map(|event| event.timestamp_ms).collect();
        self.parts.observer.decided(partition, &prefix.records, seconds, &timestamps);
        self.mind_budget();
    }
}

/// Ended and dead of the running window, with a prefix that is about to be decided.
fn share_with((ended, dead): (usize, usize), prefix: &Prefix) -> (usize, usize) {
    let (ended, dead) = if ended >= SHARE_EVENTS { (0, 0) } else { (ended, dead) };
    (ended + prefix.events.len(), dead + prefix.dead as usize)
}
