//! `millrace bench`: what a model costs on this machine, and what each way of saving brings.

mod causal;
mod encoder;
mod measure;
#[cfg(test)]
mod tests;

use super::common;
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::stock::Stock;
use crate::lifecycle::Exit;
use crate::train::data::{Columns, texts};
use anyhow::{Result, ensure};
use measure::{Peak, Row};
use std::path::{Path, PathBuf};

/// Measures models.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Time and memory of one model, with each way of saving turned off, and of candle's own network beside it.
    Model(Model),
}

/// All rows run in turns on one thread, so that what else the machine does meets all of them. A ratio is the median over the rounds of a
/// row's time by the first row's.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace bench model models/sentiment-en --rounds 9\n\nExit codes: 0 measured, 1 the model cannot be used, 2 wrong usage."
)]
struct Model {
    /// The folder of an encoder or of a causal language model, or a name in one of the places for models.
    folder: PathBuf,
    /// Texts: .tsv, .csv, .jsonl or lines, also .gz; the first 64 are used. Default: made up, of 4 to 120 words.
    #[arg(long)]
    texts: Option<PathBuf>,
    /// How often each row is run, after once that does not count.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Texts that a causal model goes on with at once; at most 64.
    #[arg(long, default_value_t = 16)]
    prompts: usize,
    /// Tokens that a causal model writes after each text.
    #[arg(long, default_value_t = 32)]
    new_tokens: usize,
}

/// Texts that are used at most.
const TEXTS: usize = 64;

pub fn run(args: Args) -> Result<Exit> {
    let Command::Model(args) = args.command;
    println!("{}", report(&args)?);
    Ok(Exit::Done)
}

fn report(args: &Model) -> Result<String> {
    let counts = [args.rounds, args.prompts, args.new_tokens];
    ensure!(counts.iter().all(|n| *n > 0), common::Usage("--rounds, --prompts and --new-tokens must be at least 1".into()));
    let folder = match args.folder.is_dir() {
        true => args.folder.clone(),
        false => common::model(&args.folder, false)?.folder,
    };
    let config = ModelConfig::open(&folder)?;
    let texts = match &args.texts {
        Some(path) => texts(path, &Columns::default())?.into_iter().filter(|text| !text.trim().is_empty()).take(TEXTS).collect(),
        None => made_up(),
    };
    ensure!(!texts.is_empty(), common::Usage("--texts names a file without a text".into()));
    let class = config.architecture().unwrap_or_default();
    match class.ends_with("ForCausalLM") || class.ends_with("LMHeadModel") {
        true => causal::report(&folder, &texts, args),
        false => encoder::report(&folder, texts, args),
    }
}

/// Sentences of 4 to 120 words; every fourth comes again.
fn made_up() -> Vec<String> {
    const WORDS: [&str; 12] = ["the", "order", "came", "late", "and", "a", "good", "film", "is", "what", "people", "want"];
    let text = |i: usize| {
        let words = 4 + i * 37 % 117;
        (0..words).map(|w| WORDS[(w * 7 + i * 5) % WORDS.len()]).collect::<Vec<_>>().join(" ")
    };
    (0..TEXTS).map(|i| text(if i % 4 == 3 { i - 3 } else { i })).collect()
}

/// candle's network, the memory that it took, and why it is not there.
fn stock(folder: &Path, run: impl Fn(&Stock) -> Result<(), InferenceError>) -> (Option<(Stock, Peak)>, Option<String>) {
    let peak = Peak::begin();
    match Stock::open(folder).and_then(|stock| stock.map(|stock| run(&stock).map(|()| stock)).transpose()) {
        Ok(Some(stock)) => (Some((stock, peak.end())), None),
        Ok(None) => (None, Some("candle: its networks of BERT and Llama alone are compared".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn told(head: String, rows: &[Row<'_>], note: Option<String>) -> String {
    let mut lines = vec![head];
    lines.extend(rows.iter().map(|row| row.told(&rows[0])));
    lines.extend(note.map(|note| format!("  {note}")));
    lines.join("\n")
}
