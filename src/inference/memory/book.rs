//! Who is loaded, who is in use, and who has to go.

use super::Held;
use crate::inference::InferenceError;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

type Value = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
pub struct Book {
    pub limit: Option<usize>,
    /// Nobody has to go for a model that is opened.
    pub keeps_all: bool,
    models: BTreeMap<u64, Entry>,
    next: u64,
    clock: u64,
}

struct Entry {
    name: String,
    /// Loaded or not: what it takes when it is.
    bytes: usize,
    value: Option<Value>,
    pinned: bool,
    leases: usize,
    /// When its last lease began.
    used: u64,
    /// It goes when its leases have ended, and gives no new ones before that.
    wanted: bool,
    unloads: u64,
}

/// How one that is to be loaded finds room.
pub enum Room {
    Enough,
    /// When these are dropped; then ask again.
    After(Vec<Value>),
    /// When leases have ended; then ask again.
    Wait,
}

impl Book {
    pub fn enter(&mut self, name: &str, bytes: usize) -> u64 {
        self.next += 1;
        let name = name.to_owned();
        let entry = Entry { name, bytes, value: None, pinned: false, leases: 0, used: 0, wanted: false, unloads: 0 };
        self.models.insert(self.next, entry);
        self.next
    }

    /// Whether a model that was entered may be opened: while all are kept, and where it goes `beside` them, it must fit beside every other,
    /// loaded or not.
    pub fn admit(&self, number: u64, beside: bool) -> Result<(), InferenceError> {
        let all = self.models.values().map(|of| of.bytes).sum();
        match (self.limit.filter(|_| self.keeps_all || beside), self.models.get(&number)) {
            (Some(limit), Some(new)) if all > limit => {
                Err(InferenceError::Crowded { name: new.name.clone(), bytes: new.bytes, all, limit })
            }
            _ => Ok(()),
        }
    }

    /// Takes a model out; what it held is to be dropped without the lock.
    pub fn leave(&mut self, number: u64) -> Option<Value> {
        self.models.remove(&number)?.value
    }

    pub fn held(&self) -> Vec<Held> {
        let one = |of: &Entry| Held {
            name: of.name.clone(),
            bytes: of.bytes,
            loaded: of.value.is_some(),
            pinned: of.pinned,
            unloads: of.unloads,
        };
        self.models.values().map(one).collect()
    }

    /// What a model takes.
    pub fn weigh(&mut self, number: u64, bytes: usize) {
        if let Some(entry) = self.models.get_mut(&number) {
            entry.bytes = bytes;
        }
    }

    /// A model that is loaded from now on.
    pub fn put(&mut self, number: u64, value: Value) {
        self.clock += 1;
        if let Some(entry) = self.models.get_mut(&number) {
            (entry.value, entry.used, entry.wanted) = (Some(value), self.clock, false);
        }
    }

    /// A loaded model, and one lease more on it.
    pub fn take(&mut self, number: u64) -> Option<Value> {
        self.clock += 1;
        let entry = self.models.get_mut(&number).filter(|entry| !entry.wanted)?;
        let value = Arc::clone(entry.value.as_ref()?);
        entry.leases += 1;
        entry.used = self.clock;
        Some(value)
    }

    pub fn end(&mut self, number: u64) {
        if let Some(entry) = self.models.get_mut(&number) {
            entry.leases -= 1;
        }
    }

    pub fn is_wanted(&self, number: u64) -> bool {
        self.models.get(&number).is_some_and(|entry| entry.wanted)
    }

    pub fn pin(&mut self, number: u64, pinned: bool) {
        if let Some(entry) = self.models.get_mut(&number) {
            (entry.pinned, entry.wanted) = (pinned, false);
        }
    }

    /// Nobody has to go any more.
    pub fn stay(&mut self) {
        self.models.values_mut().for_each(|entry| entry.wanted = false);
    }

    /// What has to happen before a model fits: those without a lease go first, the one used longest ago before the others; then those
    /// with leases are asked to end.
    pub fn room(&mut self, number: u64) -> Result<Room, InferenceError> {
        let (Some(limit), Some(new)) = (self.limit, self.models.get(&number)) else { return Ok(Room::Enough) };
        let (name, bytes) = (new.name.clone(), new.bytes);
        let loaded = |of: &&Entry| of.value.is_some();
        let pinned: usize = self.models.values().filter(loaded).filter(|of| of.pinned).map(|of| of.bytes).sum();
        if pinned + bytes > limit {
            return Err(InferenceError::NoRoom { name, bytes, pinned, limit });
        }
        let mut over = (self.models.values().filter(loaded).map(|of| of.bytes).sum::<usize>() + bytes).saturating_sub(limit);
        if over == 0 {
            return Ok(Room::Enough);
        }
        let mut order: Vec<&mut Entry> = self.models.values_mut().filter(|of| of.value.is_some() && !of.pinned).collect();
        order.sort_by_key(|of| (of.leases > 0, of.used));
        let mut out = Vec::new();
        for of in order {
            if over == 0 {
                break;
            }
            over = over.saturating_sub(of.bytes);
            if of.leases > 0 {
                of.wanted = true;
                continue;
            }
            tracing::info!(model = of.name, bytes = of.bytes, "A model without work was unloaded to make room for another.");
            of.unloads += 1;
            out.extend(of.value.take());
        }
        Ok(if out.is_empty() { Room::Wait } else { Room::After(out) })
    }
}
