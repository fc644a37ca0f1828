//! What the in-memory twins of source, store and publisher share: chance, and processes that die or freeze. For tests alone.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One process, as the cluster sees it. Its faults are set from outside.
#[derive(Debug, Default)]
pub struct Process {
    pub id: u64,
    /// Dead: says nothing more. What it had sent may still arrive.
    pub killed: Mutex<bool>,
    /// Stopped, not dead (SIGSTOP): hears and says nothing until it goes on.
    pub frozen: Mutex<bool>,
}

impl Process {
    pub fn kill(&self) {
        *lock(&self.killed) = true;
    }

    pub fn is_killed(&self) -> bool {
        *lock(&self.killed)
    }

    /// Returns once the process is not frozen.
    pub async fn awake(&self) {
        while *lock(&self.frozen) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Chance, in one place and by one seed.
#[derive(Debug)]
pub struct Chance {
    rng: Mutex<StdRng>,
    /// Whether long delays are common.
    slow: AtomicBool,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(StdRng::seed_from_u64(seed)), slow: AtomicBool::new(false) }
    }

    /// Makes long delays common.
    pub fn slow_down(&self) {
        self.slow.store(true, Ordering::Relaxed);
    }

    pub fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// True in `percent` of the cases.
    pub fn percent(&self, percent: u32) -> bool {
        lock(&self.rng).random_range(0..100) < percent
    }

    pub fn below(&self, n: usize) -> usize {
        lock(&self.rng).random_range(0..n)
    }

    /// Mostly some milliseconds, now and then seconds.
    pub fn delay(&self) -> Duration {
        let mut rng = lock(&self.rng);
        let top: u64 = match (rng.random_range(0..100), self.is_slow()) {
            (0..90, false) | (0..60, true) => 20,
            (90..98, false) | (60..85, true) => 500,
            _ => 6_000,
        };
        Duration::from_millis(rng.random_range(0..top))
    }
}
