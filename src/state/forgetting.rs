//! A fold that forgets: the state of a key whose newest event lies too far behind the newest event of its partition counts as none.
//!
//! Whether a state is forgotten must not depend on who deletes a row, and when: a replay would give other states. So it is part of the
//! fold. A key of the partition's own, [`CLOCK`], keeps the newest event time folded. Each event looks at it first, and begins anew a
//! state that is more than `after_ms` older. Since the clock never goes back, a state that is forgotten once stays so until an
//! event of its key comes, which finds nothing either way. So a row that is older than the clock *as it is written* may be deleted
//! at any time, by anybody, beside a worker that has it in memory.
//!
//! The clock is ring one and the event's keys are ring two ([`Fold::link`]): all that has changed is written together, so that a
//! replay finds the clock as it stood at S.
//!
//! One event whose time is wrong must not make a partition forget all. So an event that is more than [`LEAP_MS`] ahead of the clock moves
//! it only as the [`IN_A_ROW`]th in a row that is, and to the earliest of them: after a silence all events are ahead, and a producer whose clock is
//! wrong stands among others. Until then less is forgotten, which harms nobody.

use super::cache::can_be_stored;
use super::recommend::bytes::Part;
use super::{At, Features, Fold, Keys, Stored, StoredError};
use crate::event::{Event, Rejection};
use sha2::{Digest, Sha256};

/// The key of the newest event time of a partition. Keys of folds have a kind before a colon, so none is called so.
pub const CLOCK: &str = "clock";
/// Raised when the same settings give other states.
const VERSION: &str = "forgetting 2";
/// How far ahead of the clock an event may be to move it alone: a day.
pub const LEAP_MS: i64 = 86_400_000;
/// How many events in a row must be further ahead than that.
pub const IN_A_ROW: u32 = 16;

/// A fold that forgets, around one that does not [link](Fold::links).
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
    /// The clock before this event.
    clock: Option<Clock>,
}

/// The newest event time of a partition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    newest_ms: i64,
    /// How many of the last events were more than [`LEAP_MS`] ahead, and the earliest of them.
    ahead: u32,
    earliest_ms: i64,
}

impl Clock {
    /// The first events of a partition are ahead of the smallest time, so that no single one of them sets its clock either.
    fn at(newest_ms: i64) -> Self {
        Self { newest_ms, ahead: 0, earliest_ms: 0 }
    }

    /// With one event more.
    fn after(self, time_ms: i64) -> Self {
        if time_ms.saturating_sub(self.newest_ms) <= LEAP_MS {
            return Self::at(self.newest_ms.max(time_ms));
        }
        let earliest_ms = if self.ahead == 0 { time_ms } else { self.earliest_ms.min(time_ms) };
        match self.ahead + 1 {
            IN_A_ROW.. => Self::at(earliest_ms),
            ahead => Self { ahead, earliest_ms, ..self },
        }
    }
}

/// What is remembered of a key.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Kept<S> {
    #[default]
    Nothing,
    Clock(Clock),
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
        Ok(Facts { inner, keys, clock: None })
    }

    fn keys(&self, _: &mut Self::Facts) -> Keys {
        Keys::from([CLOCK.into()])
    }

    fn ahead(&self, facts: &Self::Facts) -> Keys {
        facts.keys.clone()
    }

    fn link(&self, ring_one: &[&Self::State], facts: &mut Self::Facts) -> Keys {
        facts.clock = match ring_one.first() {
            Some(Kept::Clock(clock)) => Some(*clock),
            _ => None,
        };
        facts.keys.clone()
    }

    fn fold(&self, key: usize, state: &mut Self::State, facts: &Self::Facts, at: At) {
        let Some(of_inner) = key.checked_sub(1) else {
            *state = Kept::Clock(facts.clock.unwrap_or(Clock::at(i64::MIN)).after(at.time_ms));
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
        facts.clock.is_some_and(|clock| clock.newest_ms.saturating_sub(newest_ms) > self.after_ms)
    }
}

/// The newest event time of a partition, out of the row of its [`CLOCK`].
pub fn newest_of(clock: &[u8]) -> Result<Option<i64>, StoredError> {
    // The clock has no state within it; any other would be read the same way.
    match Kept::<Never>::decode(clock)? {
        Kept::Clock(clock) => Ok(Some(clock.newest_ms)),
        Kept::Nothing | Kept::Of { .. } => Ok(None),
    }
}

/// A state that no row holds.
#[derive(Default)]
struct Never;

impl Stored for Never {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &[u8]) -> Result<Self, StoredError> {
        Err(StoredError("it is no clock"))
    }

    fn cost_bytes(&self) -> usize {
        0
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
            Self::Clock(clock) => {
                true.write(into);
                clock.newest_ms.write(into);
                clock.ahead.write(into);
                clock.earliest_ms.write(into);
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
        if !is_clock {
            return Ok(Self::Of { newest_ms, state: S::decode(from)? });
        }
        let (ahead, earliest_ms) = (u32::read(&mut from)?, i64::read(&mut from)?);
        match from {
            [] => Ok(Self::Clock(Clock { newest_ms, ahead, earliest_ms })),
            _ => Err(StoredError("bytes are left over")),
        }
    }

    fn cost_bytes(&self) -> usize {
        let own = self.state().map_or(0, |state| state.cost_bytes().saturating_sub(size_of::<S>()));
        size_of::<Self>() + own
    }
}

#[cfg(test)]
mod tests;
