//! What a claimed partition remembers: the states of its keys, and the events that wait to be folded into them.
//!
//! Events are folded in the order of the log, ahead of the calls; what they change is written by the decide whose P has reached
//! it. After a claim the events of [S, P) are folded once more, and not scored.

mod folder;

pub use folder::{AfterFold, FoldError, Folder};

use crate::event::Event;
use crate::flow::Ending;
use crate::pipeline::safety::{Safety, without};
use crate::state::{Amount, States, StoredRow};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Rows that a decide which stands still brings, so that events that come meanwhile do not wait for all of them, and that it ends in time. Of
/// a fold that links the keys of one boundary go together, however many.
pub(super) const PART: Amount = Amount { rows: if cfg!(test) { 3 } else { 2_000 }, bytes: 8 << 20 };
/// A partition that is paused reads [S, P) once more where it is as long as so many `flush_after`.
const SHORT: i64 = 2;
/// While [S, P) is folded no more than so many parts wait: nothing else bounds them, since none of its events waits for a decide.
const PARTS: usize = 2;

/// The fold of a pipeline.
#[derive(Clone)]
pub struct Folding {
    pub digest: Arc<str>,
    /// Makes the empty states of a partition.
    pub fresh: Arc<dyn Fn() -> Box<dyn States> + Send + Sync>,
    /// Memory for states, bytes, over all partitions of the worker.
    pub bytes: usize,
    /// A key is written when it has been dirty for so many offsets: so far S mostly stays behind P.
    pub flush_after: i64,
}

type Shared = Arc<Mutex<Box<dyn States>>>;

fn lock(states: &Shared) -> MutexGuard<'_, Box<dyn States>> {
    // After a panic the partition is halted, and its states are not written any more.
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes after the fold of an event.
#[derive(Debug, PartialEq)]
pub enum Then {
    Score,
    /// Nothing: it was decided before the claim.
    Replayed,
    /// This ending, whatever the fold makes of it. Not before: P never passes an event that is not folded.
    End(Ending),
}

/// What a decide brings of the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brings {
    /// How many of the oldest rows that wait.
    rows: usize,
    /// S once they are written.
    pub fold_from: i64,
}

impl Brings {
    /// Nothing, in a pipeline without a fold.
    pub fn nothing(to: i64) -> Self {
        Self { rows: 0, fold_from: to }
    }
}

/// What is to be done with an event that has come.
#[derive(Debug, PartialEq)]
pub enum Place {
    Taken(Then),
    /// It was taken before: a repeated delivery.
    Repeated,
    /// The source had told the end of the log before it: [S, P) was believed to hold nothing more.
    BeyondEnd,
}

/// An event that waits to be folded.
#[derive(Debug)]
pub struct Waiting {
    pub event: Event,
    pub then: Then,
}

/// See the [module](self).
pub struct Memory {
    states: Shared,
    pub waiting: VecDeque<Waiting>,
    /// Events that are being folded.
    pub in_fold: usize,
    /// Offset after the last event that was taken.
    pub next: i64,
    /// This partition's share of the memory for states, bytes.
    pub share_bytes: usize,
    /// Where the log was believed to hold nothing more below P.
    ended_at: Option<i64>,
    flush_after: i64,
    /// Whether rows of [S, P) may be left.
    has_past: bool,
    /// S and P as the claim found them.
    folded_from: i64,
    scored_from: i64,
    /// What the budget holds for events of [S, P), which have no place in the ledger.
    pub replayed_bytes: usize,
    /// When an event was folded last.
    pub used: Instant,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("waiting", &self.waiting.len()).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Memory {
    /// Of a partition that is folded from `fold_from` on and scored from `scored_from` on.
    pub fn new(folding: &Folding, fold_from: i64, scored_from: i64) -> Self {
        Self {
            states: Arc::new(Mutex::new((folding.fresh)())),
            waiting: VecDeque::new(),
            in_fold: 0,
            next: fold_from,
            share_bytes: folding.bytes,
            ended_at: None,
            flush_after: folding.flush_after,
            has_past: fold_from < scored_from,
            folded_from: fold_from,
            scored_from,
            replayed_bytes: 0,
            used: Instant::now(),
        }
    }

    /// What is to be done with the event at `offset`.
    pub fn place(&mut self, offset: i64) -> Place {
        if offset < self.next {
            let believed = self.ended_at.is_some_and(|end| (end..self.scored_from).contains(&offset));
            return if believed && !without(Safety::EndBelieved) { Place::BeyondEnd } else { Place::Repeated };
        }
        self.next = offset + 1;
        Place::Taken(if offset < self.scored_from { Then::Replayed } else { Then::Score })
    }

    /// Events of [S, P) that are not folded yet.
    pub fn replaying(&self) -> usize {
        if self.replayed_bytes == 0 { 0 } else { self.waiting.len() + self.in_fold }
    }

    /// Whether nothing waits and nothing is in work.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_fold == 0
    }

