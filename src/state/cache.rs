//! The states of one partition in memory, typed.

use super::states::{Facts, States, Step, StoredRow, WrongFacts};
use super::{At, Fold, Keys, Stored, StoredError};
use crate::event::{Event, Rejection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

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

struct Entry<S> {
    state: S,
    /// Events of this key below are in the state.
    as_of: i64,
    newest_ms: i64,
    /// First change whose bytes were not taken.
    dirty_from: Option<i64>,
    /// Rows that were taken and are not confirmed.
    waiting: usize,
    used: u64,
    cost: usize,
}

/// Bytes on their way to the store.
struct Taken {
    row: StoredRow,
    /// The lowest offset whose change is in them and in no row before.
    from: i64,
    /// Whether a decide may have carried them.
    handed: bool,
}

/// See [`States`].
pub struct Cache<F: Fold> {
    fold: Arc<F>,
    /// A key is written when it has been dirty for so many offsets.
    flush_after: i64,
    entries: HashMap<Arc<str>, Entry<F::State>>,
    dirty: BTreeSet<(i64, Arc<str>)>,
    taken: BTreeMap<(i64, Arc<str>), Taken>,
    recent: BTreeMap<u64, Arc<str>>,
    clock: u64,
    cost: usize,
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
            entries: HashMap::new(),
            dirty: BTreeSet::new(),
            taken: BTreeMap::new(),
            recent: BTreeMap::new(),
            clock: 0,
            cost: 0,
            boundary: 0,
            #[cfg(test)]
            without: None,
        }
    }

    #[cfg(test)]
    fn lacks(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    fn missing(&self, keys: &Keys) -> Keys {
        keys.iter().filter(|key| !self.entries.contains_key(&***key)).cloned().collect()
    }

    fn states(&self, keys: &Keys) -> Vec<&F::State> {
        keys.iter().filter_map(|key| self.entries.get(&**key)).map(|entry| &entry.state).collect()
    }

    /// Folds the event into one key, unless the key has it.
    fn fold_key(&mut self, index: usize, key: &str, facts: &F::Facts, at: At) {
        let Some((name, _)) = self.entries.get_key_value(key) else { return };
        let name = name.clone();
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.recent.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.recent.insert(self.clock, name.clone());
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
            self.dirty.insert((at.offset, name));
        }
        let cost = entry.state.cost_bytes();
        self.cost = self.cost - entry.cost + cost;
        entry.cost = cost;
    }

    /// Takes the bytes of one dirty key at the boundary.
    fn take(&mut self, from: i64, key: &Arc<str>) {
        self.dirty.remove(&(from, key.clone()));
        let Some(entry) = self.entries.get_mut(key) else { return };
        let mut bytes = Vec::new();
        entry.state.encode(&mut bytes);
        entry.dirty_from = None;
        entry.waiting += 1;
        self.cost += bytes.len();
        let row = StoredRow { as_of: self.boundary, newest_ms: entry.newest_ms, bytes: bytes.into() };
        self.taken.insert((self.boundary, key.clone()), Taken { row, from, handed: false });
    }

    /// Takes what is due; all that has changed when the fold [links](Fold::links).
    fn take_due(&mut self) {
        let is_due = |from: i64, boundary: i64, after: i64| boundary - from >= after;
        if !self.dirty.first().is_some_and(|(from, _)| is_due(*from, self.boundary, self.flush_after)) {
            return;
        }
        let together = self.fold.links();
        #[cfg(test)]
        let together = together && !self.lacks(Rule::TogetherWithRingTwo);
        if together {
            return self.flush();
        }
        while let Some((from, key)) = self.dirty.first().cloned() {
            if !is_due(from, self.boundary, self.flush_after) {
                return;
            }
            self.take(from, &key);
        }
    }

    fn typed(facts: &Facts) -> Result<&F::Facts, WrongFacts> {
        facts.downcast_ref().ok_or(WrongFacts)
    }
}

impl<F: Fold> States for Cache<F> {
    fn digest(&self) -> &str {
        self.fold.digest()
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        let facts = self.fold.read(event)?;
        self.fold.keys(&facts).iter().try_for_each(|key| can_be_stored(key))?;
        Ok(Box::new(facts))
    }

    fn prefetch_keys(&self, facts: &Facts) -> Result<Keys, WrongFacts> {
        Ok(self.missing(&self.fold.keys(Self::typed(facts)?)))
    }

