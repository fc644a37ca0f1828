//! The recipes `probe` and `centroid`: a head on an encoder that stays as it is. `setfit` ends with such a head.

use super::args::{Args, Recipe};
use super::measured::of_labels;
use super::rows::Data;
use super::shown::shown;
use super::{Report, name};
use crate::inference::{Encoder, Head, Options, best};
use crate::train::data::Row;
use crate::train::export;
use crate::train::head::{self, Backbone, Outputs};
use crate::train::lengths::Lengths;
use crate::train::metrics::Confusion;
use crate::train::probe::{Labelled, Linear, centroids, regression, temperature};
use crate::train::task::Task;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Instant;

/// Rows from which a temperature is learnt at least.
const FEW: usize = 100;

pub fn run(args: &Args, mut report: Report) -> Result<()> {
    let from = args.base()?;
    let data = Data::read(args, &mut report)?;
    data.single("a head on an encoder that stays as it is")?;
    let encoder = Encoder::open(&name(from), from, None, &Options::default())?;
    let backbone = Backbone { folder: seen_from(&args.out, from)?, sha256: encoder.digest().as_str().to_owned() };
    headed(args, &data, &encoder, &backbone, &name(from), report)
}

/// Learns a head on what `encoder` says of the texts, and writes, measures and describes it. `under` names what it stands on.
pub fn headed(args: &Args, data: &Data, encoder: &Encoder, backbone: &Backbone, under: &str, mut report: Report) -> Result<()> {
    let start = Instant::now();
    let ((train, seen), (dev, _)) = (embedded(encoder, data, &data.train)?, embedded(encoder, data, &data.dev)?);
    let (cut, all, most) = (seen.iter().filter(|(_, cut)| *cut).count(), seen.len(), encoder.max_tokens());
    let lengths = Lengths::new(seen.into_iter().map(|(tokens, _)| tokens).collect()).said("text as the encoder sees it");
    report.say(format!("{lengths}; {cut} of {all} are cut at {most}"));
    report.say(format!("{} texts embedded in {:.0} s", train.labels.len() + dev.labels.len(), start.elapsed().as_secs_f64()));
    let head = match args.recipe {
        Recipe::Centroid => centroids(&train, data.found.len())?,
        _ => probed(args, data, (&train, &dev), &mut report)?,
    };
    let logits: Vec<Vec<f32>> = dev.vectors.iter().map(|vector| head.logits(vector)).collect();
    let (temperature, why) = tempered(args.recipe, &logits, &dev.labels);
    report.say(format!("temperature {temperature:.4}, {why}"));
    let (size, digest) = head::write(&args.out, backbone, &head.tempered(temperature), &Outputs::one_of(&data.names))?;
    report.say(format!("model.safetensors: {size} bytes, sha256 {digest}; stands on {under} {}", backbone.sha256));
    of_labels(&args.out, data, &mut report)?;
    export::card(&args.out, &name(&args.out), &shown(args, Task::Label), report.lines())
}

/// A temperature for the head's logits, and where it is from. A few rows, or rows that are all answered rightly, say nothing of how sure
/// the head may be.
fn tempered(recipe: Recipe, logits: &[Vec<f32>], labels: &[u32]) -> (f64, &'static str) {
    let wrong = logits.iter().zip(labels).any(|(row, label)| best(row) != *label as usize);
    // Cosines lie between -1 and 1: 0.05 is what zero-shot labels have.
    let (usual, least, most) = if recipe == Recipe::Centroid { (0.05, 0.01, 1.0) } else { (1.0, 0.25, 4.0) };
    match labels.len() >= FEW && wrong {
        true => (temperature(logits, labels).clamp(least, most), "by the rows to measure on, the same as below"),
        false => (usual, "the usual one: there are too few rows, or no errors, to learn it from"),
    }
}

/// Strengths to try, weakest first.
pub fn strengths(args: &Args) -> Vec<f64> {
    let mut all = if args.c.is_empty() { vec![1.0, 10.0, 100.0] } else { args.c.clone() };
    all.sort_by(f64::total_cmp);
    all
}

/// The embeddings of rows with their labels; and of each the tokens that the encoder saw, and whether it had more.
fn embedded(encoder: &Encoder, data: &Data, rows: &[Row]) -> Result<(Labelled, Vec<(usize, bool)>)> {
    let texts = rows.iter().map(|row| row.text.clone()).collect();
    let answers = encoder.answer_blocking(Head::Embed, texts)?;
    let (vectors, seen) = answers.into_iter().map(|answer| (answer.values, (answer.tokens, answer.truncated))).unzip();
    Ok((Labelled { vectors, labels: rows.iter().map(|row| data.label(row)).collect::<Result<_>>()? }, seen))
}

/// The regression that does best on dev; of equals the more regularised.
fn probed(args: &Args, data: &Data, (train, dev): (&Labelled, &Labelled), report: &mut Report) -> Result<Linear> {
    let mut chosen: Option<(f64, Linear)> = None;
    for c in strengths(args) {
        if !(c.is_finite() && c > 0.0) {
            bail!("--c {c} must be above 0");
        }
        let start = Instant::now();
        let head = regression(train, data.found.len(), c)?;
        let pairs = dev.vectors.iter().zip(&dev.labels).map(|(vector, label)| (*label as usize, best(&head.logits(vector))));
        let accuracy = Confusion::of(data.found.len(), pairs).accuracy();
        report.say(format!("C {c}: dev accuracy {:.2}, {:.0} s", 100.0 * accuracy, start.elapsed().as_secs_f64()));
        if chosen.as_ref().is_none_or(|(most, _)| accuracy > *most) {
            chosen = Some((accuracy, head));
        }
    }
    Ok(chosen.context("--c names no value")?.1)
}

/// The encoder's folder as seen from the head's: beside it where both have the same parent, so that the two can be moved together.
fn seen_from(out: &Path, encoder: &Path) -> Result<String> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let full = |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let (out, encoder) = (full(out)?, full(encoder)?);
    let path = match out.parent() == encoder.parent() {
        true => Path::new("..").join(encoder.file_name().unwrap_or_default()),
        false => encoder,
    };
    Ok(path.to_string_lossy().into_owned())
}
