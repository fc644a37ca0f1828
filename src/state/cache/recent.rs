//! Keys by when they were used last: every use is noted at the end of a queue, and an older note of the same key is passed over when
//! it comes to the front. A note costs a few bytes in order; a list through the entries would touch two strangers an event.

use super::table::{Place, Table};
use std::collections::VecDeque;

/// Notes beyond two a key before the old ones are cleared away.
const SPARE: usize = 1_024;

#[derive(Default)]
pub struct Recent {
    /// When, and who.
    notes: VecDeque<(u64, Place)>,
    clock: u64,
}

impl Recent {
    /// Notes a use; the entry keeps what is returned.
    pub fn note(&mut self, place: Place) -> u64 {
        self.clock += 1;
        self.notes.push_back((self.clock, place));
        self.clock
    }

    /// Clears away what newer notes have replaced, once it is most of them.
    pub fn tidy<S>(&mut self, table: &Table<S>) {
        if self.notes.len() > 2 * table.len() + SPARE {
            self.notes.retain(|note| stands(table, *note));
        }
    }

    /// Takes out, the least recently used first, those that may go, until enough of them went.
    pub fn leave<S>(&mut self, table: &Table<S>, mut may_go: impl FnMut(Place) -> Leave) -> Vec<Place> {
        let (mut kept, mut left) = (Vec::new(), Vec::new());
        while let Some(note) = self.notes.pop_front() {
            if !stands(table, note) {
                continue;
            }
            match may_go(note.1) {
                Leave::Goes => left.push(note.1),
                Leave::Stays => kept.push(note),
                Leave::Enough => {
                    kept.push(note);
                    break;
                }
            }
        }
        kept.into_iter().rev().for_each(|note| self.notes.push_front(note));
        left
    }
}

/// What becomes of a key that is looked at.
pub enum Leave {
    Goes,
    Stays,
    /// It stays, and so do all that were used later.
    Enough,
}

fn stands<S>(table: &Table<S>, (used, place): (u64, Place)) -> bool {
    table.get(place).is_some_and(|entry| entry.used == used)
}
