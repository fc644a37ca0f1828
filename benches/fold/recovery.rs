//! What a claim pays for a million keys that it reads: stored states into an empty cache, without Postgres.

use millrace::state::{At, Cache, Fold, States, Stored, StoredRow};
use std::sync::Arc;
use std::time::{Duration, Instant};

const KEYS: usize = 1_000_000;
/// Keys a cache, so that the memory of one does for all.
const KEYS_A_CACHE: usize = 50_000;

/// Prints the seconds; the rows are made of these states, one after the other.
pub fn tell<F: Fold>(fold: F, states: &[&F::State], newest: At) -> anyhow::Result<()> {
    let encoded = |state: &&F::State| {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        StoredRow { as_of: newest.offset + 1, newest_ms: newest.time_ms, bytes: bytes.into() }
    };
    let rows: Vec<StoredRow> = states.iter().map(encoded).collect();
    let (fold, mut took, mut bytes) = (Arc::new(fold), Duration::ZERO, 0);
    for first in (0..KEYS).step_by(KEYS_A_CACHE) {
        let keys: Vec<String> = (first..first + KEYS_A_CACHE).map(|number| format!("some_entity:{number}")).collect();
        let mut cache = Cache::new(fold.clone(), 1);
        let started = Instant::now();
        for (number, key) in keys.iter().enumerate() {
            cache.load(key, Some(rows[(first + number) % rows.len()].clone()))?;
        }
        took += started.elapsed();
        bytes += cache.cost_bytes();
    }
    println!("recovery: {KEYS} stored keys in the cache after {:.2} s, {} bytes a key there", took.as_secs_f64(), bytes / KEYS);
    Ok(())
}
