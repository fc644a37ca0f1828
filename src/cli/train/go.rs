//! A run of the training loop as every command has it: kept on disk, ended by signals, with its curves beside the model.

use super::signal::Signals;
use crate::cli::common::Usage;
use crate::train::diverged::Diverged;
use crate::train::fit::{Fit, Fitted, Plan};
use crate::train::journal::{Journal, Point};
use crate::train::keep::Keep;
use crate::train::trainable::{Record, Trainable};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// Where a run that writes `out` is kept; it goes on only under the same `fingerprint`.
pub fn keep(out: &Path, fingerprint: String, seconds: Option<u64>) -> Keep {
    let mut keep = Keep::new(out, fingerprint);
    keep.every = seconds.map_or(keep.every, Duration::from_secs);
    keep
}

/// An error where a run that was cut off is kept and nobody says that it is to go on.
pub fn unkept(out: &Path, resume: bool) -> Result<(), Usage> {
    let kept = Keep::folder(out);
    if !kept.exists() || resume {
        return Ok(());
    }
    let kept = kept.display();
    Err(Usage(format!("a run that was cut off is kept in {kept}; go on with it by --resume, or remove that folder")))
}

/// Trains `model` in place; `points` is what the curves take of a record. Of a run that diverges the curves alone are left.
pub fn go<T: Trainable>(
    model: &T,
    plan: &Plan,
    keep: &Keep,
    out: &Path,
    points: impl Fn(&Record) -> Vec<Point>,
) -> Result<Fitted> {
    let signals = Signals::hear()?;
    let mut journal = Journal::start(&out.join("runs"))?;
    let mut note = |record: &Record| journal.note(&points(record));
    let came = || signals.came();
    let outcome = Fit::new(model, plan).kept(keep).stopped(&came).observed(&mut note).run();
    match &outcome {
        Ok(_) => signals.done(),
        // To go on from there would lead to the same end.
        Err(error) if error.is::<Diverged>() => keep.remove()?,
        Err(_) => return outcome,
    }
    journal.finish()?;
    outcome
}
