//! The states of one partition in memory, typed.

mod recent;
mod table;

use super::states::{Amount, Facts, States, Step, StoredRow, WrongFacts};
use super::{At, Features, Fold, Keys, Stored, StoredError};
use crate::event::{Event, Rejection};
use recent::{Leave, Recent};
use std::collections::VecDeque;
use std::sync::Arc;
use table::{Entry, Place, Table};

/// Bytes a key costs beside its state and its name.
const OVERHEAD_BYTES: usize = 160;

/// Longest key, bytes: an entry of an index takes 2,700.
const KEY_BYTES: usize = 1_024;

/// Rules that a test takes out one at a time.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    AsOf,
    FoldFrom,
    Boundary,
    Committed,
    TogetherWithRingTwo,
}

/// What was read of an event, and the keys that it names.
struct Read<F: Fold> {
    facts: F::Facts,
    keys: Keys,
}

/// Bytes on their way to the store.
struct Taken {
    key: Arc<str>,
    place: Place,
    row: StoredRow,
    /// The lowest offset whose change is in them and in no row before.
    from: i64,
}

/// See [`States`].
pub struct Cache<F: Fold> {
    fold: Arc<F>,
    /// A key is written when it has been dirty for so many offsets.
    flush_after: i64,
    entries: Table<F::State>,
    /// Keys by their first change whose bytes were not taken. Offsets only grow, so they are in order.
    dirty: VecDeque<(i64, Place)>,
    /// By the boundary at which they were taken, and by `from`: the key that has been dirty for longest is taken first.
    taken: VecDeque<Taken>,
    recent: Recent,
    cost: usize,
    /// Places of the keys of the event at hand.
    places: Vec<Place>,
    /// Room for the bytes of one state.
    room: Vec<u8>,
    /// Offset after the last event that was advanced.
    boundary: i64,
    #[cfg(test)]
    pub(super) without: Option<Rule>,
}

impl<F: Fold> Cache<F> {
    pub fn new(fold: Arc<F>, flush_after: i64) -> Self {
        Self {
            fold,
            flush_after: flush_after.max(1),
            entries: Table::new(),
            dirty: VecDeque::new(),
            taken: VecDeque::new(),
            recent: Recent::default(),
            cost: 0,
            places: Vec::new(),
            room: Vec::new(),
            boundary: 0,
            #[cfg(test)]
            without: None,
        }
    }

