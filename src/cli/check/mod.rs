//! `millrace check`: what is wrong with a config, without connecting anywhere.

use crate::config::Config;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Checks a config file: unknown keys, unsafe settings, names that lead nowhere. Example: `millrace check --config deploy/millrace.toml`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    pub config: PathBuf,
}

/// Prints the findings; an error when there are some.
pub fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let config = Config::load(&args.config, env)?;
    println!("{}: good, {} pipelines", args.config.display(), config.pipeline.len());
    for pipeline in &config.pipeline {
        println!("  {} ({}): {} -> {}", pipeline.name, pipeline.digest(), pipeline.topic.join(", "), pipeline.output_topic());
    }
    Ok(())
}
