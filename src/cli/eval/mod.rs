//! `millrace eval`: how good a function is, on a file, through the code that runs on the stream.

mod answer;
mod classify;
mod generate;
mod input;
mod metrics;
mod protocols;
mod recommend;
mod risk;
mod similar;

use crate::lifecycle::Exit;
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Extracted answers, against those that people gave.
    Answer(answer::Args),
    /// A classifier of texts, against labels.
    Classify(classify::Args),
    /// Causal language models, by how well they guess texts.
    Generate(generate::Args),
    /// Embeddings, against people's judgement of pairs.
    Similar(similar::Args),
    /// Recommendation lists, by the protocols of the literature.
    Recommend(recommend::Args),
    /// Risk scores, against labels.
    Risk(risk::Args),
}

pub fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    match args.what {
        What::Answer(args) => answer::run(&args),
        What::Classify(args) => classify::run(&args),
        What::Generate(args) => generate::run(&args),
        What::Similar(args) => similar::run(&args),
        What::Recommend(args) => recommend::run(&args, env),
        What::Risk(args) => risk::run(&args, env),
    }
}
