//! Folds events of one partition into the states of their keys, which are brought from the store where they are missing.

use super::{Shared, Then, Waiting, lock};
use crate::event::{Event, RawEvent, Rejection};
use crate::flow::Ending;
use crate::function::Input;
use crate::state::{At, Facts, Features, Keys, Step, StoredRow};
use crate::store::{PartitionKey, Store, StoreError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Events that are folded before the lock is given back.
const EVENTS_A_LOCK: usize = 64;
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
