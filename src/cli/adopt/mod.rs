//! `millrace adopt`: the way out of a halt, by an operator who has looked.

mod auto;
mod fold;
mod plan;
mod published;

use super::common::{self, Usage};
use super::kafka::Kafka;
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::publisher::Committed;
use crate::worker::folds;
use anyhow::{Context, bail};
use fold::FoldFrom;
use plan::{Asked, Plan};
use std::collections::BTreeMap;
use std::path::PathBuf;

const STATEMENT_TIMEOUT_MS: u64 = 600_000;

/// Starts a new run of a pipeline, or, with --published, sets how far the current run is published. Shows what it would do; --yes does it.
///
/// A new run begins at an offset of each partition that you choose; its records have ids of their own. The rows of earlier runs stay.
/// No worker may be in the pipeline's group meanwhile.
///
/// A run has states of its own. Of a function that remembers all partitions are folded again, from the log's start up to where they begin, before
/// anything is scored: what the log does not have any more, no account knows any more. --fold-from says otherwise. With --partition the others go on with
/// the states that they have, where these are of the same settings and of all that was decided.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace adopt --config deploy/millrace.toml --pipeline sentiment                                  # shows a new run\n  millrace adopt --config deploy/millrace.toml --pipeline sentiment --from earliest --partition 3 --yes\n  millrace adopt --config deploy/millrace.toml --pipeline fraud --fold-from 2026-01-01T00:00:00Z                        # states from then on\n  millrace adopt --config deploy/millrace.toml --pipeline sentiment --published auto --yes\n  millrace adopt --config deploy/millrace.toml --pipeline sentiment --published 1200 --partition 3 --yes\n\nExit codes: 0 done, or shown; 1 failed or refused; 2 wrong usage or config."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// Where the new run begins. `committed`: where the group has published up to; a partition whose offset is not in the log any more
    /// begins at the log's start.
    #[arg(long, value_enum, default_value_t = From::Committed, conflicts_with = "published")]
    from: From,
    /// Where a function that remembers begins to fold: `earliest`, an offset of one partition, a time such as 2026-01-31T12:00:00Z by the log's
    /// timestamps, or `start`: states begin empty where the run begins. Default: the log's start.
    #[arg(long, value_name = "earliest|start|OFFSET|TIME", conflicts_with = "published")]
    fold_from: Option<FoldFrom>,
    /// Takes --from and --fold-from for this partition alone; the others begin at `committed`, with the states that they have, or folded from the log's start
    /// where these do not fit. With --published: this partition alone.
    #[arg(long)]
    partition: Option<i32>,
    /// The topic of --partition, for a pipeline with several.
    #[arg(long, requires = "partition")]
    topic: Option<String>,
    /// The number of the new run. Default: the newest in the database and 1.
    #[arg(long, conflicts_with = "published")]
    run: Option<i32>,
    /// No new run: tell the group how far it has published. `auto`: as far as the records in the output and dead-letter topics go.
    /// OFFSET, of one --partition: all below it.
    #[arg(long, value_name = "auto|OFFSET")]
    published: Option<Published>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// Where a new run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum From {
    Earliest,
    Latest,
    Committed,
}

/// How far the current run is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    Auto,
    Offset(i64),
}

impl std::str::FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Offset).map_err(|_| "write `auto` or an offset".to_owned())
    }
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let chosen = chosen(pipeline, &args)?;
    if matches!(args.published, Some(Published::Offset(_))) && chosen.is_none() {
        return Err(Usage("an offset is one partition's: name it with --partition, or write --published auto".into()).into());
    }
    let fold = folds::folding(&config, pipeline).map(|folding| folding.digest);
    if args.fold_from.is_some() && fold.is_none() {
        return Err(Usage(format!("`{}` remembers nothing, so --fold-from says nothing", pipeline.function)).into());
    }
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let kafka = common::kafka(&config, pipeline)?;
    nobody(&kafka, pipeline)?;
    match (args.published, &chosen) {
        (Some(Published::Offset(offset)), Some(partition)) => {
            published::run(pipeline, &store, &kafka, partition, offset, &args).await?;
            return Ok(Exit::Done);
        }
        (Some(Published::Auto), chosen) => {
            auto::run(pipeline, &store, &kafka, chosen.as_ref(), &args).await?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let asked = Asked { from: args.from, fold_from: args.fold_from, chosen, run: args.run, fold };
    let plan = Plan::make(pipeline, &store, &kafka, &asked).await?;
    if args.yes {
        let begins = plan.begins();
        let pending = store.new_run(&pipeline.name, plan.run, pipeline.mode, &begins).await.context("nothing was changed")?;
        if plan.sets_offsets() {
            let offsets: Vec<_> = begins
                .iter()
                .map(|begin| (begin.partition.clone(), Committed { offset: begin.from, records_total: Some(0) }))
                .collect();
            // The brokers refuse it when a worker is there.
            kafka.commit(&offsets)?;
        } else {
            nobody(&kafka, pipeline)?;
        }
        pending.commit().await.context("the group's offsets are set and the run is not there: run the same command again")?;
    }
    show(&plan, &args)?;
    Ok(Exit::Done)
}

/// The partition that was named, which must be one of the pipeline's topics.
fn chosen(pipeline: &Pipeline, args: &Args) -> Result<Option<crate::event::TopicPartition>, Usage> {
    let Some(number) = args.partition else { return Ok(None) };
    let topic = match (&args.topic, &pipeline.topic[..]) {
        (Some(topic), all) if all.contains(topic) => topic,
        (None, [only]) => only,
        _ => return Err(Usage(format!("which topic? Name one with --topic: {}", pipeline.topic.join(", ")))),
    };
    Ok(Some(crate::event::TopicPartition::new(topic.as_str(), number)))
}

fn nobody(kafka: &Kafka, pipeline: &Pipeline) -> anyhow::Result<()> {
    let members = kafka.members()?;
    if !members.is_empty() {
        bail!(
            "the group `{}` has {} members ({}): stop the workers of this pipeline first; one that was killed leaves after its session time-out",
            pipeline.name,
            members.len(),
            members.join(", ")
        );
    }
    Ok(())
}

fn show(plan: &(impl std::fmt::Display + serde::Serialize), args: &Args) -> anyhow::Result<()> {
    if args.json {
        return common::print_json(&serde_json::json!({ "done": args.yes, "plan": plan }));
    }
    print!("{plan}");
    println!("{}", if args.yes { "Done." } else { "Nothing was changed. Add --yes to do it." });
    Ok(())
}
