//! `millrace train`: from an encoder and examples to a model that answers.

mod args;
pub mod causal;
mod frozen;
mod full;
mod go;
mod guess;
mod load;
mod measured;
mod parted;
mod rows;
mod setfit;
pub mod several;
mod shown;
mod signal;
mod small;
mod taught;
mod training;

pub use args::Args;

use crate::cli::common::Usage;
use anyhow::Result;
use args::Recipe;
use std::path::{Path, PathBuf};

pub fn run(args: &Args) -> Result<()> {
    let written = [args.out.clone(), args.out.join(setfit::BODY)];
    [&args.from, &args.teacher].into_iter().flatten().try_for_each(|folder| unread(folder, &written))?;
    if let Some(option) = args.stray() {
        return Err(Usage(format!("--{option} means nothing to this recipe; leave it out")).into());
    }
    if let Some(wrong) = args.wrong() {
        return Err(Usage(wrong).into());
    }
    go::unkept(&args.out, args.training.resume)?;
    let mut report = Report::default();
    let task = guess::task(args, &mut report)?;
    match args.recipe {
        Recipe::Full => full::run(args, task, report),
        Recipe::Setfit => setfit::run(args, report),
        Recipe::Probe | Recipe::Centroid => frozen::run(args, report),
    }
}

/// An error where a folder that is read is one of those that are written.
fn unread(folder: &Path, written: &[PathBuf]) -> Result<(), Usage> {
    let place = folder.canonicalize();
    if place.is_err() || written.iter().all(|out| out.canonicalize().ok() != place.as_ref().ok().cloned()) {
        return Ok(());
    }
    let folder = folder.display();
    Err(Usage(format!("--out would be written over {folder}, which is read; name another")))
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
