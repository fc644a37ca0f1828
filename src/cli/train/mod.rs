//! `millrace train`: from an encoder and labelled texts to a classifier.

pub mod causal;
mod frozen;
mod full;

use crate::cli::common::Usage;
use crate::inference::{Encoder, Options};
use crate::train::confusion;
use crate::train::data::{Columns, Row, labels, rows};
use crate::train::evaluate::evaluate;
use crate::train::split;
use anyhow::{Result, ensure};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Makes a classifier of texts out of an encoder and labelled texts.
///
/// `full` tunes all weights; `probe` learns a small head on the encoder as it is, in seconds, and several such heads share one encoder;
/// `centroid` is for one to four examples a label.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace train --recipe probe --from models/minilm-en --train intents.csv --out models/my-intents\n  millrace train --from MINILM --train train.tsv --dev dev.tsv --out my-sentiment --epochs 3"
)]
pub struct Args {
    /// Folder of the base model: config.json, tokenizer.json, model.safetensors
    #[arg(long)]
    pub from: PathBuf,
    /// Labelled texts, .tsv or .csv with a header, also .gz
    #[arg(long)]
    pub train: PathBuf,
    /// Labelled texts to measure on. Default: about a tenth of each label of the training file, chosen by the texts themselves
    #[arg(long)]
    pub dev: Option<PathBuf>,
    /// What is trained
    #[arg(long, value_enum, default_value_t = Recipe::Full)]
    pub recipe: Recipe,
    /// For `probe`: inverse strength of the regularisation; of several the best on dev is taken. Default 1,10,100
    #[arg(long, value_delimiter = ',')]
    pub c: Vec<f64>,
    /// Folder to write
    #[arg(long)]
    pub out: PathBuf,
    /// Default 1, for `full` only
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Peak learning rate
    /// Default 7e-5, for `full` only
    #[arg(long)]
    pub lr: Option<f64>,
    /// Default 32, for `full` only
    #[arg(long)]
    pub batch: Option<usize>,
    /// Default 0.01, for `full` only
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Keep the first N layers of the base model
    #[arg(long)]
    pub layers: Option<usize>,
    /// Default 42, for `full` only
    #[arg(long)]
    pub seed: Option<u64>,
    /// Tokens a text at most
    /// Default 128, for `full` only
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Use the first N rows of the training file
    #[arg(long)]
    pub max_rows: Option<usize>,
    /// End within so many minutes: the learning rate then falls by the clock
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Stop after N steps, to measure speed
    #[arg(long)]
    pub max_steps: Option<usize>,
    /// Measurements on the dev file an epoch
    /// Default 4, for `full` only
    #[arg(long)]
    pub checks: Option<usize>,
    /// Drop tokens of non-Latin scripts and unused ones that neither file needs
    #[arg(long)]
    pub prune_vocabulary: bool,
    /// Further texts (.tsv, .csv, .jsonl or lines) on which to count changed tokenisation
    #[arg(long)]
    pub prove_on: Vec<PathBuf>,
    /// Store matrices as int8, one scale a row
    #[arg(long)]
    pub int8: bool,
    #[arg(long)]
    pub text_column: Option<String>,
    #[arg(long)]
    pub label_column: Option<String>,
    /// Names for the sorted labels, e.g. negative,positive
    #[arg(long, value_delimiter = ',')]
    pub label_names: Vec<String>,
}

/// Ways from an encoder to a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Recipe {
    /// All weights.
    Full,
    /// Logistic regression on the encoder's embeddings.
    Probe,
    /// The nearest mean embedding.
    Centroid,
}

