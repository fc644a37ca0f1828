//! A log through a cache that is cut, evicted, flushed and interrupted at random, against one pass with all states in memory.

use super::super::{Cache, Rule};
use crate::event::Event;
use crate::state::in_memory::InMemory;
use crate::state::{Amount, At, CLOCK, Facts, Features, Fold, States, Step, Stored, StoredRow, newest_of};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;

type Bytes = BTreeMap<Box<str>, std::sync::Arc<[u8]>>;
/// Features, or the code of a rejection.
type Ending = Result<Features, &'static str>;

/// What one pass gives.
pub struct Whole {
    endings: Vec<Ending>,
    bytes: Bytes,
}

impl Whole {
    /// The offsets of the log must count from 0.
    pub fn of<F: Fold>(fold: F, log: &[Event]) -> Self {
        let mut states = InMemory::new(fold);
        let endings = log.iter().map(|event| states.apply(event).map_err(|rejection| rejection.code)).collect();
        let encoded = |state: &F::State| {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            bytes.into()
        };
        Self { endings, bytes: states.all().into_iter().map(|(key, state)| (key.into(), encoded(state))).collect() }
    }

    pub fn keys(&self) -> usize {
        self.bytes.len()
    }

    pub fn rejected(&self) -> usize {
        self.endings.iter().filter(|ending| ending.is_err()).count()
    }
}

/// How a log is treated.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    pub flush_after: i64,
    /// Keys that are written at a time at the end.
    pub flush_keys: usize,
    pub budget_bytes: usize,
    /// A rule of the cache that is taken out.
    pub without: Option<Rule>,
    /// Rows that are older than this beside the clock's are deleted at random moments.
    pub forget_after_ms: Option<i64>,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Every state and every answer was that of the one pass.
    pub same: bool,
    pub deaths: usize,
    /// States that were read from the store.
    pub reads: usize,
    /// Keys that were left in memory when fewest were.
    pub fewest: usize,
    /// Rows that were deleted.
    pub deleted: usize,
}

/// Postgres, and the workers that come one after the other.
struct World<'a, F: Fold> {
    fold: Arc<F>,
    log: &'a [Event],
    whole: &'a Whole,
    cuts: Cuts,
    store: BTreeMap<Box<str>, StoredRow>,
    decided: usize,
    from: usize,
    outcome: Outcome,
}

pub fn interrupted<F: Fold>(fold: F, log: &[Event], whole: &Whole, cuts: Cuts, rng: &mut StdRng) -> Outcome {
    let outcome = Outcome { same: true, deaths: 0, reads: 0, fewest: usize::MAX, deleted: 0 };
    let (store, fold) = (BTreeMap::new(), Arc::new(fold));
    let mut world = World { fold, log, whole, cuts, store, decided: 0, from: 0, outcome };
    loop {
        match world.live(rng) {
            Some(cache) => return world.finish(cache),
            None => world.outcome.deaths += 1,
        }
    }
}