    #[cfg(test)]
    fn lacks(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    /// The states of the event at hand.
    fn states(&self) -> Vec<&F::State> {
        self.places.iter().filter_map(|place| self.entries.get(*place)).map(|entry| &entry.state).collect()
    }

    /// Folds the event into one key, unless the key has it.
    fn fold_key(&mut self, index: usize, facts: &F::Facts, at: At) {
        let place = self.places[index];
        let Some(entry) = self.entries.get_mut(place) else { return };
        entry.used = self.recent.note(place);
        let fresh = at.offset >= entry.as_of;
        #[cfg(test)]
        let fresh = fresh || self.without == Some(Rule::AsOf);
        if !fresh {
            return;
        }
        self.fold.fold(index, &mut entry.state, facts, at);
        entry.as_of = at.offset + 1;
        entry.newest_ms = entry.newest_ms.max(at.time_ms);
        if entry.dirty_from.is_none() {
            entry.dirty_from = Some(at.offset);
            self.dirty.push_back((at.offset, place));
        }
        let cost = entry.state.cost_bytes();
        self.cost = self.cost - entry.cost + cost;
        entry.cost = cost;
    }

    /// The first change whose bytes were not taken.
    fn dirty_from(&self) -> Option<i64> {
        let stands =
            |(from, place): &&(i64, Place)| self.entries.get(*place).is_some_and(|entry| entry.dirty_from == Some(*from));
        self.dirty.iter().find(stands).map(|(from, _)| *from)
    }

    /// Takes the bytes of the key that has been dirty for longest, at the boundary.
    fn take_first(&mut self) {
        let Some((from, place)) = self.dirty.pop_front() else { return };
        let Some(entry) = self.entries.get_mut(place).filter(|entry| entry.dirty_from == Some(from)) else { return };
        self.room.clear();
        entry.state.encode(&mut self.room);
        entry.dirty_from = None;
        entry.waiting += 1;
        self.cost += self.room.len();
        let row = StoredRow { as_of: self.boundary, newest_ms: entry.newest_ms, bytes: self.room.as_slice().into() };
        self.taken.push_back(Taken { key: entry.key.clone(), place, row, from });
    }

    /// How many of the rows that wait P has reached once it stands at `to`.
    fn reached(&self, to: i64) -> usize {
        #[cfg(test)]
        if self.lacks(Rule::Boundary) {
            return self.taken.len();
        }
        self.taken.partition_point(|taken| taken.row.as_of <= to)
    }

    fn take_all(&mut self) {
        while !self.dirty.is_empty() {
            self.take_first();
        }
    }

    /// Folds the event, and works its features out where they are asked for.
    fn step(&mut self, facts: &mut Facts, at: At, is_scored: bool) -> Result<Step, WrongFacts> {
        debug_assert!(at.offset >= self.boundary, "offsets only grow");
        let Read { facts, keys } = facts.downcast_mut::<Read<F>>().ok_or(WrongFacts)?;
        self.places.clear();
        let missing = self.entries.find_all(keys, &mut self.places);
        if !missing.is_empty() {
            return Ok(Step::Missing(missing));
        }
        if self.fold.links() {
            let ring_two = self.fold.link(&self.states(), facts);
            let missing = self.entries.find_all(&ring_two, &mut self.places);
            if !missing.is_empty() {
                return Ok(Step::Missing(missing));
            }
        }
        for index in 0..self.places.len() {
            self.fold_key(index, facts, at);
        }
        self.recent.tidy(&self.entries);
        let features = if is_scored { self.fold.features(&self.states(), facts, at) } else { Features::default() };
        self.boundary = at.offset + 1;
        self.take_due();
        Ok(Step::Ready(features))
    }

    /// Takes what is due; all that has changed when the fold [links](Fold::links).
    fn take_due(&mut self) {
        let is_due = |from: i64, boundary: i64, after: i64| boundary - from >= after;
        if !self.dirty_from().is_some_and(|from| is_due(from, self.boundary, self.flush_after)) {
            return;
        }
        let together = self.fold.links();
        #[cfg(test)]
        let together = together && !self.lacks(Rule::TogetherWithRingTwo);
        if together {
            return self.take_all();
        }
        while self.dirty.front().is_some_and(|(from, _)| is_due(*from, self.boundary, self.flush_after)) {
            self.take_first();
        }
    }
}

impl<F: Fold> States for Cache<F> {
    fn digest(&self) -> &str {
        self.fold.digest()
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        let mut facts = self.fold.read(event)?;
        let keys = self.fold.keys(&mut facts);
        keys.iter().try_for_each(|key| can_be_stored(key))?;
        Ok(Box::new(Read::<F> { facts, keys }))
    }

    fn prefetch_keys(&self, facts: &Facts) -> Result<Keys, WrongFacts> {
        let read = facts.downcast_ref::<Read<F>>().ok_or(WrongFacts)?;
        let ahead = self.fold.ahead(&read.facts);
        Ok(read.keys.iter().chain(&ahead).filter(|key| self.entries.find(key).is_none()).cloned().collect())
    }

    fn load(&mut self, key: &str, row: Option<StoredRow>) -> Result<(), StoredError> {
        if self.entries.find(key).is_some() {
            return Ok(());
        }
        let (state, as_of, newest_ms) = match row {
            Some(row) => (F::State::decode(&row.bytes)?, row.as_of, row.newest_ms),
            None => (F::State::default(), i64::MIN, i64::MIN),
        };
        let cost = state.cost_bytes();
        self.cost += cost + key.len() + OVERHEAD_BYTES;
        let used = self.recent.note(self.entries.next());
        self.entries.insert(Entry { key: key.into(), state, as_of, newest_ms, dirty_from: None, waiting: 0, used, cost });
        Ok(())
    }

    fn advance(&mut self, facts: &mut Facts, at: At) -> Result<Step, WrongFacts> {
        self.step(facts, at, true)
    }

