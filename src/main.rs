//! Parse, run the command, say how it ended.

use clap::Parser;
use millrace::{cli, inference};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before any thread exists.
    inference::limit_threads();
    let arguments = cli::Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(arguments)).into(),
        Err(error) => {
            eprintln!("millrace: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
