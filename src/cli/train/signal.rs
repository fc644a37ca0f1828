//! What a signal does to a run: while it trains it is written down first; before and after that the process ends at once.

use crate::lifecycle::{Exit, Stop};
use anyhow::{Context, Result};

/// SIGTERM and SIGINT, heard until the process ends.
pub struct Signals(Stop);

impl Signals {
    pub fn hear() -> Result<Self> {
        let stop = Stop::on_signals().context("signals cannot be heard")?;
        let abort = stop.abort.clone();
        tokio::spawn(async move {
            abort.cancelled().await;
            end();
        });
        Ok(Self(stop))
    }

    /// Whether one came: the run is to be written down, and to end.
    pub fn came(&self) -> bool {
        self.0.drain.is_cancelled()
    }

    /// Nothing is left to write down: the next one ends the process.
    pub fn done(&self) {
        self.0.drain.cancel();
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread that computes hears nothing, and training has no telemetry to flush")]
fn end() {
    std::process::exit(Exit::NotDrained as i32);
}
