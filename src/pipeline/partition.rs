//! One partition in the hands of this worker: its protocol state, as data. Decides nothing by itself and waits for nothing.

mod paused;
pub mod versions;

use super::claim::Claimed;
use super::driver::Open;
use super::memory::{Folding, Memory};
use super::observe::PartitionView;
use super::safety::{Safety, without};
use super::stood::Stood;
use crate::flow::{Buffer, Ledger, Prefix};
use crate::function::Input;
use crate::record::Chunk;
use crate::store::{Mode, PartitionKey, Pause};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;
use versions::Taking;

/// Claims without progress after which a partition goes one event at a time: something in it may kill the process.
const SUSPICIOUS_CLAIMS: i32 = 3;
/// How often an event is put in work alone, and its process dies, before it becomes a dead letter.
const DEATHS: i32 = 2;
/// A piece of what is decided, small enough for a publish round to choose among: records and bytes at most.
const PIECE_RECORDS: usize = 5_000;
const PIECE_BYTES: usize = 1 << 20;
/// Events that go one at a time before the partition is trusted again.
const PROBATION_EVENTS: usize = 1_000;

/// Where a partition stands.
#[derive(Debug)]
pub enum Phase {
    Claiming,
    Running(Box<Running>),
    /// Nothing more is decided or published; the text says why and what to do.
    Halted(String, Stood),
}

/// Decided, and not yet known to be published.
#[derive(Debug, Clone)]
pub struct Decided {
    pub to: i64,
    pub records: Chunk,
    pub bytes: usize,
}

/// A claimed partition.
#[derive(Debug)]
pub struct Running {
    pub claim: Uuid,
    pub epoch: i64,
    /// P as Postgres confirmed it.
    pub decided: i64,
    /// S as Postgres confirmed it; P without a fold.
    pub fold_from: i64,
    /// The highest S that was sent in this stay: Postgres may have it.
    pub fold_from_sent: i64,
    /// K as Kafka confirmed it.
    pub published: i64,
    /// Rows below K.
    pub published_records: i64,
    /// Q as Postgres has it.
    pub noted: i64,
    pub events: i64,
    pub records: i64,
    pub skipped: i64,
    pub dead: i64,
    pub ledger: Ledger,
    pub buffer: Buffer<Input>,
    /// Which version scores which event.
    pub taking: Taking,
    /// Since when its next event has waited for a version, and whether that was told.
    pub wants: Option<(Instant, bool)>,
    /// States of keys, in a pipeline with a fold.
    pub memory: Option<Memory>,
    /// Event times of what is not done, in a pipeline that is aligned.
    pub open: Option<Open>,
    /// Events of this partition that are in slices.
    pub in_call: usize,
    /// Taken from the ledger and on its way to Postgres.
    pub deciding: Option<Prefix>,
    /// Whether `deciding` is in a round that has not come back.
    pub in_round: bool,
    /// Most events in the next decide: halves when Postgres refuses the data, until the event is known.
    pub decide_cap: usize,
    pub queue: VecDeque<Decided>,
    /// How many of `queue` are in the running publish round.
    pub publishing: usize,
    /// Records below this offset are never published: they were, before the database lost them.
    pub publish_floor: i64,
    /// Events still to go one at a time.
    pub probation: usize,
    /// The event that is in work alone or waits to be decided. Until it is, nothing else goes to work: a death would be
    /// counted against it.
    pub named: Option<i64>,
    /// The suspect that the claim found, and how often it was in work alone without an ending.
    pub suspected: Option<(i64, i32)>,
    /// The event that killed the process twice.
    pub condemned: Option<i64>,
    pub paused: bool,
    /// Nothing of it is asked of the source until it is started (anew): it was claimed while an operator has it paused, or the pause came
    /// and what was in work is over.
    pub parked: bool,
    /// Set while it is paused, from when S was found below P: [S, P) is read once more and folded, so that the states can be written. What
    /// comes from P on is passed over.
    pub rewrites: bool,
    /// Whether the source has said that what comes now belongs to this stay.
    pub started: bool,
    /// Lasts as long as the stay: who holds a `Weak` of it sees that it is over.
    pub stay: Arc<()>,
    /// P as the group was last told, in mode `postgres`.
    pub hinted: i64,
    pub end: Option<i64>,
    /// Ended and dead in the running window of the dead-letter share.
    pub share: (usize, usize),
}

