//! Parse, run the command, say how it ended.

use clap::Parser;
use millrace::{cli, inference, telemetry};
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before any thread exists.
    inference::limit_threads();
    telemetry::hide_panic_messages();
    let arguments = cli::Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(cli::run(arguments));
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
