//! `millrace call`: a function without a stream. A text, or JSON lines in, JSON lines out.

mod given;

use super::common::{self, Usage};
use super::opened::{self, Named};
use crate::config::{BASE, Config};
use crate::event::Rejection;
use crate::function::offline::{self, Offline, Plain, Sitting};
use crate::function::{Function, Outcome};
use crate::inference::{Options, Registry};
use crate::worker::{Own, folds};
use anyhow::Context;
use given::Given;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls a function on a text, or on lines of standard input: a JSON string or object a line, or plain text.
///
/// A function with a fold, such as `risk`, comes from a config. Its lines are events as on the pipeline's topic, oldest first; they
/// are folded from the empty state, and each is answered in its turn.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace call sentiment 'This is wonderful.'\n  millrace call classify --labels 'delivery delay,refund,praise' 'where is my parcel'\n  millrace call similar '{\"source_sentence\": \"a dog\", \"sentences\": [\"a puppy\", \"a car\"]}'\n  millrace call answer --model DIR --set context=@policy.txt 'How long do refunds take?'\n  millrace call reply --options '{\"bank\": \"replies.csv\"}' 'where is my parcel'\n  millrace call risk --config millrace.toml --pipeline risk < events.jsonl"
)]
pub struct Args {
    /// `sentiment`, `classify`, `embed`, `answer`, `tag`, `similar`, `rerank`, `reply`, `fill`, `summarize`, `translate`, `generate` or `copy`; with --config any that
    /// a pipeline of it runs.
    function: String,
    /// One text or one JSON object, instead of lines.
    text: Option<String>,
    /// The same, for a text that looks like an option.
    #[arg(long = "text", value_name = "TEXT", conflicts_with = "text")]
    said: Option<String>,
    /// A field of each input, such as `context=@policy.txt`: @ reads a file, JSON lists and objects are taken as such.
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Labels to choose from, with commas between.
    #[arg(long, value_name = "A,B")]
    labels: Option<String>,
    /// Answers to each input at most.
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// What becomes of a text that is longer than the model sees: `truncate`, `window` or `reject`.
    #[arg(long, value_name = "POLICY")]
    too_long: Option<String>,
    /// The model, for functions that need one: a folder, a name in $MILLRACE_MODELS, models here or beside the program, or
    /// org/name@revision of a hub. Default: sentiment-en for `sentiment` and `classify` (sentiment-zh is for Chinese), answer-en for `answer`, minilm-en for the functions that embed, and
    /// `classify` with --labels.
    #[arg(long)]
    model: Option<PathBuf>,
    /// A model of a hub that is not in its cache may be fetched.
    #[arg(long)]
    allow_download: bool,
    /// Options of the function, as JSON, for example '{"fields": ["amount"]}'.
    #[arg(long, default_value = "{}")]
    options: String,
    /// Take model, options and features from a pipeline of this config.
    #[arg(long, short, conflicts_with_all = ["model", "options"])]
    config: Option<PathBuf>,
    /// Which pipeline; needed when several run the function.
    #[arg(long, requires = "config")]
    pipeline: Option<String>,
    /// The version of the pipeline, as [pipeline.version.NAME] has it. Default: its own settings.
    #[arg(long, requires = "config", value_name = "NAME")]
    version: Option<String>,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<()> {
    let (function, mut sitting) = match &args.config {
        Some(path) => tokio::task::block_in_place(|| of_config(&args, path, env, own))?,
        None => (function(&args)?, Plain.sitting()),
    };
    let function = given::tuned(function, args.labels.as_deref(), args.top_k, args.too_long.as_deref())?;
    let given = Given::new(args.text.or(args.said), &args.set)?;
    let first_field = function.requests().and_then(|requests| requests.about().fields.first().copied()).unwrap_or("text");
    if let Some(input) = given.alone(first_field) {
        return answer(&*function, &mut *sitting, 0, vec![Ok(input)]).await;
    }
    let slice = function.spec().limits.slice;
    let (mut lines, mut first) = (lines(std::io::stdin().lock()), 0);
    loop {
        let mut inputs = Vec::new();
        for line in lines.by_ref().take(slice) {
            let line = line.context("standard input cannot be read")?;
            inputs.push(given::read(line).map(|input| given.with(input, first_field)));
        }
        if inputs.is_empty() {
            return Ok(());
        }
        let count = inputs.len();
        answer(&*function, &mut *sitting, first, inputs).await?;
        first += count;
    }
}

/// Lines without their ends, and without the mark that some programs put before a text in UTF-8.
fn lines(from: impl BufRead) -> impl Iterator<Item = std::io::Result<Vec<u8>>> {
    from.split(b'\n').enumerate().map(|(number, line)| {
        line.map(|mut line| {
            if line.ends_with(b"\r") {
                line.pop();
            }
            if number == 0 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            line
        })
    })
}

/// Writes a line for each input, in order.
async fn answer(
    function: &dyn Function,
    sitting: &mut dyn Sitting,
    first: usize,
    inputs: Vec<Result<Value, Rejection>>,
) -> anyhow::Result<()> {
    let good: Vec<Value> = inputs.iter().filter_map(|input| input.as_ref().ok()).cloned().collect();
    let mut outputs = offline::call(function, sitting, first, &good).await?.into_iter();
    let mut out = std::io::stdout().lock();
    for input in inputs {
        let output = match input {
            Ok(_) => outputs.next().context("the function gave fewer outputs than inputs")?,
            Err(refused) => offline::output(Outcome::Reject(refused)),
        };
        writeln!(out, "{output}").context("standard output is closed")?;
    }
    Ok(())
}

fn of_config(
    args: &Args,
    path: &Path,
    env: &BTreeMap<String, String>,
    own: &Own,
) -> anyhow::Result<(Arc<dyn Function>, Box<dyn Sitting>)> {
    let mut config = Config::load(path, env)?;
    config.pipeline.retain(|pipeline| pipeline.function == args.function);
    if config.pipeline.is_empty() {
        return Err(Usage(format!("no pipeline of {} runs `{}`", path.display(), args.function)).into());
    }
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let pipeline = &pipeline.at_version(args.version.as_deref().unwrap_or(BASE)).map_err(Usage)?;
    let function = own
        .function(&config, pipeline, &Registry::new(Options::default()))
        .with_context(|| format!("pipeline `{}`", pipeline.name))?;
    Ok((function, folds::offline(&config, pipeline).sitting()))
}

fn function(args: &Args) -> anyhow::Result<Arc<dyn Function>> {
    let options = serde_json::from_str(&args.options).map_err(|error| Usage(format!("--options: {error}")))?;
    let (model, labelled) = (args.model.as_deref(), args.labels.is_some());
    opened::open(&Named { function: &args.function, model, labelled, allow_download: args.allow_download }, &options)
}
