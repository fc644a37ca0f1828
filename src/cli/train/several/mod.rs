//! `millrace train several`: one encoder, tuned for several tasks of texts together, and a head for each.

mod options;
#[cfg(test)]
mod tests;

pub use options::Options;

use super::args::Args;
use super::go::{go, keep, unkept};
use super::load::{Loaded, Rows};
use super::measured::measured;
use super::small::written;
use super::{Report, guess, name, unread};
use crate::cli::common::Usage;
use crate::inference::{Encoder, Pooling, pooling};
use crate::train::checkpoint::Folder;
use crate::train::export::{self, Described};
use crate::train::fit::{Fitted, Plan};
use crate::train::head::{self, Backbone, Outputs};
use crate::train::measure::threshold;
use crate::train::network::{Network, Tuning};
use crate::train::several::{Part, Several};
use crate::train::task::Task;
use crate::train::trainable::{Record, Trainable};
use crate::train::vocabulary::{self, Tokenizer};
use anyhow::{Context, Result, bail, ensure};
use options::{ENCODER, Of};

/// Tokens of a text, where nobody says how many.
const TOKENS: usize = 128;

pub fn run(options: &Options) -> Result<()> {
    options.check()?;
    let names = options.tasks.iter().map(|of| of.task.as_str()).chain([ENCODER]);
    let folders: Vec<_> = names.map(|name| options.folder(name)).chain([options.out.clone()]).collect();
    unread(&options.from, &folders)?;
    unkept(&options.out, options.training.resume)?;
    let (plan, mut report) = (options.training.plan(Plan::default()), Report::default());
    let base = Folder::read_or_draw(&options.from)?;
    ensure!(
        pooling(&options.from)? == Pooling::Mean,
        "{} embeds a text by its first token; several heads stand on the mean of all. Take another base model",
        options.from.display()
    );
    let tokenizer = vocabulary::tokenizer(&base.tokenizer)?;
    let most = tokens(options, &base)?;
    let tasks: Vec<Told> = options
        .tasks
        .iter()
        .map(|of| Told::read(options, of, &tokenizer, most, plan.seed, &mut report).with_context(|| format!("task {}", of.task)))
        .collect::<Result<_>>()?;
    let network = network(options, &base, plan.seed)?;
    tasks.iter().try_for_each(|told| told.loaded.fits(&network).with_context(|| format!("task {}", told.name)))?;
    let learner = Several::new(&network, tasks.iter().map(Told::part).collect::<Result<_>>()?, plan.seed)?;
    described(&learner, &network, &base, &plan, &mut report);

    let keep = keep(&options.out, learner.fingerprint(&plan)?, options.training.keep_seconds);
    let fitted = go(&learner, &plan, &keep, &options.out, |record: &Record| learner.points(record))?;
    report.say(format!(
        "trained {} steps in {:.0} s, {:.0} tokens/s; best dev {}",
        fitted.steps,
        fitted.seconds,
        fitted.tokens as f64 / fitted.seconds,
        learner.said_with(fitted.best, Record::best(&fitted.records))
    ));
    let backbone = encoder(options, &base, &network, &learner, &fitted, &mut report)?;
    for (told, part) in tasks.iter().zip(learner.parts()) {
        told.write(&backbone, &learner, part, &mut report)?;
    }
    export::card(&options.out, &name(&options.out), &options.shown(), report.lines())?;
    // Until here the same command goes on from the last step.
    keep.remove()
}

/// Tokens of a text at most: what is not asked for is no more than the network sees.
fn tokens(options: &Options, base: &Folder) -> Result<usize> {
    let positions =
        base.config["max_position_embeddings"].as_u64().context("config.json has no max_position_embeddings")? as usize;
    let most = options.max_tokens.unwrap_or(TOKENS.min(positions));
    ensure!(most <= positions, "--max-tokens is {most}, but the network has {positions} positions");
    Ok(most)
}

/// The encoder that is to learn.
fn network(options: &Options, base: &Folder, seed: u64) -> Result<Network> {
    let training = &options.training;
    if training.tune_layers.is_some() && !base.has_weights() {
        let said = "--tune-layers leaves the first layers as they are, but there is no model.safetensors to take them from";
        return Err(Usage(said.into()).into());
    }
    let tables = training.train_tables || !base.has_weights();
    let tuning = Tuning { layers: training.tune_layers, tables, dropout: training.dropout.unwrap_or(0.0), seed };
    // Without a head of its own: every token's vector is there.
    base.network(Task::Tag, 0, &tuning)
}

/// Says what will learn from what, and how often each task has its turn.
fn described(learner: &Several<'_>, network: &Network, base: &Folder, plan: &Plan, report: &mut Report) {
    if !base.has_weights() {
        report.say("no model.safetensors: all weights are drawn".to_owned());
    }
    let trained: usize = learner.parameters().values().map(|var| var.elem_count()).sum();
    report.say(format!("{} layers, {trained} trained parameters, heads included", network.shape.num_hidden_layers));
    let turns = learner.turns(plan.batch, plan.epochs);
    let all: usize = turns.iter().sum();
    for (part, turns) in learner.parts().iter().zip(turns) {
        let (rows, share) = (part.train.len(), 100.0 * turns as f64 / all.max(1) as f64);
        report.say(format!("task {}: {rows} examples, {turns} of {all} batches ({share:.1} %)", part.name));
    }
}