/// A partition that was assigned.
#[derive(Debug)]
pub struct Partition {
    pub key: PartitionKey,
    /// Tells this stay of the partition from earlier ones: late answers for those are dropped.
    pub incarnation: u64,
    /// Number of the lease with which the source gave it.
    pub since: u64,
    /// By whom and why nothing of it is begun.
    pub pause: Option<Arc<Pause>>,
    pub phase: Phase,
}

impl Running {
    pub fn new(claimed: Claimed, window: usize, folding: Option<&Folding>) -> Self {
        let row = claimed.row;
        let suspected = row.suspect_offset.filter(|_| row.idle_claims >= DEATHS);
        let probation = if row.suspect_offset.is_some() || row.idle_claims >= SUSPICIOUS_CLAIMS { PROBATION_EVENTS } else { 0 };
        // Decided again after lost commits: the count starts where Postgres stands and grows past K with what is decided again.
        let lost = claimed.published.offset > row.next_offset;
        let published_records = if lost { row.records } else { claimed.published.records_total.unwrap_or(row.records) };
        let mut running = Self {
            claim: claimed.claim,
            epoch: row.epoch,
            decided: row.next_offset,
            fold_from: row.fold_from,
            fold_from_sent: row.fold_from,
            published: claimed.published.offset,
            published_records,
            noted: row.published_offset,
            events: row.events,
            records: row.records,
            skipped: row.skipped,
            dead: row.dead,
            ledger: Ledger::new(row.next_offset),
            buffer: Buffer::default(),
            taking: Taking::new(claimed.taken, row.next_offset),
            wants: None,
            memory: folding.map(|folding| Memory::new(folding, row.fold_from, row.next_offset)),
            open: None,
            in_call: 0,
            deciding: None,
            in_round: false,
            decide_cap: window,
            queue: VecDeque::new(),
            publishing: 0,
            publish_floor: claimed.published.offset,
            probation,
            named: None,
            suspected: row.suspect_offset.map(|offset| (offset, row.idle_claims)),
            condemned: suspected,
            paused: false,
            parked: false,
            rewrites: false,
            started: false,
            stay: Arc::default(),
            hinted: claimed.published.offset.min(row.next_offset),
            end: None,
            share: (0, 0),
        };
        if !lost && running.published < running.decided {
            // Without records (all skipped) K still has to move.
            running.enqueue(running.decided, &Chunk::from(Arc::new(claimed.unpublished)));
        }
        running
    }

    /// Queues what is decided up to `to` for publishing, and returns the bytes to charge. What lies below K, decided again
    /// after lost commits, is counted and not published; the piece that reaches K mends the count that travels with it.
    pub fn enqueue(&mut self, to: i64, records: &Chunk) -> usize {
        let mut charged = 0;
        for (to, records) in records.pieces(to, PIECE_RECORDS, PIECE_BYTES) {
            if to < self.published {
                self.published_records += records.len() as i64;
                continue;
            }
            let bytes = records.cost_bytes();
            charged += bytes;
            self.queue.push_back(Decided { to, records, bytes });
        }
        charged
    }

    /// What the budget holds for this partition.
    pub fn charged_bytes(&self) -> usize {
        let queued: usize = self.queue.iter().map(|decided| decided.bytes).sum();
        let replayed = self.memory.as_ref().map_or(0, |memory| memory.replayed_bytes);
        self.ledger.bytes() + self.deciding.as_ref().map_or(0, |prefix| prefix.bytes) + queued + replayed
    }

    /// The log's timestamp of the oldest event that is held and not decided.
    pub fn oldest_ms(&self) -> Option<i64> {
        let deciding = self.deciding.as_ref().and_then(|prefix| prefix.events.first());
        deciding.map(|event| event.timestamp_ms).or_else(|| self.ledger.oldest_ms())
    }

