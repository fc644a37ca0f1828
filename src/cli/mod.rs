//! One file a command.

mod adopt;
mod bench;
mod call;
mod cases;
pub mod check;
mod common;
mod config;
mod dead_letters;
mod decoding;
mod demo;
mod erase;
mod eval;
mod explain;
mod kafka;
mod log;
mod migrate;
mod models;
mod opened;
mod parity;
mod pause;
mod point;
mod program;
mod replay;
mod retention;
mod rig;
mod run;
mod seal;
mod shadow;
mod swap;
mod train;
mod verify;

pub use program::program;

use crate::config::ConfigError;
use crate::lifecycle::Exit;
use crate::telemetry::TelemetryError;
use crate::worker::Own;
use clap::{Parser, Subcommand};
use std::collections::BTreeMap;

/// Scores events from Kafka with in-process models, and writes each prediction exactly once to Postgres and Kafka.
#[derive(Debug, Parser)]
#[command(name = "millrace", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipelines of a config.
    Run(run::Args),
    /// Show the whole path in one process, in under two minutes.
    Demo(demo::Args),
    /// Check a config; with --connect also what it names.
    Check(check::Args),
    /// Every key of the config file.
    Config(config::Args),
    /// Call a function on standard input.
    Call(call::Args),
    /// Put events through a pipeline without its services, and compare what comes with what was expected.
    Test(cases::Args),
    /// Bring the schema in Postgres up to this program.
    Migrate(migrate::Args),
    /// Compare Postgres with the topics, and change nothing.
    Verify(verify::Args),
    /// Start a new run, or set how far a run is published: the way out of a halt.
    Adopt(adopt::Args),
    /// Look at dead letters, send them through again, or put them aside.
    DeadLetters(dead_letters::Args),
    /// Seal decided rows in a chain, or check that nobody has changed what was sealed.
    Seal(seal::Args),
    /// Erase what is kept of one key.
    Erase(erase::Args),
    /// Remove old rows that are published, and keep the counts.
    Retention(retention::Args),
    /// Pause a pipeline, a topic or a partition, on all workers, with a reason.
    Pause(pause::Args),
    /// Lift a pause.
    Resume(pause::ResumeArgs),
    /// How a pipeline's shadow compares with it.
    Shadow(shadow::Args),
    /// Go over to another version of a pipeline's model or options, on all workers, or back.
    Swap(swap::Args),
    /// How good a function is, on a file, through the code that runs on the stream.
    Eval(eval::Args),
    /// Fold the log again, and show the features behind a past score.
    Explain(explain::Args),
    /// Run a pipeline over a part of the past again, beside the live one, and compare.
    Replay(replay::Args),
    /// Replay a file through the risk fold, and compare its features with a reference.
    Parity(parity::Args),
    /// List models, look at one, fetch or import one.
    Models(models::Args),
    /// Measure what a model costs on this machine.
    Bench(bench::Args),
    /// Make a classifier of texts out of an encoder and labelled texts, or a language model out of texts.
    Train(Box<train::causal::Command>),
}

/// Runs a command. The environment is read here, once, and handed down.
pub async fn run(cli: Cli) -> Exit {
    run_with(cli, Own::new()).await
}

/// The same in a program that brings functions along.
pub async fn run_with(cli: Cli, own: Own) -> Exit {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let result = match cli.command {
        Command::Run(args) => run::run(args, &env, own).await,
        Command::Demo(args) => demo::run(args, &env).await,
        Command::Check(args) => check::run(args, &env, &own).await,
        Command::Config(args) => config::run(&args),
        Command::Call(args) => call::run(args, &env, &own).await.map(|()| Exit::Done),
        Command::Train(args) => tokio::task::block_in_place(|| train::causal::dispatch(*args)).map(|()| Exit::Done),
        Command::Eval(args) => tokio::task::block_in_place(|| eval::run(args, &env)),
        Command::Parity(args) => tokio::task::block_in_place(|| parity::run(&args, &env)),
        Command::Explain(args) => explain::run(args, &env).await,
        Command::Test(args) => cases::run(args, &env, &own).await,
        Command::Replay(args) => replay::run(args, &env, &own).await,
        Command::Adopt(args) => adopt::run(args, &env).await,
        Command::DeadLetters(args) => dead_letters::run(args, &env).await,
        Command::Seal(args) => seal::run(args, &env).await,
        Command::Erase(args) => erase::run(args, &env).await,
        Command::Retention(args) => retention::run(args, &env).await,
        Command::Pause(args) => pause::run(args, &env).await,
        Command::Resume(args) => pause::resume(args, &env).await,
        Command::Shadow(args) => shadow::run(args, &env).await,
        Command::Swap(args) => swap::run(args, &env).await,
        Command::Bench(args) => tokio::task::block_in_place(|| bench::run(args)),
        Command::Models(args) => models::run(args, &env),
        Command::Verify(args) => verify::run(args, &env).await,
        Command::Migrate(args) => migrate::run(args, &env).await.map(|()| Exit::Done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("millrace: {error:#}");
        if is_usage(&error) { Exit::Usage } else { Exit::Failed }
    })
}

/// Whether the one who called must change something first: words or config.
fn is_usage(error: &anyhow::Error) -> bool {
    let of_telemetry = error.downcast_ref::<TelemetryError>();
    error.is::<ConfigError>()
        || error.is::<common::Usage>()
        || matches!(of_telemetry, Some(TelemetryError::Level { .. } | TelemetryError::Endpoint { .. }))
}
