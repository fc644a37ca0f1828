//! The keys in memory: each is looked for once an event, and stands in one place for as long as it stays.

use ahash::RandomState;
use hashbrown::HashTable;
use std::sync::Arc;

/// Where a key stands. The place of a key that left goes to another.
pub type Place = u32;

/// What is in memory of a key.
pub struct Entry<S> {
    pub key: Arc<str>,
    pub state: S,
    /// Events of this key below are in the state.
    pub as_of: i64,
    pub newest_ms: i64,
    /// First change whose bytes were not taken.
    pub dirty_from: Option<i64>,
    /// Rows that were taken and are not confirmed.
    pub waiting: usize,
    /// When it was used last, in the count of [`Recent`](super::recent::Recent).
    pub used: u64,
    /// Bytes of memory of the state.
    pub cost: usize,
}

/// Entries by key. Keys come from events: the hash is seeded, so that nobody can choose many that meet.
pub struct Table<S> {
    hasher: RandomState,
    places: HashTable<Place>,
    entries: Vec<Option<Entry<S>>>,
    free: Vec<Place>,
}

impl<S> Table<S> {
    pub fn new() -> Self {
        Self { hasher: RandomState::new(), places: HashTable::new(), entries: Vec::new(), free: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn find(&self, key: &str) -> Option<Place> {
        self.places.find(self.hasher.hash_one(key), |place| is_at(&self.entries, *place, key)).copied()
    }

    /// Adds the places of keys; returns those that have none.
    pub fn find_all(&self, keys: &[Box<str>], places: &mut Vec<Place>) -> Vec<Box<str>> {
        let mut missing = Vec::new();
        for key in keys {
            match self.find(key) {
                Some(place) => places.push(place),
                None => missing.push(key.clone()),
            }
        }
        missing
    }

    pub fn get(&self, place: Place) -> Option<&Entry<S>> {
        self.entries.get(place as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, place: Place) -> Option<&mut Entry<S>> {
        self.entries.get_mut(place as usize)?.as_mut()
    }

    /// The place that the next key gets.
    pub fn next(&self) -> Place {
        self.free.last().copied().unwrap_or(self.entries.len() as Place)
    }

    /// Adds a key that is not there, at [`next`](Self::next).
    pub fn insert(&mut self, entry: Entry<S>) {
        let (place, hash) = (self.next(), self.hasher.hash_one(&*entry.key));
        if self.free.pop().is_some() {
            self.entries[place as usize] = Some(entry);
        } else {
            self.entries.push(Some(entry));
        }
        let hash_of = |place: &Place| self.entries[*place as usize].as_ref().map_or(0, |entry| self.hasher.hash_one(&*entry.key));
        self.places.insert_unique(hash, place, hash_of);
    }

    pub fn remove(&mut self, place: Place) -> Option<Entry<S>> {
        let entry = self.entries.get_mut(place as usize)?.take()?;
        if let Ok(found) = self.places.find_entry(self.hasher.hash_one(&*entry.key), |other| *other == place) {
            found.remove();
        }
        self.free.push(place);
        Some(entry)
    }
}

fn is_at<S>(entries: &[Option<Entry<S>>], place: Place, key: &str) -> bool {
    entries[place as usize].as_ref().is_some_and(|entry| *entry.key == *key)
}
