//! Damaged inputs for everything that reads: folders of models, tokenizers, imports, events, settings, requests, what comes over HTTP, answers of a schema
//! registry, stored states. A case ends with an outcome, good or refused; a panic of this project's code is a finding.
//!
//! `cargo test --bench fuzz -- --minutes 60` looks for cases, `tests/it/corpus.rs` holds those that were kept.

mod doors;
mod registry;
mod states;
pub mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

/// Where this project's code has panicked since the last look, in any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Where a library panicked last.
static LIBRARY: Mutex<String> = Mutex::new(String::new());

/// Whether a case is under way.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Takes note of panics of this project's code while a case runs. Those of libraries are no findings where their callers contain them;
/// all others are printed.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or("", |place| place.file());
            let other_test = std::thread::current().name().is_some_and(|name| name.contains("::") && !name.contains("corpus"));
            if other_test || !RUNNING.load(Ordering::SeqCst) {
                before(info);
            } else if place.contains("/.cargo/") {
                *LIBRARY.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
            } else {
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
            }
        }));
    });
}

/// What came of a case: its outcome, and where the project's code panicked.
pub struct Ended {
    pub outcome: String,
    pub panics: Vec<String>,
}

/// Runs one case.
pub fn run(target: &targets::Target, file: &str, bytes: &[u8]) -> Ended {
    listen();
    RUNNING.store(true, Ordering::SeqCst);
    let outcome = catch_unwind(AssertUnwindSafe(|| target.run(file, bytes)));
    RUNNING.store(false, Ordering::SeqCst);
    let mut panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
    let outcome = outcome.unwrap_or_else(|_| {
        // A panic that was noted by nobody came through a library.
        if panics.is_empty() {
            let library = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
            panics.push(format!("a library panicked, and nothing contained it: {library}"));
        }
        "panicked".into()
    });
    Ended { outcome, panics }
}
