//! The recipe `full`: the weights of a BERT encoder are fine-tuned, all of them or those of the last layers.

use super::args::{Args, Recipe};
use super::go::{go, keep};
use super::load::{Loaded, Rows};
use super::measured::measured;
use super::shown::shown;
use super::small::written;
use super::taught::{self, asked};
use super::{Report, name};
use crate::cli::common::Usage;
use crate::train::blank::Blank;
use crate::train::checkpoint::Folder;
use crate::train::class_weights::ClassWeights;
use crate::train::export::{self, Described};
use crate::train::fit::Plan;
use crate::train::learner::{Dev, Learner};
use crate::train::measure::{logits, threshold};
use crate::train::network::{Network, Tuning};
use crate::train::pieces::words;
use crate::train::task::Task;
use crate::train::trainable::{Record, Trainable};
use crate::train::vocabulary::{self, Tokenizer};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;

pub fn run(args: &Args, task: Task, mut report: Report) -> Result<()> {
    taught::check(args, task)?;
    weighed(args, task)?;
    let plan = plan(args);
    let most = max_tokens(args, task);
    let (mut base, rows) = begun(args, task, most, &mut report)?;
    // What is not asked for is no more than the network sees.
    let seen = base.config["max_position_embeddings"].as_u64().map_or(most, |seen| most.min(seen as usize));
    let most = args.max_tokens.unwrap_or(seen);
    let tokenizer = vocabulary::tokenizer(&base.tokenizer)?;
    let blank = blank(args, &tokenizer)?;
    let mut loaded = rows.examples(args, task, &tokenizer, most, plan.seed)?;
    let teacher = asked(args, task, &rows, &loaded, &tokenizer, &mut report)?;
    if args.prune_vocabulary {
        prune(args, &rows, &mut base, &mut loaded, &mut report)?;
    }
    if let Some(layers) = args.layers {
        let whole = base.config["num_hidden_layers"].as_u64().context("config.json has no num_hidden_layers")?;
        ensure!((1..=whole as usize).contains(&layers), "--layers is 1 to {whole}");
        base.config["num_hidden_layers"] = layers.into();
    }
    if args.training.tune_layers.is_some() && !base.has_weights() {
        let said = "--tune-layers leaves the first layers as they are, but there is no model.safetensors to take them from";
        return Err(Usage(said.into()).into());
    }
    let (labels, outputs) = rows.labels();
    if let Some(scale) = rows.scale() {
        scale.taken(&mut base.weights)?;
    }
    let class_weights = class_weights(args, &rows, &mut report)?;
    let tuning = Tuning {
        layers: args.training.tune_layers,
        tables: args.training.train_tables || !base.has_weights(),
        dropout: args.training.dropout.unwrap_or(0.0),
        seed: plan.seed,
    };
    let network = base.network(task, outputs, &tuning)?;
    let positions = network.shape.max_position_embeddings;
    ensure!(most <= positions, "--max-tokens is {most}, but the network has {positions} positions");
    loaded.fits(&network)?;
    describe(&network, &base, &loaded, &mut report);

    let taught = teacher.as_ref().map(|teacher| &teacher.taught);
    let learner = Learner {
        network: &network,
        train: loaded.train(),
        dev: loaded.dev(),
        labels,
        blank,
        teacher: taught,
        class_weights: class_weights.as_ref(),
        seed: plan.seed,
    };
    if let Some(teacher) = &teacher {
        report.say(format!("teacher: dev {}", learner.said(learner.score(&teacher.dev))));
    }
    let keep = keep(&args.out, learner.fingerprint(&plan)?, args.training.keep_seconds);
    let fitted = go(&learner, &plan, &keep, &args.out, |record: &Record| learner.points(record))?;
    report.say(format!(
        "trained {} steps in {:.0} s, {:.0} tokens/s; best dev {}",
        fitted.steps,
        fitted.seconds,
        fitted.tokens as f64 / fitted.seconds,
        learner.said_with(fitted.best, Record::best(&fitted.records))
    ));
    let described = Described {
        base: &base.config,
        tokenizer: &base.tokenizer,
        labels,
        threshold: chosen(&learner)?,
        scale: rows.scale(),
        // Spans of positions that were not trained mean nothing.
        max_tokens: (task == Task::Answer).then_some(most),
    };
    let write = |int8| export::write(&args.out, &network, &described, int8);
    let (size, digest) = written(args.int8, &learner, fitted.best, write, || again(args, &learner), &mut report)?;
    report.say(format!("model.safetensors: {size} bytes, sha256 {digest}"));
    measured(args, task, &rows, described.threshold, &mut report)?;
    export::card(&args.out, &name(&args.out), &shown(args, task), report.lines())?;
    // Until here the same command goes on from the last step.
    keep.remove()
}

/// An error where labels cannot count by weights.
fn weighed(args: &Args, task: Task) -> Result<(), Usage> {
    match (&args.class_weights, task) {
        (Some(_), Task::Label) if args.teacher.is_some() => {
            Err(Usage("a teacher's answers have no weights; leave out --class-weights or --teacher".into()))
        }
        (None, _) | (Some(_), Task::Label) => Ok(()),
        (Some(_), task) => Err(Usage(format!("--class-weights is for one label a text, not for --task {}", task.name()))),
    }
}