    /// Takes up to `most` events to fold.
    pub fn take(&mut self, most: usize) -> (Vec<Waiting>, Shared) {
        let events: Vec<Waiting> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.in_fold += events.len();
        (events, self.states.clone())
    }

    /// What a decide that reaches `to` brings of the states: a part of them when it stands still.
    pub fn due(&self, to: i64, stands_still: bool) -> (Vec<(Box<str>, StoredRow)>, Brings) {
        let states = lock(&self.states);
        let most = if stands_still && !without(Safety::PastInParts) { self.part() } else { Amount::ALL };
        let rows = states.due(to, most);
        (states.rows(rows), Brings { rows, fold_from: self.fold_from(&**states, to, rows) })
    }

    /// A decide is written, as its reply says.
    pub fn confirmed(&self, brought: Brings) {
        lock(&self.states).confirmed(brought.rows);
    }

    /// A decide is written, as the row says, which has S.
    pub fn written_below(&self, fold_from: i64) {
        lock(&self.states).written_below(fold_from);
    }

    /// The source says that the log has nothing more for now. Where P stands behind a marker no event tells that all of [S, P) has come, so
    /// this is believed. What the source tells is where the last event ended, so it cannot tell a marker from an event that is still to come:
    /// the broker may, just after its leader has changed, tell an end that is not one. [`Place::BeyondEnd`] says so then.
    pub fn at_end(&mut self) {
        if self.next < self.scored_from && !without(Safety::EndBehindMarker) {
            self.ended_at = Some(self.next);
            self.next = self.scored_from;
        }
    }

    /// What a decide that stands still brings at most.
    fn part(&self) -> Amount {
        Amount { rows: PART.rows, bytes: PART.bytes.min(self.share_bytes / PARTS).max(1) }
    }

    /// Whether so much of [S, P) waits to be written that a decide is worth it, before P goes on: a new run may have all of the log there.
    pub fn is_worth_writing(&mut self, decided: i64) -> bool {
        if !self.has_past {
            return false;
        }
        let worth = lock(&self.states).waiting(decided).reaches(self.part());
        self.has_past = worth || !self.has_replayed();
        worth
    }

    /// Whether so much of [S, P) waits to be written that nothing more of it is folded: what waits is in memory, and so are its keys.
    pub fn is_full(&self) -> bool {
        let part = self.part();
        let most = Amount { rows: PARTS * part.rows, bytes: PARTS * part.bytes };
        !self.has_replayed() && !without(Safety::PastWaits) && lock(&self.states).waiting(i64::MAX).reaches(most)
    }

    /// Whether all of [S, P) is folded again. Mostly P stands behind an event, so that there is one to tell.
    pub fn has_replayed(&self) -> bool {
        self.next >= self.scored_from && self.replayed_bytes == 0
    }

    /// Until all is folded again the states do not know of what is still to come.
    fn fold_from(&self, states: &dyn States, to: i64, written: usize) -> i64 {
        let of_states = states.fold_from_after(to, written);
        if self.has_replayed() { of_states } else { of_states.min(states.boundary().max(self.folded_from)) }
    }

    /// Up to where [S, P) is folded, while it is folded and nothing of it is in work.
    pub fn folded_to(&self) -> Option<i64> {
        (!self.has_replayed() && self.in_fold == 0).then(|| lock(&self.states).boundary().max(self.folded_from))
    }

    /// Whether [S, P) is no longer than it is while events are scored, and folding it again a matter of a moment.
    pub fn is_short(&self, fold_from: i64, decided: i64) -> bool {
        decided - fold_from <= self.flush_after.saturating_mul(SHORT) || without(Safety::PausedPast)
    }

    /// Takes the bytes of what has changed, for a decide that stands still. Only while nothing is in work and no decide is open.
    pub fn flush(&self) {
        lock(&self.states).flush(PART.rows);
    }

    pub fn cost_bytes(&self) -> usize {
        lock(&self.states).cost_bytes()
    }
}
