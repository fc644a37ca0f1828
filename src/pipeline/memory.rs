//! What a claimed partition remembers: the states of its keys, and the events that wait to be folded into them.
//!
//! Events are folded in the order of the log, ahead of the calls; what they change is written by the decide whose P has reached
//! it. After a claim the events of [S, P) are folded once more, and not scored.

use crate::event::{Event, RawEvent, Rejection};
use crate::flow::Ending;
use crate::function::Input;
use crate::state::{At, Facts, Features, Keys, States, Step, StoredRow};
use crate::store::{PartitionKey, Store, StoreError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Events that are folded before the lock is given back.
const EVENTS_A_LOCK: usize = 64;
/// Keys that an idle partition writes at a time, so that events that come meanwhile do not wait for all of them.
const FLUSH_KEYS: usize = if cfg!(test) { 3 } else { 2_000 };

/// The fold of a pipeline.
#[derive(Clone)]
pub struct Folding {
    pub digest: Arc<str>,
    /// Makes the empty states of a partition.
    pub fresh: Arc<dyn Fn() -> Box<dyn States> + Send + Sync>,
    /// Memory for states, bytes, over all partitions of the worker.
    pub bytes: usize,
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
            folded_from: fold_from,
            scored_from,
            replayed_bytes: 0,
            used: Instant::now(),
        }
    }

    /// What is to be done with the event at `offset`; `None` when it was taken before, a repeated delivery.
    pub fn place(&mut self, offset: i64) -> Option<Then> {
        if offset < self.next {
            return None;
        }
        self.next = offset + 1;
        Some(if offset < self.scored_from { Then::Replayed } else { Then::Score })
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

    /// What a decide that reaches `to` brings: the states that are due, and S once they are written.
    pub fn due(&self, to: i64) -> (Vec<(Box<str>, StoredRow)>, i64) {
        let mut states = lock(&self.states);
        let rows = states.rows_up_to(to);
        (rows, self.fold_from(&**states, to))
    }

    /// A decide that reached `to` is written; returns S as it stands there.
    pub fn confirmed(&self, to: i64) -> i64 {
        let mut states = lock(&self.states);
        states.confirmed(to);
        self.fold_from(&**states, to)
    }

    /// The source has given all that the log has. Where P stands behind a marker no event tells that [S, P) has come.
    pub fn at_end(&mut self) {
        if self.next > self.folded_from {
            self.next = self.next.max(self.scored_from);
        }
    }

    /// Whether [S, P) is being folded and so much of it waits to be written that a decide is worth it: a new run may have all of the log there.
    pub fn is_worth_writing(&self) -> bool {
        !self.has_replayed() && lock(&self.states).waiting() >= FLUSH_KEYS
    }

    /// Whether all of [S, P) is folded again. Mostly P stands behind an event, so that there is one to tell.
    pub fn has_replayed(&self) -> bool {
        self.next >= self.scored_from && self.replayed_bytes == 0
    }

    /// Until all is folded again the states do not know of what is still to come.
    fn fold_from(&self, states: &dyn States, to: i64) -> i64 {
        let of_states = states.fold_from_after(to);
        if self.has_replayed() { of_states } else { of_states.min(states.boundary().max(self.folded_from)) }
    }

    /// Takes the bytes of what has changed, for a decide that stands still. Only while nothing is in work and no decide is open.
    pub fn flush(&self) {
        lock(&self.states).flush(FLUSH_KEYS);
    }

    pub fn cost_bytes(&self) -> usize {
        lock(&self.states).cost_bytes()
    }
}

/// What became of an event.
#[derive(Debug)]
pub enum AfterFold {
    Scored(Box<Input>),
    Rejected(Box<RawEvent>, Rejection),
    Replayed {
        /// What the budget holds for it.
        bytes: usize,
    },
    Ended {
        offset: i64,
        ending: Ending,
    },
}

/// Why folding cannot go on.
#[derive(Debug)]
pub enum FoldError {
    /// This partition stands; the text says what and why.
    Halt(String),
    Fatal(String),
}

/// Folds events of one partition, in order.
pub struct Folder {
    pub store: Arc<dyn Store>,
    pub key: PartitionKey,
    /// First wait after a store that gave no answer.
    pub backoff: Duration,
    /// Memory for the states of this partition, bytes.
    pub bytes: usize,
}

