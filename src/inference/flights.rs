//! Texts that somebody is computing just now. Who wants one of them too waits for it instead of computing it again.
//!
//! Who has claimed texts computes them before it waits for those of others, so that no two wait for each other. A claim that ends without
//! a vector, by an error or a panic, wakes those who wait, and one of them claims the text anew.

use super::results::{Key, Results};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The texts of one encoder that are under way.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<Key, Arc<Flight>>>);

#[derive(Default)]
struct Flight {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    Landed(Arc<[f32]>),
    Lost,
}

/// Who computes a text's vector.
pub enum Claim<'a> {
    /// Nobody: it is kept.
    Known(Vec<f32>),
    Own(Ticket<'a>),
    /// Somebody does it already; perhaps the caller itself, for an equal text before this one.
    Others(Waiting),
}

/// The duty to compute a text's vector.
pub struct Ticket<'a> {
    flights: &'a Flights,
    key: Key,
    flight: Arc<Flight>,
}

/// A vector that is not there yet.
pub struct Waiting(Arc<Flight>);

impl Flights {
    /// One claim a text, in order.
    pub fn claim(&self, keys: &[Key], results: &Results) -> Vec<Claim<'_>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |key: &Key| {
            if let Some(flight) = open.get(key) {
                return Claim::Others(Waiting(Arc::clone(flight)));
            }
            // Looked up under the lock: what has landed is kept before it is no longer under way.
            if let Some(vector) = results.vector(key) {
                return Claim::Known(vector);
            }
            let flight = Arc::<Flight>::default();
            open.insert(*key, Arc::clone(&flight));
            Claim::Own(Ticket { flights: self, key: *key, flight })
        };
        keys.iter().map(one).collect()
    }

    /// How many wait, for tests that want them to.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The table and the ticket hold it too.
        open.values().map(|flight| Arc::strong_count(flight).saturating_sub(2)).sum()
    }
}

impl Ticket<'_> {
    /// Keeps the vector of a text of so many tokens, and gives it to those who wait.
    pub fn land(self, vector: &[f32], tokens: usize, results: &Results) {
        results.keep_vector(self.key, vector, tokens);
        // Copied for those alone who wait.
        if self.is_wanted() {
            self.flight.end(State::Landed(vector.into()));
        }
    }

    /// Takes the text off the table, and tells whether somebody had found it there.
    fn is_wanted(&self) -> bool {
        let mut open = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After a landing another may have claimed it anew.
        if open.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            open.remove(&self.key);
        }
        drop(open);
        // From here on nobody can begin to wait.
        Arc::strong_count(&self.flight) > 1
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.is_wanted() {
            self.flight.end(State::Lost);
        }
    }
}

impl Flight {
    /// The first end counts.
    fn end(&self, end: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open) {
            *state = end;
        }
        self.ended.notify_all();
    }
}

impl Waiting {
    /// The vector; `None` when it was not computed, and has to be claimed anew.
    pub fn vector(self) -> Option<Vec<f32>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                State::Open => state = self.0.ended.wait(state).unwrap_or_else(PoisonError::into_inner),
                State::Landed(vector) => return Some(vector.to_vec()),
                State::Lost => return None,
            }
        }
    }
}
