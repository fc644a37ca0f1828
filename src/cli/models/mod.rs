//! `millrace models`: looks at the files of models, and writes model folders out of others.

mod check;
mod import;
mod quantize;

use crate::lifecycle::Exit;

/// Looks at the files of models, imports those of other programs, and makes smaller copies.
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
    /// Write a smaller copy of a language model, and compare the two.
    Quantize(quantize::Args),
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Check(args) => check::run(args),
        Command::Import(args) => tokio::task::block_in_place(|| import::run(args)),
        Command::Quantize(args) => tokio::task::block_in_place(|| quantize::run(&args)),
    }
}