    /// Where the source starts: what is below P is folded again and not scored.
    pub fn start(&self) -> i64 {
        let remembers = self.memory.as_ref().filter(|_| !without(Safety::FoldFrom));
        remembers.map_or(self.decided, |memory| memory.next)
    }

    /// The source has come to the log's end, which is `offset`.
    pub fn caught_up(&mut self, offset: i64) {
        if let Some(memory) = &mut self.memory {
            memory.at_end();
        }
        if !self.is_rewriting() {
            self.end = Some(offset);
        }
    }

    /// Events that are held and not decided, or not folded.
    pub fn held(&self) -> usize {
        self.ledger.len() + self.memory.as_ref().map_or(0, Memory::replaying)
    }

    /// Whether an event waits for the function or is in work.
    pub fn has_work(&self) -> bool {
        !self.buffer.is_empty() || self.in_call > 0 || self.memory.as_ref().is_some_and(|memory| !memory.is_idle())
    }

    /// Whether all that was read is decided, and S is left below P.
    pub fn wants_flush(&self) -> bool {
        let quiet = self.ledger.is_empty() && self.deciding.is_none() && !self.has_work();
        quiet && self.fold_from < self.decided && self.memory.as_ref().is_some_and(Memory::has_replayed)
    }

    /// Makes a decide that stands still when enough of [S, P) waits to be written. No other is made before: each brings a part.
    pub fn write_past(&mut self) {
        let decided = self.decided;
        if self.deciding.is_none() && self.memory.as_mut().is_some_and(|memory| memory.is_worth_writing(decided)) {
            self.deciding = Some(Prefix::still(decided));
        }
    }

    /// Whether events of [S, P) are being folded just now.
    pub fn folds_past(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.in_fold > 0 && !memory.has_replayed())
    }

    /// Whether it stops in the midst of [S, P), and what is folded of it is not written yet.
    pub fn wants_past_written(&self) -> bool {
        let folded_to = self.memory.as_ref().and_then(Memory::folded_to);
        self.deciding.is_none() && folded_to.is_some_and(|folded_to| self.fold_from < folded_to)
    }

    /// Makes a decide that stands still and brings what has changed.
    pub fn flush(&mut self) {
        if let Some(memory) = &self.memory {
            memory.flush();
            self.deciding = Some(Prefix::still(self.decided));
        }
    }

    /// Nothing in work and nothing left to decide or publish of what was called.
    pub fn is_settled(&self) -> bool {
        self.in_call == 0 && self.deciding.is_none() && self.queue.is_empty()
    }
}

impl Partition {
    pub fn running(&mut self) -> Option<&mut Running> {
        match &mut self.phase {
            Phase::Running(running) => Some(running),
            _ => None,
        }
    }

    pub fn view(&self, mode: Mode) -> PartitionView {
        let mut view = PartitionView::new(&self.key.partition, "claiming");
        view.pause.clone_from(&self.pause);
        match &self.phase {
            Phase::Claiming => {}
            Phase::Halted(reason, stood) => {
                view.state = "halted";
                view.reason = Some(reason.clone());
                view.next_offset = stood.next_offset.unwrap_or(view.next_offset);
                view.fold_from = stood.fold_from;
            }
            Phase::Running(running) => {
                view.state = "running";
                view.next_offset = running.decided;
                view.published_offset = (mode == Mode::Both).then_some(running.published);
                view.end_offset = running.end;
                view.epoch = running.epoch;
                view.events = running.events;
                view.records = running.records;
                view.skipped = running.skipped;
                view.dead = running.dead;
                view.undecided = running.ledger.len();
                view.oldest_ms = running.oldest_ms();
                view.paused = running.paused;
                view.version = running.taking.in_force(running.decided).cloned();
                view.fold_from = running.memory.as_ref().map(|_| running.fold_from);
                view.state_bytes = running.memory.as_ref().map(Memory::cost_bytes);
            }
        }
        view
    }
}