impl Folder {
    pub async fn fold(&self, states: Shared, events: Vec<Waiting>) -> Result<Vec<AfterFold>, FoldError> {
        let (mut left, missing) = self.read(&states, events)?;
        self.load(&states, missing).await?;
        let mut done = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let missing = self.advance(&states, &mut left, &mut done)?;
            self.load(&states, missing).await?;
        }
        lock(&states).evict(self.bytes);
        Ok(done)
    }

    /// Reads the facts of each event, and says which keys are not in memory.
    fn read(&self, states: &Shared, events: Vec<Waiting>) -> Result<(VecDeque<Read>, Keys), FoldError> {
        let states = lock(states);
        let (mut read, mut missing) = (VecDeque::with_capacity(events.len()), Keys::new());
        for waiting in events {
            let facts = self.guarded(&waiting.event, || states.read(&waiting.event))?;
            if let Ok(facts) = &facts {
                missing.extend(states.prefetch_keys(facts).map_err(|error| FoldError::Fatal(error.to_string()))?);
            }
            read.push_back((waiting, facts));
        }
        Ok((read, missing))
    }

    /// Folds until a key is missing, or some are done.
    fn advance(&self, states: &Shared, left: &mut VecDeque<Read>, done: &mut Vec<AfterFold>) -> Result<Keys, FoldError> {
        let mut states = lock(states);
        for _ in 0..EVENTS_A_LOCK {
            let Some((waiting, facts)) = left.front_mut() else { break };
            let step = match facts {
                Err(_) => None,
                Ok(facts) => {
                    let event = &waiting.event;
                    let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
                    let step = match waiting.then {
                        Then::Score => self.guarded(event, || states.advance(facts, at))?,
                        Then::Replayed | Then::End(_) => self.guarded(event, || states.replay(facts, at))?,
                    };
                    Some(step.map_err(|error| FoldError::Fatal(error.to_string()))?)
                }
            };
            let features = match step {
                Some(Step::Missing(keys)) => return Ok(keys),
                Some(Step::Ready(features)) => Some(features),
                None => None,
            };
            if let Some((waiting, facts)) = left.pop_front() {
                done.push(after(waiting, facts.err(), features));
            }
        }
        Ok(Keys::new())
    }

    /// Brings states from the store, until it answers.
    async fn load(&self, states: &Shared, mut keys: Keys) -> Result<(), FoldError> {
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        keys.dedup();
        let mut wait = self.backoff;
        let rows = loop {
            match self.store.states(&self.key, &keys).await {
                Ok(rows) => break rows,
                Err(StoreError::Transient(detail)) => {
                    tracing::warn!(partition = %self.key.partition, detail, "States cannot be read for now.");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.backoff * 32);
                }
                Err(error) => return Err(FoldError::Fatal(error.to_string())),
            }
        };
        let mut rows: std::collections::HashMap<Box<str>, StoredRow> = rows.into_iter().collect();
        let mut states = lock(states);
        for key in keys {
            let row = rows.remove(&key);
            let (as_of, bytes) = row.as_ref().map_or((0, 0), |row| (row.as_of, row.bytes.len()));
            // The key is payload, and this goes to logs and pages.
            states.load(&key, row).map_err(|error| {
                FoldError::Halt(format!(
                    "{error}: the row of millrace.state for the key of an event was changed by hand, or written by another version under \
                     the same digest. The key is left out here; in view millrace.states the row has `as_of` {as_of} and {bytes} `bytes`. \
                     Restore it, or start a new run with `millrace adopt`, which folds the log again."
                ))
            })?;
        }
        Ok(())
    }

    fn guarded<T>(&self, event: &Event, work: impl FnOnce() -> T) -> Result<T, FoldError> {
        // Nothing of the states is looked at again after a panic.
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
            FoldError::Halt(format!(
                "folding the event at offset {} panicked, which is a defect of the fold: nothing more of the partition is decided. \
                 Nothing is lost; start again with a version that mends it.",
                event.raw.position.offset
            ))
        })
    }
}

/// An event, and what was read of it.
type Read = (Waiting, Result<Facts, Rejection>);

fn after(waiting: Waiting, rejection: Option<Rejection>, features: Option<Features>) -> AfterFold {
    let Waiting { event, then } = waiting;
    match (then, rejection) {
        (Then::Replayed, _) => AfterFold::Replayed { bytes: event.cost_bytes() },
        (Then::End(ending), _) => AfterFold::Ended { offset: event.raw.position.offset, ending },
        (Then::Score, Some(rejection)) => AfterFold::Rejected(Box::new(event.raw), rejection),
        (Then::Score, None) => AfterFold::Scored(Box::new(Input { event, features })),
    }
}
