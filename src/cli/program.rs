//! The whole program: parse, run the command, say how it ended.

use super::{Cli, run_with};
use crate::worker::Own;
use crate::{inference, telemetry};
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;

/// Millrace with functions of a program's own beside its own ones: what the `main` of such a program does. Reads the arguments and the
/// environment of the process.
pub fn program(own: Own) -> ExitCode {
    // Before any thread exists.
    inference::limit_threads();
    telemetry::hide_panic_messages();
    let arguments = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(run_with(arguments, own));
            // A call to a broker that is away may still block a thread; nothing waits for its answer any more.
            runtime.shutdown_timeout(Duration::from_millis(500));
            exit.into()
        }
        Err(error) => {
            eprintln!("millrace: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