/// How much each label counts, where somebody says so.
fn class_weights(args: &Args, rows: &Rows, report: &mut Report) -> Result<Option<ClassWeights>> {
    let (Some(wanted), Rows::Labelled(data)) = (&args.class_weights, rows) else { return Ok(None) };
    let weights = ClassWeights::new(wanted, &data.names, &data.counts())?;
    let said: Vec<String> = data.names.iter().zip(weights.all()).map(|(name, weight)| format!("{name} {weight:.4}")).collect();
    report.say(format!("class weights: {}; the best weights are those of the highest macro-F1", said.join(", ")));
    Ok(Some(weights))
}

/// What training starts from, and the rows of the files.
fn begun(args: &Args, task: Task, most: usize, report: &mut Report) -> Result<(Folder, Rows)> {
    let Some((new, pieces)) = args.new.zip(args.tokenizer) else {
        let base = Folder::read_or_draw(args.base()?)?;
        let rows = Rows::read(args, task, &vocabulary::tokenizer(&base.tokenizer)?, report)?;
        return Ok((base, rows));
    };
    let rows = Rows::read(args, task, &words()?, report)?;
    let tokenizer = pieces.learnt(&rows.trained())?;
    let tokens = vocabulary::tokenizer(&tokenizer)?.get_vocab_size(true);
    report.say(format!("{tokens} tokens learnt from the training file"));
    Ok((Folder { config: new.config(tokens, most), tokenizer, weights: HashMap::new() }, rows))
}

/// The tokens that a pass takes for unknown ones.
fn blank(args: &Args, tokenizer: &Tokenizer) -> Result<Option<Blank>> {
    let Some(share) = args.word_dropout.filter(|share| *share > 0.0) else { return Ok(None) };
    let with = tokenizer.token_to_id("[UNK]").context("--word-dropout needs a tokenizer with the token [UNK]")?;
    let special = tokenizer.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
    Ok(Some(Blank { share, with, spared: special.map(|(id, _)| id).collect() }))
}

/// How long and how fast, with the defaults filled in.
pub fn plan(args: &Args) -> Plan {
    args.training.plan(usual(args.recipe))
}

/// What nobody says of a run.
pub fn usual(recipe: Recipe) -> Plan {
    match recipe {
        Recipe::Setfit => Plan { rate: 2e-5, batch: 16, ..Plan::default() },
        _ => Plan::default(),
    }
}

/// Tokens of a text at most.
fn max_tokens(args: &Args, task: Task) -> usize {
    args.max_tokens.unwrap_or(if task == Task::Answer { 192 } else { 128 })
}

fn describe(network: &Network, base: &Folder, loaded: &Loaded, report: &mut Report) {
    if !base.has_weights() {
        report.say("no model.safetensors: all weights are drawn".to_owned());
    }
    loaded.notes().into_iter().for_each(|note| report.say(note));
    let trained: usize = network.parameters.values().map(|p| p.elem_count()).sum();
    let train = loaded.train();
    let tokens: usize = (0..train.count()).map(|example| train.length(0, example)).sum();
    let (layers, texts) = (network.shape.num_hidden_layers, train.count());
    report.say(format!("{layers} layers, {trained} trained parameters, {texts} examples, {tokens} tokens"));
}

/// From which probability a label holds, where several may.
fn chosen(learner: &Learner<'_>) -> Result<Option<f64>> {
    match (&learner.dev, learner.network.task) {
        (Dev::Examples(dev), Task::Labels) => Ok(Some(threshold(&logits(learner.network, dev)?, dev).0)),
        _ => Ok(None),
    }
}

/// The measure of the folder that was written.
fn again(args: &Args, learner: &Learner<'_>) -> Result<f64> {
    let network = learner.network;
    let read = Folder::read(&args.out)?.network(network.task, network.outputs, &Tuning::default())?;
    let dev = match &learner.dev {
        Dev::Examples(dev) => Dev::Examples(dev),
        Dev::Questions(held) => Dev::Questions(held.clone()),
    };
    Learner { network: &read, dev, blank: None, ..*learner }.measure()
}

/// Smaller tables, smaller ids; says how many texts are cut into other pieces than before.
fn prune(args: &Args, rows: &Rows, base: &mut Folder, loaded: &mut Loaded, report: &mut Report) -> Result<()> {
    let before = vocabulary::tokenizer(&base.tokenizer)?;
    let pruned = vocabulary::prune(&base.tokenizer, &loaded.used(), args.keep_ids)?;
    report.say(format!("vocabulary: {} of {} tokens stay", pruned.tokens, before.get_vocab_size(false)));
    for (name, texts) in rows.texts(args)? {
        let (count, first) = vocabulary::differing(&before, &pruned, &texts)?;
        report.say(format!("{name}: {count} of {} texts tokenise differently {first:?}", texts.len()));
    }
    for (name, tensor) in &mut base.weights {
        if name.ends_with("word_embeddings.weight") {
            *tensor = pruned.keep_rows(tensor)?;
        }
    }
    loaded.renumber(&pruned.kept)?;
    base.config["vocab_size"] = pruned.kept.len().into();
    base.tokenizer = pruned.json;
    Ok(())
}
