//! `deploy/local/with.sh cargo bench --locked --bench recommended -- [SCENARIO..] [OPTIONS]`: the films and ratings of MovieTweetings
//! through Kafka, the shipped chain of two pipelines (`merge`, `recommend`) and Postgres.
//!
//! Films and ratings stand in two topics of 8 partitions before a worker starts; every tenth rating is preceded by a request. What
//! `merge` has written is then read back, folded in one pass in this process, and compared: every record byte for byte, every state,
//! the newest record of every user. Scenarios: `plain`, `kills` (kill -9 of one of two workers every few seconds), `rebalance` (1, 3, 1
//! workers), `memory` (about 1 % of the states). The data stand in `MILLRACE_RECSYS_DIR`, by default ../shared/data/recsys.

#[path = "../handbook/backlog.rs"]
mod backlog;
mod data;
#[path = "../../tests/it/support/one_pass/mod.rs"]
mod one_pass;
mod scenario;
#[path = "../copy_pipeline/stage.rs"]
#[expect(dead_code, reason = "the other bench uses the rest")]
mod stage;
#[path = "../handbook/trouble.rs"]
mod trouble;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// What went wrong: a bench only prints it.
type Anyhow<T> = anyhow::Result<T>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    Plain,
    Kills,
    Rebalance,
    Memory,
}

/// MovieTweetings from Kafka to lists.
#[derive(Debug, Parser)]
pub struct Options {
    #[arg(value_enum, default_values = ["plain"])]
    scenario: Vec<Scenario>,
    /// Seconds between kills
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Partitions of the topic that `recommend` reads; with more than one each has the signals of its own users
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// memory: for states, bytes
    #[arg(long, default_value_t = 400_000)]
    state_bytes: i64,
    /// Events after which a changed key is written, and so what is folded again after a kill; default: the pipeline's, and 500 with memory
    #[arg(long)]
    flush_after: Option<i64>,
    /// The first so many ratings; default: all
    #[arg(long)]
    ratings: Option<usize>,
    /// The folder with movietweetings-100k/
    #[arg(long, env = "MILLRACE_RECSYS_DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/recsys"))]
    data: PathBuf,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Anyhow<()> {
    let options = Options::parse();
    let data = data::Data::read(&options.data, options.ratings)?;
    println!("{} films, {} ratings", data.films.len(), data.ratings.len());
    let mut wrong = false;
    for scenario in &options.scenario {
        wrong |= !scenario::run(&options, *scenario, &data).await?;
    }
    anyhow::ensure!(!wrong, "something differs");
    Ok(())
}
