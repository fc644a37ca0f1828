//! What is known of ids. A schema never changes under its id, so it is kept as long as there is room; that there is none is kept for a while.

use super::resolve::Known;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ids that are kept, and what their schemas may take of the memory.
const IDS: usize = 2_000;
const BYTES: usize = 256 << 20;
/// Rounds for which nothing leaves that was asked for: events of so many batches may still be on their way to where they are read.
const ROUNDS: u64 = 4;
/// An id that the registry has not, or whose schema cannot be used, is asked for again after so long.
const REFUSED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<u32, Entry>,
    round: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    known: Arc<Known>,
    used: u64,
    since: Instant,
    bytes: usize,
}

impl Cache {
    /// What is known, however old it is.
    pub fn get(&self, id: u32) -> Option<Arc<Known>> {
        self.entries.get(&id).map(|entry| entry.known.clone())
    }

    /// Whether it is at hand; then it stays so for the rounds that come.
    pub fn keeps(&mut self, id: u32, now: Instant) -> bool {
        let round = self.round;
        let fresh = |entry: &Entry| entry.known.is_ok() || now.saturating_duration_since(entry.since) < REFUSED_FOR;
        match self.entries.get_mut(&id) {
            Some(entry) if fresh(entry) => {
                entry.used = round;
                true
            }
            _ => false,
        }
    }

    /// The events of a round are on their way.
    pub fn next_round(&mut self) {
        self.round += 1;
    }

    pub fn put(&mut self, id: u32, known: Known, now: Instant) {
        let bytes = known.as_ref().map_or(0, |(_, bytes)| *bytes);
        let entry = Entry { known: Arc::new(known), used: self.round, since: now, bytes };
        self.bytes += bytes;
        if let Some(old) = self.entries.insert(id, entry) {
            self.bytes -= old.bytes;
        }
        if self.entries.len() > IDS || self.bytes > BYTES {
            self.shrink();
        }
    }

    /// The longest unused go first, down to nine tenths; those of the last rounds stay whatever they take.
    fn shrink(&mut self) {
        let mut old: Vec<(u64, u32)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.used + ROUNDS < self.round)
            .map(|(id, entry)| (entry.used, *id))
            .collect();
        old.sort_unstable();
        for (_, id) in old {
            if self.entries.len() <= IDS / 10 * 9 && self.bytes <= BYTES / 10 * 9 {
                break;
            }
            if let Some(gone) = self.entries.remove(&id) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::resolve::Refused;

    fn unknown() -> Known {
        Err(Refused::unknown("x".into()))
    }

    /// Would catch: ids that somebody makes up and that fill the memory, one that leaves while its events are on their way.
    #[test]
    fn what_is_on_its_way_stays_and_the_rest_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for id in 0..100_000 {
            cache.put(id, unknown(), now);
            assert!(cache.keeps(id, now));
            if id % 500 == 0 {
                cache.next_round();
            }
            let least = id.saturating_sub(1_500);
            assert!((least..=id).step_by(250).all(|id| cache.get(id).is_some()), "{id}");
        }
        assert!(cache.entries.len() <= IDS + 6 * 500, "{}", cache.entries.len());
    }

    /// Would catch: an id that was asked for too early and is refused for ever, one that is refused and asked for at each event.
    #[test]
    fn an_id_that_is_refused_is_asked_for_again_later() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert!(!cache.keeps(7, now));
        cache.put(7, unknown(), now);
        assert!(cache.keeps(7, now + Duration::from_secs(59)));
        assert!(!cache.keeps(7, now + Duration::from_secs(61)));
        assert!(cache.get(7).is_some(), "what is on its way is read by what was known");
    }
}
