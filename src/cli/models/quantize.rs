//! `millrace models quantize`: a smaller copy of a model, and what it costs on real texts.

use crate::inference::{Encoder, Head, Options, best};
use crate::lifecycle::Exit;
use crate::train::checkpoint::Folder;
use crate::train::data::{Columns, texts};
use crate::train::shrink::{Form, shrink};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Writes a copy of a model folder with smaller matrices, and compares the two on texts.
///
/// Embeddings must keep a cosine of 0.999 with the original's on 99 of 100 texts, a classifier's labels must stay on 99 of 100; else the
/// copy is removed and the command ends with 1.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace models quantize MINILM models/minilm-en --texts messages.jsonl.gz --text-column text"
)]
pub struct Args {
    /// The model's folder.
    from: PathBuf,
    /// The folder to write; it must not be there yet.
    out: PathBuf,
    /// Texts to compare on: .tsv, .csv, .jsonl or lines, also .gz. The first 2,000 are used.
    #[arg(long)]
    texts: PathBuf,
    #[arg(long)]
    text_column: Option<String>,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value_t = Form::Int8)]
    form: Form,
}

/// Cosine that an embedding must keep.
const COSINE: f64 = 0.999;
/// Share of the texts that must keep it, or their label.
const KEPT: f64 = 0.99;

pub fn run(args: &Args) -> Result<Exit> {
    ensure!(!args.out.exists(), "{} is there already; name a new folder", args.out.display());
    let columns = Columns { text: args.text_column.clone(), label: None };
    let mut texts = texts(&args.texts, &columns)?;
    texts.retain(|text| !text.trim().is_empty());
    texts.truncate(2_000);
    ensure!(!texts.is_empty(), "{} has no text", args.texts.display());
    let before = Encoder::open("before", &args.from, None, &Options::default())?;
    let folder = Folder::read(&args.from)?;
    let size = shrink(&folder, &args.from, &args.out, args.form)?;
    println!("{}: {} bytes of weights; was {}", args.out.display(), size, before.described().bytes);
    let compared = compare(&before, &args.out, texts).and_then(|kept| match kept {
        true => Ok(()),
        false => bail!("the smaller model is too far from the original; `--form f16` keeps more"),
    });
    if compared.is_err() {
        std::fs::remove_dir_all(&args.out).with_context(|| format!("cannot remove {}", args.out.display()))?;
    }
    compared.map(|()| Exit::Done)
}

/// Whether enough answers are kept.
fn compare(before: &Encoder, out: &Path, texts: Vec<String>) -> Result<bool> {
    let after = Encoder::open("after", out, None, &Options::default())?;
    println!("sha256 {}", after.digest().as_str());
    let count = texts.len();
    let pairs = |head: Head| -> Result<Vec<(Vec<f32>, Vec<f32>)>> {
        let answers = |encoder: &Encoder| encoder.answer_blocking(head, texts.clone());
        Ok(answers(before)?.into_iter().map(|a| a.values).zip(answers(&after)?.into_iter().map(|a| a.values)).collect())
    };
    let mut cosines: Vec<f64> =
        pairs(Head::Embed)?.iter().map(|(a, b)| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum()).collect();
    cosines.sort_by(f64::total_cmp);
    let (low, mean) = (cosines[count / 100], cosines.iter().sum::<f64>() / count as f64);
    println!("{count} texts: cosine with the original's embedding {mean:.5} in the mean, {low:.5} of the lowest hundredth");
    let Some(labels) = before.labels() else {
        return Ok(low >= COSINE);
    };
    let flipped = pairs(Head::Classify)?.iter().filter(|(a, b)| best(a) != best(b)).count();
    println!("{flipped} of {count} texts get another of the {} labels", labels.len());
    Ok((flipped as f64) <= (1.0 - KEPT) * count as f64)
}
