//! `millrace run`: the worker.

use super::cases;
use super::check;
use super::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::{Exit, Stop, Supervisor};
use crate::telemetry::Telemetry;
use crate::worker::{self, Own, Parties, Trial};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Runs the pipelines of a config until a signal comes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace run --config deploy/millrace.toml\n  millrace run --config deploy/millrace.toml --dry-run\n\nExit codes: 0 drained, 1 failed, 2 wrong usage or config, 3 halted for safety, 4 stopped before it was drained. With --dry-run: 0 it would run, 1 brokers or database do not answer, 2 something is wrong."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// Opens every connection, loads every model, checks topics, grants and schema, scores the last events of each partition, and tells
    /// where each would go on. Joins no group, writes and commits nothing.
    #[arg(long)]
    dry_run: bool,
    /// One JSON document instead of text.
    #[arg(long, requires = "dry_run")]
    json: bool,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: Own) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    common::database_url(&config)?;
    if config.pipeline.is_empty() {
        let path = args.config.display();
        let what = format!("{path} has no [[pipeline]], so there is nothing to run: add one, as deploy/millrace.toml shows");
        return Err(Usage(what).into());
    }
    if args.dry_run {
        return check::dry_run(args.config, args.json, env, &own).await;
    }
    let telemetry = Telemetry::start(&config.telemetry, env)?;
    let supervisor = Supervisor::of(env, std::process::id()).unwrap_or_else(|error| {
        tracing::warn!(%error, "The service manager cannot be told how this worker is.");
        Supervisor::default()
    });
    let trial: Trial = Arc::new(|config, pipeline, function, path| {
        Box::pin(async move { cases::passed(&config, &pipeline, function, &path).await.map_err(|error| format!("{error:#}")) })
    });
    let parties = Parties { own, supervisor, trial: Some(trial) };
    let exit = worker::run(config, telemetry.instruments(), Stop::on_signals()?, BTreeMap::new(), parties).await;
    telemetry.flush().await;
    exit
}
