//! `millrace eval generate`: how well a causal language model guesses texts, alone or beside another.

use crate::cli::common;
use crate::inference::Weights;
use crate::inference::causal::Causal;
use crate::inference::generate::Vocabulary;
use crate::inference::template::ChatTemplate;
use crate::lifecycle::Exit;
use crate::train::causal::data::Source;
use crate::train::causal::folder::read_config;
use crate::train::causal::perplexity::{Windows, perplexity};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Tokens of a window where the model sees more.
const USUAL: usize = 1_024;

/// Measures a causal language model on texts: perplexity, bits a character.
///
/// Windows slide over each text. Every token is guessed once, with what its window has before it: the smaller the stride, the more that
/// is, and the longer it takes. The first token of a text is not guessed. Of conversations (`messages`) only what the assistant says is.
/// Perplexities compare models with the same tokens; bits a character compare any.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace eval generate --model models/shakespeare --data dev.txt\n  millrace eval generate --model SMOLLM2 --data chats.jsonl --against models/support"
)]
pub struct Args {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// Another model to compare with.
    #[arg(long)]
    against: Option<PathBuf>,
    /// A text, or .jsonl with `text` or `messages` a line; also .gz.
    #[arg(long)]
    data: PathBuf,
    /// Tokens of a window. Default: what the model sees, at most 1024.
    #[arg(long)]
    window: Option<usize>,
    /// Tokens from one window to the next. Default: half a window.
    #[arg(long)]
    stride: Option<usize>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// One model's figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    texts: usize,
    tokens: usize,
    characters: usize,
    window: usize,
    stride: usize,
    /// Nats a token.
    loss: f64,
    perplexity: f64,
    bits_per_character: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    models: Vec<Figures>,
}

pub fn run(args: &Args) -> Result<Exit> {
    let source = Source::read(&args.data)?;
    let mut report = Report { models: vec![measured(args, &args.model, &source)?] };
    if let Some(other) = &args.against {
        report.models.push(measured(args, other, &source)?);
    }
    match args.json {
        true => common::print_json(&report)?,
        false => print!("{report}"),
    }
    Ok(Exit::Done)
}

fn measured(args: &Args, folder: &Path, source: &Source) -> Result<Figures> {
    let weights = Weights::open(folder, None)?;
    let model = Causal::load(&read_config(folder)?, &weights.tensors()?)?;
    let (vocabulary, template) = (Vocabulary::open(folder)?, ChatTemplate::open(folder, None)?);
    let len = args.window.unwrap_or(model.max_positions().min(USUAL));
    let windows = Windows { len, stride: args.stride.unwrap_or(len / 2) };
    let texts = source.tokens(&vocabulary, template.as_ref()).with_context(|| format!("{}", args.data.display()))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = perplexity(&model, &texts, windows, threads)?;
    let name = folder.file_name().map_or("model".into(), |name| name.to_string_lossy());
    Ok(Figures {
        model: format!("{name}@{}", weights.digest().short()),
        texts: texts.len(),
        tokens: found.tokens,
        characters: found.characters,
        window: windows.len,
        stride: windows.stride,
        loss: found.loss(),
        perplexity: found.perplexity(),
        bits_per_character: found.bits(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for of in &self.models {
            let Figures { model, texts, tokens, characters, window, stride, .. } = of;
            writeln!(f, "{model}: {texts} texts, {tokens} tokens, {characters} characters; windows of {window} every {stride}")?;
            let (loss, perplexity, bits) = (of.loss, of.perplexity, of.bits_per_character);
            writeln!(f, "  loss {loss:.4} nats a token, perplexity {perplexity:.3}, {bits:.4} bits a character")?;
        }
        let [first, second] = &self.models[..] else { return Ok(()) };
        let (a, b) = (first.bits_per_character, second.bits_per_character);
        writeln!(
            f,
            "the first needs {:.2} % {} bits than the second",
            100.0 * (a / b - 1.0).abs(),
            if a > b { "more" } else { "fewer" }
        )
    }
}
