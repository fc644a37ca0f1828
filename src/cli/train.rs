//! `millrace train`: fine-tunes a BERT encoder into a sequence classifier.

use crate::train::batches::Example;
use crate::train::checkpoint::{Folder, accuracy};
use crate::train::data::{Columns, Row, rows, texts};
use crate::train::fit::{Plan, fit};
use crate::train::{export, vocabulary};
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Fine-tune a sentence encoder on labelled texts
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folder of the base model: config.json, tokenizer.json, model.safetensors
    #[arg(long)]
    pub from: PathBuf,
    /// Labelled texts, .tsv or .csv with a header, also .gz
    #[arg(long)]
    pub train: PathBuf,
    /// Labelled texts to measure on
    #[arg(long)]
    pub dev: PathBuf,
    /// Folder to write
    #[arg(long)]
    pub out: PathBuf,
    #[arg(long, default_value_t = 1)]
    pub epochs: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 7e-5)]
    pub lr: f64,
    #[arg(long, default_value_t = 32)]
    pub batch: usize,
    #[arg(long, default_value_t = 0.01)]
    pub weight_decay: f64,
    /// Keep the first N layers of the base model
    #[arg(long)]
    pub layers: Option<usize>,
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Tokens a text at most
    #[arg(long, default_value_t = 128)]
    pub max_tokens: usize,
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
    #[arg(long, default_value_t = 4)]
    pub checks: usize,
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

