//! `millrace models share`: what two model folders have in common, stored once.

use crate::lifecycle::Exit;
use crate::train::share::share;
use anyhow::Result;
use std::path::PathBuf;

/// Takes out of a model folder the tensors that a folder beside it has too, bit for bit.
///
/// The model then reads them from there, and is refused when that folder's weights change. A model that was trained on an encoder has the
/// encoder's word table, for example. Keep the two folders side by side.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  millrace models share models/answer-en --with models/minilm-en")]
pub struct Args {
    /// The model's folder.
    folder: PathBuf,
    /// The folder that keeps the tensors.
    #[arg(long)]
    with: PathBuf,
}

pub fn run(args: &Args) -> Result<Exit> {
    let shared = share(&args.folder, &args.with)?;
    println!(
        "{}: {} tensors are those of {}; {} bytes of weights, were {}",
        args.folder.display(),
        shared.tensors,
        args.with.display(),
        shared.after,
        shared.before
    );
    Ok(Exit::Done)
}
