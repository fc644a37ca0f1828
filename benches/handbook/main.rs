//! `deploy/local/with.sh cargo bench --locked --bench handbook -- [SCENARIO..] [OPTIONS]`: the card transactions of the Fraud Detection
//! Handbook through Kafka, a chain of two pipelines, Postgres, and from there into the book's table.
//!
//! The topic has 8 partitions, keyed by customer; the second stage is keyed by terminal. 45 days stand in the topic before a worker
//! starts. What is compared: every feature with the book's own columns, every probability with the golden one, AUC, average precision and
//! card precision with the published figures. Scenarios: `plain`, `kills` (kill -9 of one of two workers every few seconds), `rebalance`
//! (1, 3, 1 workers), `duplicates` (1 % of the events twice). The data stand in `MILLRACE_RISK_DIR`, by default ../shared/data/risk.

mod answers;
mod backlog;
mod data;
mod metrics;
mod scenario;
#[path = "../copy_pipeline/stage.rs"]
#[expect(dead_code, reason = "the other bench uses the rest")]
mod stage;
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
    Duplicates,
}

/// The Handbook's transactions from Kafka to the book's table.
#[derive(Debug, Parser)]
pub struct Options {
    #[arg(value_enum, default_values = ["plain"])]
    scenario: Vec<Scenario>,
    /// First day of training of the fold: 2018-07-25 or 2018-08-01
    #[arg(long, default_value = "2018-07-25")]
    fold: String,
    /// Which golden models score: xgb, lgb, lr, mlp
    #[arg(long, value_delimiter = ',', default_value = "xgb")]
    models: Vec<String>,
    /// Seconds between kills
    #[arg(long, default_value_t = 4)]
    every: u64,
    /// All 80 days that the book's columns need, in place of the 45 that the test week does
    #[arg(long)]
    whole: bool,
    /// The folder with handbook/
    #[arg(long, env = "MILLRACE_RISK_DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/risk"))]
    data: PathBuf,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// How far the longest window reaches back with its delay, whole days.
const HISTORY_DAYS: i64 = 38;

#[tokio::main]
async fn main() -> Anyhow<()> {
    let options = Options::parse();
    let golden = data::Golden::read(&options)?;
    let (from, to) = match options.whole {
        true => (data::BOOK_DAYS.start - HISTORY_DAYS, data::BOOK_DAYS.end),
        false => (golden.first_day() - HISTORY_DAYS, golden.first_day() + 7),
    };
    let transactions = data::transactions(&options, from, to)?;
    println!("{} transactions of {} days, {} of them in the test set", transactions.len(), to - from, golden.rows.len());
    let mut wrong = false;
    for scenario in &options.scenario {
        wrong |= !scenario::run(&options, *scenario, &transactions, &golden).await?;
    }
    anyhow::ensure!(!wrong, "something differs");
    Ok(())
}