    fn replay(&mut self, facts: &mut Facts, at: At) -> Result<Step, WrongFacts> {
        self.step(facts, at, false)
    }

    fn due(&self, to: i64, most: Amount) -> usize {
        let reached = self.reached(to);
        let mut bytes = 0;
        let fits = |taken: &&Taken| {
            bytes += taken.row.bytes.len();
            bytes <= most.bytes
        };
        let count = self.taken.iter().take(reached.min(most.rows)).take_while(fits).count().max(1).min(reached);
        match count.checked_sub(1).and_then(|last| self.taken.get(last)) {
            Some(last) if self.fold.links() => self.reached(last.row.as_of),
            _ => count,
        }
    }

    fn rows(&self, count: usize) -> Vec<(Box<str>, StoredRow)> {
        let mut rows: Vec<(Box<str>, StoredRow)> =
            self.taken.iter().take(count).map(|taken| (Box::from(&*taken.key), taken.row.clone())).collect();
        // Stable: the newest of a key stands last, and is the one that is kept.
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        rows.dedup_by(|later, kept| {
            later.0 == kept.0 && {
                std::mem::swap(later, kept);
                true
            }
        });
        rows
    }

    fn fold_from_after(&self, to: i64, count: usize) -> i64 {
        #[cfg(test)]
        if self.lacks(Rule::FoldFrom) {
            return to;
        }
        self.taken.iter().skip(count).map(|taken| taken.from).chain(self.dirty_from()).fold(to, i64::min)
    }

    fn confirmed(&mut self, count: usize) {
        for taken in self.taken.drain(..count.min(self.taken.len())) {
            self.cost -= taken.row.bytes.len();
            let entry = self.entries.get_mut(taken.place).filter(|entry| Arc::ptr_eq(&entry.key, &taken.key));
            if let Some(entry) = entry {
                entry.waiting = entry.waiting.saturating_sub(1);
            }
        }
    }

    fn written_below(&mut self, fold_from: i64) {
        self.confirmed(self.taken.partition_point(|taken| taken.from < fold_from));
    }

    fn boundary(&self) -> i64 {
        self.boundary
    }

    fn waiting(&self, to: i64) -> Amount {
        let reached = self.taken.iter().take(self.reached(to));
        reached.fold(Amount { rows: 0, bytes: 0 }, |sum, taken| Amount {
            rows: sum.rows + 1,
            bytes: sum.bytes + taken.row.bytes.len(),
        })
    }

    fn flush(&mut self, most: usize) {
        if self.fold.links() {
            return self.take_all();
        }
        let full = self.taken.len().saturating_add(most);
        while self.taken.len() < full && !self.dirty.is_empty() {
            self.take_first();
        }
    }

    fn cost_bytes(&self) -> usize {
        self.cost
    }

    fn evict(&mut self, budget_bytes: usize) {
        let mut over = self.cost.saturating_sub(budget_bytes);
        #[cfg(test)]
        let without = self.without;
        let leaving = self.recent.leave(&self.entries, |place| {
            let Some(entry) = self.entries.get(place).filter(|_| over > 0) else { return Leave::Enough };
            let clean = entry.dirty_from.is_none() && entry.waiting == 0;
            #[cfg(test)]
            let clean = clean || without == Some(Rule::Committed);
            if !clean {
                return Leave::Stays;
            }
            over = over.saturating_sub(entry.cost + entry.key.len() + OVERHEAD_BYTES);
            Leave::Goes
        });
        for place in leaving {
            if let Some(entry) = self.entries.remove(place) {
                self.cost -= entry.cost + entry.key.len() + OVERHEAD_BYTES;
            }
        }
    }
}

/// A key goes into an index of Postgres, which takes neither long texts nor U+0000.
pub(super) fn can_be_stored(key: &str) -> Result<(), Rejection> {
    if key.contains('\0') {
        return Err(Rejection::new("nul_character", "a key of the event holds U+0000, which Postgres cannot store"));
    }
    if key.len() > KEY_BYTES {
        let detail = format!("a key of the event has {} bytes, the limit is {KEY_BYTES}", key.len());
        return Err(Rejection::new("key_too_long", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
