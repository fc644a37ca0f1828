//! The recipe `setfit`: an encoder is tuned by pairs of few texts, and a head is learnt on what it then says of them.

use super::args::Args;
use super::full::plan;
use super::go::{go, keep};
use super::load::example;
use super::rows::Data;
use super::{Report, frozen, name};
use crate::inference::{Encoder, Options, Pooling, pooling};
use crate::train::batches::{Example, Target};
use crate::train::checkpoint::Folder;
use crate::train::contrast::Contrast;
use crate::train::data::Row;
use crate::train::encode::Cutter;
use crate::train::export::{self, Described};
use crate::train::head::Backbone;
use crate::train::journal::Point;
use crate::train::lengths::Lengths;
use crate::train::network::Tuning;
use crate::train::pairs::{beside, pairs};
use crate::train::task::Task;
use crate::train::trainable::{Record, Trainable};
use crate::train::vocabulary::tokenizer;
use anyhow::{Context, Result, ensure};

/// Pairs to learn from, where nobody says how many.
pub const PAIRS: usize = 4_000;
/// Pairs to measure on while the encoder learns.
const MEASURED: usize = 500;
/// Tokens of a text, where nobody says how many.
const TOKENS: usize = 128;
/// The tuned encoder's folder within the model's, so that the two stay together.
pub const BODY: &str = "body";

pub fn run(args: &Args, mut report: Report) -> Result<()> {
    let (from, plan) = (args.base()?, plan(args));
    let data = Data::read(args, &mut report)?;
    data.single("setfit")?;
    let base = Folder::read(from)?;
    ensure!(
        pooling(from)? == Pooling::Mean,
        "{} embeds a text by its first token; setfit tunes the mean of all. Use --recipe probe, or full",
        from.display()
    );
    let positions =
        base.config["max_position_embeddings"].as_u64().context("config.json has no max_position_embeddings")? as usize;
    let most = args.max_tokens.unwrap_or(TOKENS.min(positions));
    ensure!(most <= positions, "--max-tokens is {most}, but the network has {positions} positions");
    let tokens = tokenizer(&base.tokenizer)?;
    let cutter = Cutter::new(&tokens, most)?;
    let example = |row: &Row| example(&cutter, row.key(), Target::Label(data.label(row)?));
    let texts = data.train.iter().chain(&data.dev).map(example).collect::<Result<Vec<_>>>()?;
    let (texts, lengths): (Vec<Example>, Vec<usize>) = texts.into_iter().unzip();
    report.say(Lengths::new(lengths[..data.train.len()].to_vec()).cut("text", most));
    let labels: Vec<u32> = data.train.iter().chain(&data.dev).map(|row| data.label(row)).collect::<Result<_>>()?;
    let (train, dev) = labels.split_at(data.train.len());
    let learnt = pairs(train, args.pairs.unwrap_or(PAIRS), plan.seed)?;
    let measured = beside(train, dev, MEASURED, plan.seed)?;
    report.say(format!("{} pairs of {} texts, half of them of one label", learnt.len(), train.len()));

    let dropout = args.training.dropout.unwrap_or(0.0);
    let tuning = Tuning { layers: args.training.tune_layers, tables: args.training.train_tables, dropout, seed: plan.seed };
    let network = base.network(Task::Tag, 0, &tuning)?;
    let learner = Contrast { network: &network, texts: &texts, pairs: &learnt, dev: &measured, seed: plan.seed };
    let keep = keep(&args.out, learner.fingerprint(&plan)?, args.training.keep_seconds);
    report.say(format!("dev {} before", learner.said(learner.measure()?)));
    let fitted = go(&learner, &plan, &keep, &args.out, points)?;
    report.say(format!("tuned {} steps in {:.0} s; best dev {}", fitted.steps, fitted.seconds, learner.said(fitted.best)));

    let body = args.out.join(BODY);
    let described =
        Described { base: &base.config, tokenizer: &base.tokenizer, labels: &[], threshold: None, scale: None, max_tokens: None };
    let (size, digest) = export::write(&body, &network, &described, false)?;
    export::pooled(&body, from, network.shape.hidden_size)?;
    report.say(format!("{BODY}/model.safetensors: {size} bytes, sha256 {digest}"));
    let encoder = Encoder::open(BODY, &body, None, &Options::default())?;
    let backbone = Backbone { folder: BODY.to_owned(), sha256: encoder.digest().as_str().to_owned() };
    frozen::headed(args, &data, &encoder, &backbone, &format!("{}, tuned", name(from)), report)?;
    keep.remove()
}

/// What the curves take down: what is measured as a loss.
fn points(record: &Record) -> Vec<Point> {
    match *record {
        Record::Check { step, measure, .. } => vec![Point::new(step, "dev/pair_loss", -measure)],
        Record::Step { .. } => record.points(""),
    }
}
