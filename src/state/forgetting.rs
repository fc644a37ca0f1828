//! A fold that forgets: the state of a key whose newest event lies too far behind the newest event of its partition counts as none.
//!
//! Whether a state is forgotten must not depend on who deletes a row, and when: a replay would give other states. So it is part of the
//! fold. A key of the partition's own, [`CLOCK`], keeps the newest event time folded. Each event looks at it first, and begins anew a
//! state that is more than `after_ms` older. Since the clock never goes back, a state that is forgotten once stays so until an
//! event of its key comes, which finds nothing either way. So a row that is older than the clock *as it is written* may be deleted
//! at any time, by anybody, beside a worker that has it in memory.
//!
//! The clock is ring one and the event's keys are ring two ([`Fold::link`]): all that has changed is written together, so that a
//! replay finds the clock as it stood at S. The price: keys that are not in memory are read an event at a time.

use super::cache::can_be_stored;
use super::recommend::bytes::Part;
use super::{At, Features, Fold, Keys, Stored, StoredError};
use crate::event::{Event, Rejection};
use sha2::{Digest, Sha256};

/// The key of the newest event time of a partition. Keys of folds have a kind before a colon, so none is called so.
pub const CLOCK: &str = "clock";
/// Raised when the same settings give other states.
const VERSION: &str = "forgetting 1";

/// See the [module](self). Around a fold that does not [link](Fold::links).
pub struct Forgetting<F> {
    inner: F,
    after_ms: i64,
    digest: String,
}

impl<F: Fold> Forgetting<F> {
    /// `after_ms`: how much older than the newest event of its partition the newest of a key may be.
    pub fn new(inner: F, after_ms: i64) -> Self {
        let hash = Sha256::digest(format!("{VERSION} {after_ms} {}", inner.digest()).as_bytes());
        let mut digest: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        digest.truncate(12);
        Self { inner, after_ms, digest }
    }
}

/// What is read of an event.
pub struct Facts<T> {
    inner: T,
    keys: Keys,
    /// The newest event time of the partition before this event.
    clock_ms: Option<i64>,
}

/// What is remembered of a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Kept<S> {
    #[default]
    Nothing,
    Clock(i64),
    Of {
        /// The newest event that is in it.
        newest_ms: i64,
        state: S,
    },
}

impl<F: Fold> Fold for Forgetting<F> {
    type Facts = Facts<F::Facts>;
    type State = Kept<F::State>;

    fn digest(&self) -> &str {
        &self.digest
    }

    fn read(&self, event: &Event) -> Result<Self::Facts, Rejection> {
        let mut inner = self.inner.read(event)?;
        let keys = self.inner.keys(&mut inner);
        keys.iter().try_for_each(|key| can_be_stored(key))?;
        Ok(Facts { inner, keys, clock_ms: None })
    }

    fn keys(&self, _: &mut Self::Facts) -> Keys {
        Keys::from([CLOCK.into()])
    }

    fn link(&self, ring_one: &[&Self::State], facts: &mut Self::Facts) -> Keys {
        facts.clock_ms = match ring_one.first() {
            Some(Kept::Clock(newest)) => Some(*newest),
            _ => None,
        };
        facts.keys.clone()
    }

    fn fold(&self, key: usize, state: &mut Self::State, facts: &Self::Facts, at: At) {
        let Some(of_inner) = key.checked_sub(1) else {
            let newest = facts.clock_ms.map_or(at.time_ms, |clock| clock.max(at.time_ms));
            *state = Kept::Clock(newest);
            return;
        };
        let (mut newest_ms, mut inner) = match std::mem::take(state) {
            Kept::Of { newest_ms, state } if !self.forgets(newest_ms, facts) => (newest_ms, state),
            _ => (i64::MIN, F::State::default()),
        };
        self.inner.fold(of_inner, &mut inner, &facts.inner, at);
        newest_ms = newest_ms.max(at.time_ms);
        *state = Kept::Of { newest_ms, state: inner };
    }

    fn features(&self, states: &[&Self::State], facts: &Self::Facts, at: At) -> Features {
        let inner: Vec<&F::State> = states.iter().filter_map(|kept| kept.state()).collect();
        self.inner.features(&inner, &facts.inner, at)
    }
}

impl<F: Fold> Forgetting<F> {
    fn forgets(&self, newest_ms: i64, facts: &Facts<F::Facts>) -> bool {
        facts.clock_ms.is_some_and(|clock| clock.saturating_sub(newest_ms) > self.after_ms)
    }
}

impl<S> Kept<S> {
    /// The state itself; none of the clock.
    pub fn state(&self) -> Option<&S> {
        match self {
            Self::Of { state, .. } => Some(state),
            Self::Nothing | Self::Clock(_) => None,
        }
    }
}

impl<S: Stored> Stored for Kept<S> {
    fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Nothing => {}
            Self::Clock(newest) => {
                true.write(into);
                newest.write(into);
            }
            Self::Of { newest_ms, state } => {
                false.write(into);
                newest_ms.write(into);
                state.encode(into);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        let mut from = bytes;
        if from.is_empty() {
            return Ok(Self::Nothing);
        }
        let (is_clock, newest_ms) = (bool::read(&mut from)?, i64::read(&mut from)?);
        match (is_clock, from) {
            (true, []) => Ok(Self::Clock(newest_ms)),
            (true, _) => Err(StoredError("bytes are left over")),
            (false, state) => Ok(Self::Of { newest_ms, state: S::decode(state)? }),
        }
    }

    fn cost_bytes(&self) -> usize {
        let own = self.state().map_or(0, |state| state.cost_bytes().saturating_sub(size_of::<S>()));
        size_of::<Self>() + own
    }
}

#[cfg(test)]
mod tests;
