//! `millrace run`: the worker.

use super::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::{Exit, Stop};
use crate::telemetry::Telemetry;
use crate::worker::{self, Own};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs the pipelines of a config until a signal comes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace run --config deploy/millrace.toml\n\nExit codes: 0 drained, 1 failed, 2 wrong usage or config, 3 halted for safety, 4 stopped before it was drained."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: Own) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    common::database_url(&config)?;
    if config.pipeline.is_empty() {
        let path = args.config.display();
        let what = format!("{path} has no [[pipeline]], so there is nothing to run: add one, as deploy/millrace.toml shows");
        return Err(Usage(what).into());
    }
    let telemetry = Telemetry::start(&config.telemetry, env)?;
    let exit = worker::run(config, telemetry.instruments(), Stop::on_signals()?, BTreeMap::new(), own).await;
    telemetry.flush().await;
    exit
}
