//! `millrace eval similar`: how well cosines of embeddings follow people's judgement of pairs.

use crate::cli::common::{self, Usage};
use crate::inference::{Encoder, Head, Options};
use crate::lifecycle::Exit;
use crate::train::data::open;
use crate::train::metrics::{pearson, spearman};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// Measures embeddings on judged pairs: rank correlation (Spearman) and linear correlation (Pearson) of cosine and judgement.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example, the STS benchmark, which has no header:\n  millrace eval similar --model MINILM --input sts-test.csv --columns 5,6,7 --tabs --no-header"
)]
pub struct Args {
    /// The model: a folder, a starter's name, or one of a hub that is here.
    #[arg(long)]
    model: PathBuf,
    /// Pairs: .tsv or .csv, also .gz.
    #[arg(long)]
    input: PathBuf,
    /// Judgement, first and second text: names of the header, or numbers from 1 on.
    #[arg(long, value_delimiter = ',', default_value = "score,sentence1,sentence2")]
    columns: Vec<String>,
    /// Fields stand between tabs, and quotes mean nothing, whatever the file is called.
    #[arg(long)]
    tabs: bool,
    #[arg(long)]
    no_header: bool,
}

pub fn run(args: &Args) -> Result<Exit> {
    let (reader, name) = open(&args.input)?;
    let tabs = args.tabs || name.ends_with(".tsv");
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if tabs { b'\t' } else { b',' })
        .quoting(!tabs)
        .has_headers(!args.no_header)
        .flexible(true)
        .from_reader(reader);
    let header = if args.no_header { csv::StringRecord::new() } else { reader.headers()?.clone() };
    let place = |wanted: &String| -> Result<usize> {
        let number = wanted.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let found = header.iter().position(|name| name == wanted).or(number);
        found.ok_or_else(|| Usage(format!("there is no column {wanted:?}; name three with --columns")).into())
    };
    let places: Vec<usize> = args.columns.iter().map(place).collect::<Result<_>>()?;
    let [judged, first, second] = places[..] else {
        return Err(Usage("--columns names the judgement and the two texts".into()).into());
    };
    let (mut judgements, mut texts) = (Vec::new(), Vec::new());
    for (number, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("cannot read {}", args.input.display()))?;
        let at = || format!("{} row {}", args.input.display(), number + 1);
        let field = |place: usize| record.get(place).with_context(|| format!("{} has no column {}", at(), place + 1));
        judgements.push(field(judged)?.trim().parse::<f64>().with_context(|| format!("{}: the judgement is no number", at()))?);
        texts.extend([field(first)?.to_owned(), field(second)?.to_owned()]);
    }
    ensure!(judgements.len() > 1, "{} has fewer than two pairs", args.input.display());
    let name = args.model.file_name().map_or("model".into(), |name| name.to_string_lossy());
    let encoder = Encoder::open(&name, &common::model(&args.model, false)?.folder, None, &Options::default())?;
    let vectors = encoder.answer_blocking(Head::Embed, texts)?;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let cosines: Vec<f64> = vectors.chunks(2).map(|pair| dot(&pair[0].values, &pair[1].values)).collect();
    let (ranks, line) = (100.0 * spearman(&judgements, &cosines), 100.0 * pearson(&judgements, &cosines));
    println!("{}: {} pairs, Spearman {ranks:.4}, Pearson {line:.4}", encoder.id(), judgements.len());
    Ok(Exit::Done)
}
