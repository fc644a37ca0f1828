//! `millrace verify`: compares what is decided with what is published, and changes nothing.

mod counts;
mod deep;
mod missing;
mod report;
mod tally;
mod topics;

use super::common::{self, Usage};
use super::kafka::Kafka;
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::store::postgres::PostgresStore;
use anyhow::Context;
use report::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A row count may take long on a large table.
const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// Compares Postgres with the topics, and changes nothing: the counts of each partition, and each row with its record.
///
/// May run beside workers. It reads the output and dead-letter topics from the beginning to the end.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace verify --config deploy/millrace.toml\n  millrace verify --config deploy/millrace.toml --pipeline sentiment --deep --json\n\nOf each partition: P, the next offset to decide; Q, below which Postgres has noted that all is published; K, the group's offset; published, the highest input offset of which a topic has a record.\n\nExit codes: 0 clean, 1 could not compare, 2 wrong usage or config, 3 not clean."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// This pipeline alone. Default: all of the config.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// Also read the input topics, and count their events.
    #[arg(long)]
    deep: bool,
    /// One JSON document a pipeline, instead of text.
    #[arg(long)]
    json: bool,
}

/// One pipeline under review.
struct Review<'a> {
    pipeline: &'a Pipeline,
    store: &'a PostgresStore,
    kafka: &'a Kafka,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipelines: Vec<&Pipeline> = match &args.pipeline {
        Some(name) => vec![common::pipeline(&config, Some(name))?],
        None => config.pipeline.iter().collect(),
    };
    if pipelines.is_empty() {
        return Err(Usage(format!("{} has no pipeline", args.config.display())).into());
    }
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let mut exit = Exit::Done;
    for pipeline in pipelines {
        let kafka = common::kafka(&config, pipeline)?;
        let review = Review { pipeline, store: &store, kafka: &kafka };
        let report = review.run(args.deep).await.with_context(|| format!("pipeline `{}`", pipeline.name))?;
        if args.json {
            common::print_json(&report)?
        } else {
            print!("{report}")
        }
        if !report.clean() {
            exit = Exit::Halted;
        }
    }
    Ok(exit)
}

impl Review<'_> {
    async fn run(&self, deep: bool) -> anyhow::Result<Report> {
        let mut report = Report::new(&self.pipeline.name);
        let partitions = counts::compare(self, &mut report).await?;
        if deep {
            deep::compare(self, &partitions, &mut report).await?;
        }
        topics::compare(self, &partitions, &mut report).await?;
        Ok(report)
    }
}
