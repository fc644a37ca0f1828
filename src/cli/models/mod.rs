//! `millrace models`: looks at the files of models, and writes model folders out of others.

mod check;
mod fetch;
mod folder;
mod import;
mod list;
mod quantize;
mod share;

use crate::lifecycle::Exit;
use anyhow::Context;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Lists the models that can be named; looks at the files of models, fetches and imports them, and makes smaller copies.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// The models of this config too.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell what a model is; a scoring model scores one row.
    Check(check::Check),
    /// Fetch a model from a hub into its cache.
    Fetch(fetch::Args),
    /// Turn a GGUF or llama2.c file into a model folder.
    Import(import::Import),
    /// Write a smaller copy of a language model, and compare the two.
    Quantize(quantize::Args),
    /// Store once what two model folders have in common.
    Share(share::Args),
}

pub fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let Some(command) = args.command else {
        return tokio::task::block_in_place(|| list::run(args.config.as_deref(), args.json, env));
    };
    match command {
        Command::Fetch(args) => tokio::task::block_in_place(|| fetch::run(&args)),
        Command::Check(args) => tokio::task::block_in_place(|| check::run(args)),
        Command::Import(args) => tokio::task::block_in_place(|| import::run(args)),
        Command::Quantize(args) => tokio::task::block_in_place(|| quantize::run(&args)),
        Command::Share(args) => tokio::task::block_in_place(|| share::run(&args)),
    }
}

/// Writes to standard output. A reader that has gone away, such as `head`, has read enough.
fn show(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}