pub fn run(args: Args) -> Result<()> {
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let mut report = Report::default();
    let mut train = rows(&args.train, &columns)?;
    train.truncate(args.max_rows.unwrap_or(usize::MAX));
    let dev = rows(&args.dev, &columns)?;
    let found: Vec<String> = train.iter().map(|row| row.label.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    ensure!(found.len() > 1, "the training file has one label only: {found:?}");
    let names = if args.label_names.is_empty() { found.clone() } else { args.label_names.clone() };
    ensure!(names.len() == found.len(), "--label-names gives {} names for the {} labels {found:?}", names.len(), found.len());
    for (label, name) in found.iter().zip(&names) {
        let count = |rows: &[Row]| rows.iter().filter(|row| row.label == *label).count();
        report.say(format!("label {label} ({name}): {} rows to train on, {} to measure on", count(&train), count(&dev)));
    }
    let seen: HashSet<&str> = dev.iter().map(|row| row.text.as_str()).collect();
    let shared = train.iter().filter(|row| seen.contains(row.text.as_str())).count();
    report.say(format!("texts in both files: {shared} training rows"));

    let mut base = Folder::read(&args.from)?;
    let (train, dev) = (encode(&base, &train, &found, args.max_tokens)?, encode(&base, &dev, &found, args.max_tokens)?);
    let (mut train, mut dev) = (train, dev);
    if args.prune_vocabulary {
        prune(&args, &columns, &mut base, (&mut train, &mut dev), &mut report)?;
    }
    if let Some(layers) = args.layers {
        let whole = base.config["num_hidden_layers"].as_u64().context("config.json has no num_hidden_layers")?;
        ensure!((1..=whole as usize).contains(&layers), "--layers is 1 to {whole}");
        base.config["num_hidden_layers"] = layers.into();
    }
    let network = base.network(found.len(), args.seed)?;
    let trained: usize = network.parameters.values().map(|p| p.elem_count()).sum();
    let tokens: usize = train.iter().map(|example| example.ids.len()).sum();
    report.say(format!(
        "{} layers, {trained} trained parameters, {} texts, {tokens} tokens",
        network.shape.num_hidden_layers,
        train.len()
    ));

    let plan = Plan {
        epochs: args.epochs,
        rate: args.lr,
        batch: args.batch,
        weight_decay: args.weight_decay,
        seed: args.seed,
        checks: args.checks,
        minutes: args.minutes,
        max_steps: args.max_steps,
    };
    let fitted = fit(&network, &train, &dev, &plan)?;
    let speed = fitted.tokens as f64 / fitted.seconds;
    report.say(format!(
        "trained {} steps in {:.0} s, {speed:.0} tokens/s; best dev accuracy {:.2}",
        fitted.steps,
        fitted.seconds,
        100.0 * fitted.best
    ));

    let (size, digest) = export::write(&args.out, &network, &base.config, &base.tokenizer, &names, args.int8)?;
    report.say(format!("model.safetensors: {size} bytes, sha256 {digest}"));
    let written = Folder::read(&args.out)?;
    let again = rows(&args.dev, &columns)?;
    let again = encode(&written, &again, &found, args.max_tokens)?;
    let (before, after) = (accuracy(&network, &dev)?, accuracy(&written.network(found.len(), 0)?, &again)?);
    report.say(format!("dev accuracy before export {:.2}, of the written folder {:.2}", 100.0 * before, 100.0 * after));
    export::card(&args.out, &name(&args.out), &shown(&args), &report.0)
}

/// Lines on the screen that also go into the card.
#[derive(Default)]
struct Report(Vec<String>);

impl Report {
    fn say(&mut self, line: String) {
        println!("{line}");
        self.0.push(line);
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The command without the places where files lay.
fn shown(args: &Args) -> String {
    let mut line = format!("millrace train --from {} --train {} --dev {}", name(&args.from), name(&args.train), name(&args.dev));
    line += &format!(" --out {} --epochs {} --lr {} --batch {}", name(&args.out), args.epochs, args.lr, args.batch);
    line += &format!(" --weight-decay {} --seed {} --max-tokens {}", args.weight_decay, args.seed, args.max_tokens);
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

fn encode(folder: &Folder, rows: &[Row], labels: &[String], most: usize) -> Result<Vec<Example>> {
    let tokenizer = vocabulary::tokenizer(&folder.tokenizer)?;
    let mut examples = Vec::with_capacity(rows.len());
    for row in rows {
        let encoding = tokenizer.encode_fast(row.text.as_str(), true).map_err(anyhow::Error::msg)?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > most {
            let end = ids[ids.len() - 1];
            ids.truncate(most);
            ids[most - 1] = end;
        }
        let label = labels.iter().position(|label| *label == row.label);
        let label = label.with_context(|| format!("label {:?} is not in the training file", row.label))? as u32;
        examples.push(Example { ids, label });
    }
    Ok(examples)
}

/// Smaller tables, smaller ids; says how many texts are cut into other pieces than before.
fn prune(
    args: &Args,
    columns: &Columns,
    base: &mut Folder,
    (train, dev): (&mut [Example], &mut [Example]),
    report: &mut Report,
) -> Result<()> {
    let used: HashSet<u32> = train.iter().chain(dev.iter()).flat_map(|example| example.ids.iter().copied()).collect();
    let before = vocabulary::tokenizer(&base.tokenizer)?;
    let pruned = vocabulary::prune(&base.tokenizer, &used)?;
    report.say(format!("vocabulary: {} of {} tokens stay", pruned.kept.len(), before.get_vocab_size(false)));
    for path in [&args.train, &args.dev].into_iter().chain(&args.prove_on) {
        let texts = texts(path, columns)?;
        let (count, first) = vocabulary::differing(&before, &pruned, &texts)?;
        let name = name(path);
        report.say(format!("{name}: {count} of {} texts tokenise differently {first:?}", texts.len()));
    }
    for (name, tensor) in &mut base.weights {
        if name.ends_with("word_embeddings.weight") {
            *tensor = pruned.keep_rows(tensor)?;
        }
    }
    for id in train.iter_mut().chain(dev).flat_map(|example| example.ids.iter_mut()) {
        *id = pruned.kept.binary_search(id).ok().context("a used token is gone")? as u32;
    }
    base.tokenizer = pruned.json;
    Ok(())
}