/// Writes the encoder's folder, and tells what heads need to name it.
fn encoder(
    options: &Options,
    base: &Folder,
    network: &Network,
    learner: &Several<'_>,
    fitted: &Fitted,
    report: &mut Report,
) -> Result<Backbone> {
    let folder = options.folder(ENCODER);
    let described =
        Described { base: &base.config, tokenizer: &base.tokenizer, labels: &[], threshold: None, scale: None, max_tokens: None };
    let write = |int8| export::write(&folder, network, &described, int8);
    let again = || learner.on(&Folder::read(&folder)?.network(network.task, 0, &Tuning::default())?).measure();
    let (size, digest) = written(options.int8, learner, fitted.best, write, again, report)?;
    export::pooled(&folder, &options.from, network.shape.hidden_size)?;
    report.say(format!("{ENCODER}/model.safetensors: {size} bytes, sha256 {digest}"));
    let opened = Encoder::open(ENCODER, &folder, None, &crate::inference::Options::default())?;
    // As seen from a head's folder, so that all of them can be moved together.
    Ok(Backbone { folder: format!("../{ENCODER}"), sha256: opened.digest().as_str().to_owned() })
}

/// A task, as its files tell it.
struct Told {
    name: String,
    kind: Task,
    args: Args,
    rows: Rows,
    loaded: Loaded,
}

impl Told {
    fn read(options: &Options, of: &Of, tokenizer: &Tokenizer, most: usize, seed: u64, report: &mut Report) -> Result<Self> {
        let mut args = options.args(of, options.kind(&of.task)?);
        let (kind, why) = match args.task {
            Some(kind) => (kind, "as was said".to_owned()),
            None => {
                let (kind, why) = guess::guess(&args)?;
                (kind, format!("since {why}"))
            }
        };
        if kind == Task::Answer {
            bail!("{} holds questions with answers, which are not learnt beside other tasks; use `millrace train`", of.value);
        }
        report.say(format!("task {}: {}, {why}", of.task, kind.name()));
        args.task = Some(kind);
        let rows = Rows::read(&args, kind, tokenizer, report)?;
        let loaded = rows.examples(&args, kind, tokenizer, most, seed)?;
        loaded.notes().into_iter().for_each(|note| report.say(note));
        Ok(Self { name: of.task.clone(), kind, args, rows, loaded })
    }

    fn part(&self) -> Result<Part<'_>> {
        let Loaded::Texts { train, dev, .. } = &self.loaded else { bail!("task {} is one of questions", self.name) };
        Ok(Part { name: &self.name, task: self.kind, labels: self.rows.labels().0, scale: self.rows.scale(), train, dev })
    }

    /// Writes and measures the head.
    fn write(&self, backbone: &Backbone, learner: &Several<'_>, part: &Part<'_>, report: &mut Report) -> Result<()> {
        let threshold = match part.task {
            Task::Labels => Some(threshold(&learner.answers(part)?, part.dev).0),
            _ => None,
        };
        let folder = &self.args.out;
        let outputs = Outputs { task: part.task, labels: part.labels, threshold };
        let (size, digest) = head::write(folder, backbone, &learner.head(part)?, &outputs)?;
        report.say(format!("{}/model.safetensors: {size} bytes, sha256 {digest}", self.name));
        measured(&self.args, self.kind, &self.rows, threshold, report)?;
        if let Some(command) = compared(&self.args, self.kind, &self.name) {
            report.say(format!("beside a model ALONE that learnt nothing else: {command}"));
        }
        let card = format!(
            "# {}\n\nA head on [{ENCODER}](../{ENCODER}), which was trained for other tasks too; the [card](../README.md) of them all has command and figures.\n",
            self.name
        );
        let path = folder.join("README.md");
        std::fs::write(&path, card).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The command that compares a task's head with a model of its own, where there is one: of several labels none gives the file's other names.
fn compared(args: &Args, kind: Task, task: &str) -> Option<String> {
    let renamed = !args.label_names.is_empty();
    let eval = match kind {
        Task::Labels if renamed => return None,
        Task::Label | Task::Labels | Task::Score => "classify",
        Task::Tag => "tag",
        Task::Answer => return None,
    };
    let out = args.out.parent().map(name).unwrap_or_default();
    let dev = args.dev.as_deref().map_or_else(|| "ROWS".to_owned(), name);
    let names = (renamed && kind == Task::Label).then(|| args.label_names.join(","));
    let mut command = format!("millrace eval {eval} --model {out}/{task} --against ALONE --input {dev}");
    for (option, value) in
        [("text-column", args.text_column.clone()), ("label-column", args.label_column.clone()), ("label-names", names)]
    {
        command += &value.map(|value| format!(" --{option} {value}")).unwrap_or_default();
    }
    Some(command)
}
