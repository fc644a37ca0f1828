//! Parse, run the command, say how it ended.

use millrace::cli;
use millrace::worker::Own;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::program(Own::new())
}
