//! `millrace models fetch`: a model of a hub into its cache, where all commands find it from then on.

use crate::cli::common::Usage;
use crate::hub::{Places, Progress, Repo, cached, fetch, look};
use crate::inference::Weights;
use crate::lifecycle::Exit;
use anyhow::{Context, Result, bail};
use std::io::{IsTerminal, Write};

/// Fetches config.json, model.safetensors (or its parts) and the tokeniser; nothing else. What was cut off is gone on with.
///
/// HF_ENDPOINT names another hub, HF_TOKEN is shown to it, HF_HUB_CACHE or HF_HOME say where the cache is.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace models fetch sentence-transformers/all-MiniLM-L6-v2\n  millrace call embed --model sentence-transformers/all-MiniLM-L6-v2 'Hello'"
)]
pub struct Args {
    /// `org/name`, or `org/name@revision`: a branch, a tag or a commit.
    model: String,
}

pub fn run(args: &Args) -> Result<Exit> {
    let places = Places::of_process();
    let repo = Repo::parse(&args.model)
        .ok_or_else(|| Usage(format!("{:?} is no model of a hub; write org/name, or org/name@revision", args.model)))?;
    if let Some(variable) = places.offline {
        bail!("{variable} is on, so that nothing is fetched: env -u {variable} millrace models fetch {repo}");
    }
    let cache = places.cache.context("there is no cache to write to: HF_HUB_CACHE=DIR names one")?;
    let shown = std::io::stderr().is_terminal();
    let fetched = fetch(&places.hub, &repo, &cache, &mut |progress: &Progress| {
        let Progress { file, bytes, of } = progress;
        if shown {
            let end = if bytes == of { "\n" } else { "\r" };
            let line = format!("{file}: {:.1} of {:.1} MB{end}", *bytes as f64 / 1e6, *of as f64 / 1e6);
            // Whether somebody reads it or not.
            std::io::stderr().write_all(line.as_bytes()).ok();
        }
    })?;
    println!("{}", fetched.folder.display());
    println!("  commit {}, {:.1} MB fetched", fetched.commit, fetched.bytes as f64 / 1e6);
    println!("  sha256 of the weights {}", Weights::open(&fetched.folder, None)?.digest().as_str());
    println!("  {}", look(&cached(&cache, &repo).folder));
    Ok(Exit::Done)
}
