//! `millrace call`: a function without a stream. JSON lines in, JSON lines out.

use super::common::{self, Usage};
use crate::config::Config;
use crate::function::Function;
use crate::function::copy::Copy;
use crate::function::embed::Embed;
use crate::function::offline::{self, Offline, Plain, Sitting};
use crate::function::sentiment::Sentiment;
use crate::inference::{Encoder, Options, Registry};
use crate::worker::{build, folds};
use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls a function on lines of standard input: a JSON string or object a line, or plain text.
///
/// A function with a fold, such as `risk`, comes from a config. Its lines are events as on the pipeline's topic, oldest first; they
/// are folded from the empty state, and each is answered in its turn.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  echo 'This is wonderful.' | millrace call sentiment --model models/sentiment-en\n  millrace call risk --config millrace.toml --pipeline risk < events.jsonl"
)]
pub struct Args {
    /// `sentiment`, `embed` or `copy`; with --config any that a pipeline of it runs.
    function: String,
    /// Folder of the model, for functions that need one.
    #[arg(long, default_value = "models/sentiment-en")]
    model: PathBuf,
    /// Options of the function, as JSON, for example '{"fields": ["amount"]}'.
    #[arg(long, default_value = "{}")]
    options: String,
    /// Take model, options and features from a pipeline of this config.
    #[arg(long, short, conflicts_with_all = ["model", "options"])]
    config: Option<PathBuf>,
    /// Which pipeline; needed when several run the function.
    #[arg(long, requires = "config")]
    pipeline: Option<String>,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let (function, mut sitting) = match &args.config {
        Some(path) => tokio::task::block_in_place(|| of_config(&args, path, env))?,
        None => (function(&args)?, Plain.sitting()),
    };
    let slice = function.spec().limits.slice;
    let (mut lines, mut first) = (std::io::stdin().lock().lines(), 0);
    loop {
        let mut inputs: Vec<Value> = Vec::new();
        for line in lines.by_ref().take(slice) {
            let line = line.context("standard input cannot be read")?;
            inputs.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
        if inputs.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        for output in offline::call(&*function, &mut *sitting, first, &inputs).await? {
            writeln!(out, "{output}").context("standard output is closed")?;
        }
        first += inputs.len();
    }
}

fn of_config(args: &Args, path: &Path, env: &BTreeMap<String, String>) -> anyhow::Result<(Arc<dyn Function>, Box<dyn Sitting>)> {
    let mut config = Config::load(path, env)?;
    config.pipeline.retain(|pipeline| pipeline.function == args.function);
    if config.pipeline.is_empty() {
        return Err(Usage(format!("no pipeline of {} runs `{}`", path.display(), args.function)).into());
    }
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let function = build::function(&config, pipeline, &Registry::new(Options::default()))
        .with_context(|| format!("pipeline `{}`", pipeline.name))?;
    Ok((function, folds::offline(&config, pipeline).sitting()))
}

fn function(args: &Args) -> anyhow::Result<Arc<dyn Function>> {
    let options = serde_json::from_str(&args.options).map_err(|error| Usage(format!("--options: {error}")))?;
    Ok(match args.function.as_str() {
        "sentiment" => Arc::new(Sentiment::new(encoder(&args.model)?)?.with(&options).map_err(Usage)?),
        "embed" => Arc::new(Embed::new(encoder(&args.model)?).with(&options).map_err(Usage)?),
        "copy" => Arc::new(Copy::new(&options).map_err(Usage)?),
        "risk" => return Err(Usage("`risk` needs the features of a pipeline; name its file with --config".into()).into()),
        other => return Err(Usage(format!("there is no function `{other}`; known: sentiment, embed, copy, risk")).into()),
    })
}

fn encoder(folder: &Path) -> anyhow::Result<Arc<Encoder>> {
    let name = folder.file_name().map_or("model".into(), |name| name.to_string_lossy());
    Ok(Arc::new(Encoder::open(&name, folder, None, &Options::default())?))
}