impl Args {
    /// An option that is given and belongs to another recipe.
    fn stray(&self) -> Option<&'static str> {
        let of_full = [
            ("epochs", self.epochs.is_some()),
            ("lr", self.lr.is_some()),
            ("batch", self.batch.is_some()),
            ("weight-decay", self.weight_decay.is_some()),
            ("seed", self.seed.is_some()),
            ("max-tokens", self.max_tokens.is_some()),
            ("checks", self.checks.is_some()),
            ("minutes", self.minutes.is_some()),
            ("max-steps", self.max_steps.is_some()),
            ("layers", self.layers.is_some()),
            ("int8", self.int8),
            ("prune-vocabulary", self.prune_vocabulary),
            ("prove-on", !self.prove_on.is_empty()),
        ];
        let given = of_full.iter().find(|(_, given)| *given).map(|(option, _)| *option);
        match self.recipe {
            Recipe::Full if !self.c.is_empty() => Some("c"),
            Recipe::Full => None,
            Recipe::Centroid if !self.c.is_empty() => Some("c"),
            Recipe::Probe | Recipe::Centroid => given,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    if args.out.exists() && args.from.canonicalize().ok() == args.out.canonicalize().ok() {
        return Err(Usage("--out is the folder of the encoder itself; name another".into()).into());
    }
    if let Some(option) = args.stray() {
        return Err(Usage(format!("--{option} means nothing to this recipe; leave it out")).into());
    }
    let mut report = Report::default();
    let data = Data::read(args, &mut report)?;
    match args.recipe {
        Recipe::Full => full::run(args, data, report),
        Recipe::Probe | Recipe::Centroid => frozen::run(args, data, report),
    }
}

/// Rows to train on and to measure on.
struct Data {
    train: Vec<Row>,
    dev: Vec<Row>,
    /// Labels as they stand in the files, sorted.
    found: Vec<String>,
    /// What they are called in the model.
    names: Vec<String>,
}

impl Data {
    fn read(args: &Args, report: &mut Report) -> Result<Self> {
        let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
        let mut train = rows(&args.train, &columns)?;
        train.truncate(args.max_rows.unwrap_or(usize::MAX));
        let (train, dev) = match &args.dev {
            Some(dev) => (train, rows(dev, &columns)?),
            None => split::by_text(train, 0.1),
        };
        ensure!(!dev.is_empty(), "there is nothing to measure on; name a file with --dev");
        let found = labels(&train);
        ensure!(found.len() > 1, "the training file has one label only: {found:?}");
        let names = if args.label_names.is_empty() { found.clone() } else { args.label_names.clone() };
        let counts = (names.len(), found.len());
        ensure!(counts.0 == counts.1, "--label-names gives {} names for the {} labels {found:?}", counts.0, counts.1);
        let unique: HashSet<&str> = names.iter().map(|name| name.trim()).collect();
        ensure!(unique.len() == names.len() && !unique.contains(""), "two labels have the same name, or one has none: {names:?}");
        if let Some(row) = dev.iter().find(|row| !found.contains(&row.label)) {
            anyhow::bail!("label {:?} of the rows to measure on is not in the training file", row.label);
        }
        for (label, name) in found.iter().zip(&names) {
            let count = |rows: &[Row]| rows.iter().filter(|row| row.label == *label).count();
            let named = if label == name { label.clone() } else { format!("{label} ({name})") };
            report.say(format!("label {named}: {} rows to train on, {} to measure on", count(&train), count(&dev)));
        }
        let seen: HashSet<&str> = dev.iter().map(|row| row.text.as_str()).collect();
        let shared = train.iter().filter(|row| seen.contains(row.text.as_str())).count();
        report.say(format!("texts in both files: {shared} training rows"));
        Ok(Self { train, dev, found, names })
    }

    /// The number of a row's label.
    fn label(&self, row: &Row) -> u32 {
        self.found.iter().position(|label| *label == row.label).unwrap_or_default() as u32
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

/// The command without the places where files lay.
fn shown(args: &Args) -> String {
    let mut line = format!("millrace train --from {} --train {} --out {}", name(&args.from), name(&args.train), name(&args.out));
    if let Some(dev) = &args.dev {
        line += &format!(" --dev {}", name(dev));
    }
    match args.recipe {
        Recipe::Full => {
            let plan = full::plan(args);
            line += &format!(" --epochs {} --lr {} --batch {}", plan.epochs, plan.rate, plan.batch);
            line +=
                &format!(" --weight-decay {} --seed {} --max-tokens {}", plan.weight_decay, plan.seed, full::max_tokens(args));
        }
        Recipe::Probe => {
            let all: Vec<String> = frozen::strengths(args).iter().map(f64::to_string).collect();
            line += &format!(" --recipe probe --c {}", all.join(","));
        }
        Recipe::Centroid => line += " --recipe centroid",
    }
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            line += &format!(" --{option} {value}");
        }
    };
    add("layers", args.layers.map(|n| n.to_string()));
    add("max-rows", args.max_rows.map(|n| n.to_string()));
    add("minutes", args.minutes.map(|n| n.to_string()));
    add("max-steps", args.max_steps.map(|n| n.to_string()));
    args.prove_on.iter().for_each(|path| add("prove-on", Some(name(path))));
    add("text-column", args.text_column.clone());
    add("label-column", args.label_column.clone());
    add("label-names", (!args.label_names.is_empty()).then(|| args.label_names.join(",")));
    for (on, flag) in [(args.prune_vocabulary, " --prune-vocabulary"), (args.int8, " --int8")] {
        line += if on { flag } else { "" };
    }
    line
}

/// Measures the written folder on the rows to measure on, by the networks that run on a stream; writes the confusion matrix beside it.
fn measured(folder: &Path, data: &Data, report: &mut Report) -> Result<()> {
    let encoder = Encoder::open(&name(folder), folder, None, &Options::default())?;
    let texts = data.dev.iter().map(|row| row.text.clone()).collect();
    let truth: Vec<usize> = data.dev.iter().map(|row| data.label(row) as usize).collect();
    let found = evaluate(&encoder, texts, &truth)?;
    let confusion = &found.confusion;
    report.say(format!(
        "dev accuracy {:.2}, macro-F1 {:.2}, calibration error {:.2} points, {} rows",
        100.0 * confusion.accuracy(),
        100.0 * confusion.macro_f1(),
        100.0 * found.calibration_error,
        confusion.total()
    ));
    for (label, name) in data.names.iter().enumerate() {
        let of = confusion.of_label(label);
        report.say(format!(
            "  {name}: precision {:.3}, recall {:.3}, F1 {:.3}, {} rows",
            of.precision, of.recall, of.f1, of.support
        ));
    }
    std::fs::write(folder.join("confusion.svg"), confusion::svg(confusion, &data.names))?;
    std::fs::write(folder.join("confusion.csv"), confusion::csv(confusion, &data.names)?)?;
    Ok(())
}
