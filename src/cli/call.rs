//! `millrace call`: a function without a stream. JSON lines in, JSON lines out.

use super::common::Usage;
use crate::function::copy::Copy;
use crate::function::embed::Embed;
use crate::function::sentiment::Sentiment;
use crate::function::{Function, offline};
use crate::inference::{Encoder, Options};
use anyhow::Context;
use serde_json::Value;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Calls a function on lines of standard input: a JSON string or object a line, or plain text.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  echo 'This is wonderful.' | millrace call sentiment --model models/sentiment-en")]
pub struct Args {
    /// `sentiment`, `embed` or `copy`.
    function: String,
    /// Folder of the model, for functions that need one.
    #[arg(long, default_value = "models/sentiment-en")]
    model: PathBuf,
    /// Options of the function, as JSON, for example '{"fields": ["amount"]}'.
    #[arg(long, default_value = "{}")]
    options: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let function = function(&args)?;
    let slice = function.spec().limits.slice;
    let mut lines = std::io::stdin().lock().lines();
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
        for output in offline::call(&*function, &inputs).await? {
            writeln!(out, "{output}").context("standard output is closed")?;
        }
    }
}

fn function(args: &Args) -> anyhow::Result<Arc<dyn Function>> {
    let options = serde_json::from_str(&args.options).map_err(|error| Usage(format!("--options: {error}")))?;
    Ok(match args.function.as_str() {
        "sentiment" => Arc::new(Sentiment::new(encoder(&args.model)?)?.with(&options).map_err(Usage)?),
        "embed" => Arc::new(Embed::new(encoder(&args.model)?).with(&options).map_err(Usage)?),
        "copy" => Arc::new(Copy::new(&options).map_err(Usage)?),
        other => return Err(Usage(format!("there is no function `{other}`; known: sentiment, embed, copy")).into()),
    })
}

fn encoder(folder: &Path) -> anyhow::Result<Arc<Encoder>> {
    let name = folder.file_name().map_or("model".into(), |name| name.to_string_lossy());
    Ok(Arc::new(Encoder::open(&name, folder, None, &Options::default())?))
}
