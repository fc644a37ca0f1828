//! A fold over a log with all its states in memory: for evaluation and tests. Nothing is evicted.

use super::recommend::QuickBuild;
use super::{At, Features, Fold, Keys};
use crate::event::{Event, Rejection};
use std::collections::HashMap;

/// The states of every key, by type.
pub struct InMemory<F: Fold> {
    fold: F,
    places: HashMap<Box<str>, usize, QuickBuild>,
    states: Vec<F::State>,
}

/// An event's states, as they stand.
pub struct Seen<'a, F: Fold> {
    pub facts: F::Facts,
    pub states: Vec<&'a F::State>,
    pub at: At,
}

impl<F: Fold> InMemory<F> {
    pub fn new(fold: F) -> Self {
        Self { fold, places: HashMap::default(), states: Vec::new() }
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

    /// Folds an event, and says what the fold makes of it.
    pub fn apply(&mut self, event: &Event) -> Result<Features, Rejection> {
        let (facts, places) = self.take(event, usize::MAX)?;
        let states: Vec<&F::State> = places.iter().map(|place| &self.states[*place]).collect();
        Ok(self.fold.features(&states, &facts, at(event)))
    }

    /// Folds an event into the first `keys` of its keys alone; with `usize::MAX` into all.
    pub fn fold_into(&mut self, event: &Event, keys: usize) -> Result<(), Rejection> {
        self.take(event, keys).map(|_| ())
    }

    /// The states of an event's keys before it is folded; a key that is new has none.
    pub fn look(&self, event: &Event, empty: &'static F::State) -> Result<Seen<'_, F>, Rejection> {
        let mut facts = self.fold.read(event)?;
        let of = |keys: &Keys| -> Vec<&F::State> {
            keys.iter().map(|key| self.places.get(key).map_or(empty, |place| &self.states[*place])).collect()
        };
        let mut states = of(&self.fold.keys(&mut facts));
        let further = self.fold.link(&states, &mut facts);
        states.extend(of(&further));
        Ok(Seen { facts, states, at: at(event) })
    }

    fn take(&mut self, event: &Event, keys: usize) -> Result<(F::Facts, Vec<usize>), Rejection> {
        let mut facts = self.fold.read(event)?;
        let mut places = Vec::new();
        for key in self.fold.keys(&mut facts) {
            places.push(self.place(key));
        }
        let ring_one: Vec<&F::State> = places.iter().map(|place| &self.states[*place]).collect();
        let further = self.fold.link(&ring_one, &mut facts);
        for key in further {
            places.push(self.place(key));
        }
        for (key, place) in places.iter().enumerate().take(keys) {
            self.fold.fold(key, &mut self.states[*place], &facts, at(event));
        }
        Ok((facts, places))
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

fn at(event: &Event) -> At {
    At { time_ms: event.event_time_ms, offset: event.raw.position.offset }
}
