//! `millrace models`: looks at the files of models, and writes model folders out of others.

mod check;
mod folder;
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
    /// Tell what a model is; a scoring model scores one row.
    Check(check::Check),
    /// Turn a GGUF or llama2.c file into a model folder.
    Import(import::Import),
    /// Write a smaller copy of a language model, and compare the two.
    Quantize(quantize::Args),
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::Check(args) => tokio::task::block_in_place(|| check::run(args)),
        Command::Import(args) => tokio::task::block_in_place(|| import::run(args)),
        Command::Quantize(args) => tokio::task::block_in_place(|| quantize::run(&args)),
    }
}