    fn load(&mut self, key: &str, row: Option<StoredRow>) -> Result<(), StoredError> {
        if self.entries.contains_key(key) {
            return Ok(());
        }
        let (state, as_of, newest_ms) = match row {
            Some(row) => (F::State::decode(&row.bytes)?, row.as_of, row.newest_ms),
            None => (F::State::default(), i64::MIN, i64::MIN),
        };
        let cost = state.cost_bytes();
        let key: Arc<str> = key.into();
        self.clock += 1;
        self.recent.insert(self.clock, key.clone());
        self.cost += cost + key.len() + OVERHEAD_BYTES;
        self.entries.insert(key, Entry { state, as_of, newest_ms, dirty_from: None, waiting: 0, used: self.clock, cost });
        Ok(())
    }

    fn advance(&mut self, facts: &mut Facts, at: At) -> Result<Step, WrongFacts> {
        let facts: &mut F::Facts = facts.downcast_mut().ok_or(WrongFacts)?;
        let mut keys = self.fold.keys(facts);
        let missing = self.missing(&keys);
        if !missing.is_empty() {
            return Ok(Step::Missing(missing));
        }
        let ring_two = self.fold.link(&self.states(&keys), facts);
        let missing = self.missing(&ring_two);
        if !missing.is_empty() {
            return Ok(Step::Missing(missing));
        }
        keys.extend(ring_two);
        for (index, key) in keys.iter().enumerate() {
            self.fold_key(index, key, facts, at);
        }
        let features = self.fold.features(&self.states(&keys), facts, at);
        self.boundary = at.offset + 1;
        self.take_due();
        Ok(Step::Ready(features))
    }

    fn rows_up_to(&mut self, to: i64) -> Vec<(Box<str>, StoredRow)> {
        let mut rows = BTreeMap::new();
        for ((as_of, key), taken) in &mut self.taken {
            let reached = *as_of <= to;
            #[cfg(test)]
            let reached = reached || self.without == Some(Rule::Boundary);
            if reached {
                taken.handed = true;
                // The newest of a key stands last.
                rows.insert(Box::from(&**key), taken.row.clone());
            }
        }
        rows.into_iter().collect()
    }

    fn fold_from_after(&self, to: i64) -> i64 {
        #[cfg(test)]
        if self.lacks(Rule::FoldFrom) {
            return to;
        }
        let dirty = self.dirty.first().map(|(from, _)| *from);
        let unwritten = self.taken.iter().filter(|((as_of, _), taken)| *as_of > to || !taken.handed);
        unwritten.map(|(_, taken)| taken.from).chain(dirty).fold(to, i64::min)
    }

    fn confirmed(&mut self, to: i64) {
        let written: Vec<_> =
            self.taken.iter().filter(|((as_of, _), taken)| *as_of <= to && taken.handed).map(|(at, _)| at.clone()).collect();
        for at in written {
            let Some(taken) = self.taken.remove(&at) else { continue };
            self.cost -= taken.row.bytes.len();
            if let Some(entry) = self.entries.get_mut(&at.1) {
                entry.waiting = entry.waiting.saturating_sub(1);
            }
        }
    }

    fn flush(&mut self) {
        while let Some((from, key)) = self.dirty.first().cloned() {
            self.take(from, &key);
        }
    }

    fn cost_bytes(&self) -> usize {
        self.cost
    }

    fn evict(&mut self, budget_bytes: usize) {
        let mut over = self.cost.saturating_sub(budget_bytes);
        let mut leaving = Vec::new();
        for (used, key) in &self.recent {
            if over == 0 {
                break;
            }
            let Some(entry) = self.entries.get(key) else { continue };
            let clean = entry.dirty_from.is_none() && entry.waiting == 0;
            #[cfg(test)]
            let clean = clean || self.without == Some(Rule::Committed);
            if clean {
                over = over.saturating_sub(entry.cost + key.len() + OVERHEAD_BYTES);
                leaving.push((*used, key.clone()));
            }
        }
        for (used, key) in leaving {
            self.recent.remove(&used);
            if let Some(entry) = self.entries.remove(&key) {
                self.cost -= entry.cost + key.len() + OVERHEAD_BYTES;
            }
        }
    }
}

/// A key goes into an index of Postgres, which takes neither long texts nor U+0000.
fn can_be_stored(key: &str) -> Result<(), Rejection> {
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
