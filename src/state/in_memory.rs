//! A fold over a log with all its states in memory: for files, evaluation and tests. Nothing is evicted.

use super::{At, Features, Fold};
use crate::event::{Event, Rejection};
use std::collections::HashMap;

/// The states of every key, by type.
pub struct InMemory<F: Fold> {
    fold: F,
    places: HashMap<Box<str>, usize>,
    states: Vec<F::State>,
}

impl<F: Fold> InMemory<F> {
    pub fn new(fold: F) -> Self {
        Self { fold, places: HashMap::new(), states: Vec::new() }
    }

    pub fn fold(&self) -> &F {
        &self.fold
    }

    pub fn keys(&self) -> usize {
        self.states.len()
    }

    /// Every key with its state, in the order of the keys.
    pub fn all(&self) -> Vec<(&str, &F::State)> {
        let mut all: Vec<(&str, &F::State)> = self.places.iter().map(|(key, place)| (&**key, &self.states[*place])).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Folds an event, and says what the fold makes of it. A rejected event touches no state.
    pub fn apply(&mut self, event: &Event) -> Result<Features, Rejection> {
        let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
        let mut facts = self.fold.read(event)?;
        let mut places: Vec<usize> = self.fold.keys(&facts).into_iter().map(|key| self.place(key)).collect();
        let ring_one: Vec<&F::State> = places.iter().map(|place| &self.states[*place]).collect();
        let further = self.fold.link(&ring_one, &mut facts);
        places.extend(further.into_iter().map(|key| self.place(key)));
        for (key, place) in places.iter().enumerate() {
            self.fold.fold(key, &mut self.states[*place], &facts, at);
        }
        let states: Vec<&F::State> = places.iter().map(|place| &self.states[*place]).collect();
        Ok(self.fold.features(&states, &facts, at))
    }

    fn place(&mut self, key: Box<str>) -> usize {
        let next = self.states.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.states.push(F::State::default());
        }
        place
    }
}