impl<F: Fold> World<'_, F> {
    /// One worker, from its claim to the end of the log; `None` when it died before.
    fn live(&mut self, rng: &mut StdRng) -> Option<Cache<F>> {
        // A longer log is read for longer stretches: else hardly a worker would get through a replay.
        let rate = (20.0 / self.log.len() as f64).min(1.0);
        let mut cache = Cache::new(self.fold.clone(), self.cuts.flush_after);
        cache.without = self.cuts.without;
        let mut at = self.from;
        while at < self.log.len() {
            let slice = at..self.log.len().min(at + rng.random_range(1..9));
            at = slice.end;
            let mut read: Vec<_> = self.log[slice.clone()].iter().map(|event| cache.read(event)).collect();
            for facts in read.iter().flatten() {
                cache.prefetch_keys(facts).unwrap().iter().for_each(|key| self.load(&mut cache, key));
            }
            for (offset, facts) in slice.zip(&mut read) {
                let ending = match facts {
                    Ok(facts) => Ok(self.advance(&mut cache, facts, offset)),
                    Err(rejection) => Err(rejection.code),
                };
                self.outcome.same &= offset < self.decided || same(&ending, &self.whole.endings[offset]);
                if offset >= self.decided && rng.random_bool(0.3) {
                    self.decided = rng.random_range(self.decided..=offset + 1);
                    let reached = self.decided as i64;
                    // The statement is written; the answer may be lost with the process, or alone: then the row tells it later.
                    let due = cache.due(reached, self.most(rng));
                    self.write(&cache, due, reached);
                    if rng.random_bool(0.2 * rate) {
                        return None;
                    }
                    if rng.random_bool(0.8) {
                        cache.confirmed(due);
                    }
                } else if rng.random_bool(0.2) {
                    cache.written_below(self.from as i64);
                }
                if rng.random_bool(0.1 * rate) {
                    return None;
                }
            }
            cache.evict(self.cuts.budget_bytes);
            if rng.random_bool(0.3) {
                self.delete();
            }
            self.outcome.fewest = self.outcome.fewest.min(cache.entries.len());
        }
        Some(cache)
    }

    /// All that waits, or a part of it.
    fn most(&self, rng: &mut StdRng) -> Amount {
        let rows = if rng.random_bool(0.5) { usize::MAX } else { self.cuts.flush_keys };
        Amount { rows, bytes: usize::MAX }
    }

    /// As Postgres does it: a row never goes back, nor does S.
    fn write(&mut self, cache: &Cache<F>, due: usize, reached: i64) {
        for (key, row) in cache.rows(due) {
            let kept = self.store.get(&key).filter(|kept| kept.as_of > row.as_of);
            if kept.is_none() {
                self.store.insert(key, row);
            }
        }
        self.from = self.from.max(cache.fold_from_after(reached, due) as usize);
    }

    fn load(&mut self, cache: &mut Cache<F>, key: &str) {
        let row = self.store.get(key).cloned();
        self.outcome.reads += usize::from(row.is_some());
        cache.load(key, row).unwrap();
    }

    /// What `millrace.forget` does.
    fn delete(&mut self) {
        let clock = self.store.get(CLOCK).and_then(|row| newest_of(&row.bytes).unwrap());
        let Some((after_ms, clock_ms)) = self.cuts.forget_after_ms.zip(clock) else { return };
        let before = self.store.len();
        self.store.retain(|key, row| &**key == CLOCK || row.newest_ms >= clock_ms.saturating_sub(after_ms));
        self.outcome.deleted += before - self.store.len();
    }

    fn advance(&mut self, cache: &mut Cache<F>, facts: &mut Facts, offset: usize) -> Features {
        let at = At { time_ms: self.log[offset].event_time_ms, offset: offset as i64 };
        loop {
            match cache.advance(facts, at).unwrap() {
                Step::Ready(features) => return features,
                Step::Missing(keys) => keys.iter().for_each(|key| self.load(cache, key)),
            }
        }
    }

    fn finish(mut self, mut cache: Cache<F>) -> Outcome {
        let end = self.log.len() as i64;
        let most = Amount { rows: self.cuts.flush_keys, bytes: usize::MAX };
        let mut from = cache.fold_from_after(end, 0);
        while cache.due(end, Amount::ALL) > 0 || !cache.dirty.is_empty() {
            cache.flush(self.cuts.flush_keys);
            let due = cache.due(end, most);
            self.write(&cache, due, end);
            cache.confirmed(due);
            self.outcome.same &= from <= cache.fold_from_after(end, 0);
            from = cache.fold_from_after(end, 0);
        }
        cache.evict(0);
        let left = cache.cost_bytes();
        assert!(cache.without.is_some() || left == 0, "everything is committed, and {left} bytes are left");
        let rows = self.store.iter().map(|(key, row)| (key, &row.bytes));
        self.outcome.same &= match self.cuts.forget_after_ms {
            None => rows.eq(&self.whole.bytes),
            // What is not there was deleted.
            Some(_) => rows.into_iter().all(|(key, bytes)| self.whole.bytes.get(key) == Some(bytes)),
        };
        self.outcome
    }
}

/// Whether two endings are the same to the bit: no value is no value.
fn same(one: &Ending, other: &Ending) -> bool {
    let bits = |features: &Features| -> Vec<u64> { features.numbers.iter().map(|number| number.to_bits()).collect() };
    match (one, other) {
        (Ok(one), Ok(other)) => {
            bits(one) == bits(other) && (&one.document, one.late, one.truncated) == (&other.document, other.late, other.truncated)
        }
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}
