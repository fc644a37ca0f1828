//! Signals, drain, exit codes, and the service manager.

mod supervisor;

pub use supervisor::Supervisor;

use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// What a program that calls Millrace can read from its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Halted for safety: going on would lose or double something.
    Halted = 3,
    /// Stopped before it was drained; nothing is lost.
    NotDrained = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The two ways to stop: the first signal drains, the second ends at once.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    pub drain: CancellationToken,
    pub abort: CancellationToken,
}

impl Stop {
    /// Listens for SIGTERM and SIGINT until the process ends.
    pub fn on_signals() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = Self::default();
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let heard = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                if heard.drain.is_cancelled() {
                    tracing::warn!("A second signal: ending at once.");
                    heard.abort.cancel();
                } else {
                    tracing::info!("A signal to stop: draining. A second one ends at once.");
                    heard.drain.cancel();
                }
            }
        });
        Ok(stop)
    }
}
