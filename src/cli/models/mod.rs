//! `millrace models`: looks at the files of models, and turns those of other programs into model folders.

mod check;
mod import;

use crate::lifecycle::Exit;

/// Looks at the files of models, and imports those of other programs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a model and score one row with it.
    Check(check::Check),
    /// Turn a GGUF or llama2.c file into a model folder.
    Import(import::Import),
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Import(args) => import::run(args),
    }
}
