//! `millrace train`: from an encoder and examples to a model that answers.

mod args;
pub mod causal;
mod frozen;
mod full;
mod go;
mod guess;
mod load;
mod measured;
mod rows;
mod setfit;
mod shown;
mod signal;
mod taught;

pub use args::Args;

use crate::cli::common::Usage;
use anyhow::Result;
use args::Recipe;
use std::path::{Path, PathBuf};

pub fn run(args: &Args) -> Result<()> {
    let same = |from: &PathBuf| from.canonicalize().ok() == args.out.canonicalize().ok();
    if args.out.exists() && args.from.as_ref().is_some_and(same) {
        return Err(Usage("--out is the folder of the encoder itself; name another".into()).into());
    }
    if let Some(option) = args.stray() {
        return Err(Usage(format!("--{option} means nothing to this recipe; leave it out")).into());
    }
    if let Some(wrong) = args.wrong() {
        return Err(Usage(wrong).into());
    }
    go::unkept(&args.out, args.resume)?;
    let mut report = Report::default();
    let task = guess::task(args, &mut report)?;
    match args.recipe {
        Recipe::Full => full::run(args, task, report),
        Recipe::Setfit => setfit::run(args, report),
        Recipe::Probe | Recipe::Centroid => frozen::run(args, report),
    }
}

/// Lines on the screen that also go into the card.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn say(&mut self, line: String) {
        println!("{line}");
        self.0.push(line);
    }

    fn lines(&self) -> &[String] {
        &self.0
    }
}

/// The last part of a path: files are named, never where they lie.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
