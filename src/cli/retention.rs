//! `millrace retention`: old rows go, the counts stay.

use super::common;
use crate::config::{Config, Span};
use crate::lifecycle::Exit;
use crate::store::postgres::{Retain, Retained};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Counting what is old may read a large part of the table.
const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// Removes rows of `millrace.record` that were decided long ago and are published. Shows what would go; --yes does it.
///
/// Rows go from the lowest offset of each partition on, and never one that may still have to be published. Dead letters stay until somebody has
/// redriven or discarded them, and where a partition is sealed (`millrace seal`) whole seals go alone. The table `latest`, states and the records in Kafka stay. `verify` still adds up. It may run beside workers, takes
/// the role millrace_owner, and goes on where it was cut off: run it every day.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace retention --config deploy/millrace.toml --pipeline sentiment --older-than 90d\n  millrace retention --config deploy/millrace.toml --pipeline sentiment --older-than 90d --yes\n\nExit codes: 0 done, or shown; 1 failed, or a partition was left to another command; 2 wrong usage or config."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// Age since the decision: a number with s, m, h or d.
    #[arg(long, value_name = "AGE")]
    older_than: Span,
    /// Also dead letters that nobody has dealt with.
    #[arg(long)]
    open_dead_letters: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let before = Timestamp::now() - SignedDuration::from_millis(args.older_than.ms());
    let retain =
        Retain { pipeline: pipeline.name.clone(), before: before.to_string(), open_dead_letters: args.open_dead_letters };
    let all = if args.yes { store.retain(&retain).await? } else { store.would_retain(&retain).await? };
    if args.json {
        let partitions: Vec<_> = all.iter().map(told).collect();
        common::print_json(
            &json!({ "pipeline": pipeline.name, "before": retain.before, "done": args.yes, "partitions": partitions }),
        )?;
    } else {
        print!("{}", text(&retain, &all, args.yes));
    }
    // Whoever runs it by a clock must notice what was left out.
    Ok(if all.iter().any(|one| one.busy) { Exit::Failed } else { Exit::Done })
}

fn told(one: &Retained) -> serde_json::Value {
    json!({
        "run": one.run, "topic": &*one.partition.topic, "partition": one.partition.partition, "below": one.below, "rows": one.rows,
        "dead_letters": one.dead, "open_dead_letters_kept": one.kept, "busy": one.busy,
    })
}

fn text(retain: &Retain, all: &[Retained], done: bool) -> String {
    let (rows, kept): (i64, i64) = (all.iter().map(|one| one.rows).sum(), all.iter().map(|one| one.kept).sum());
    let went = if done { "removed" } else { "would be removed" };
    let mut out = format!("pipeline {}: {rows} rows decided before {} {went}\n", retain.pipeline, retain.before);
    for one in all.iter().filter(|one| one.rows > 0 || one.busy) {
        let below = one.below.map_or_else(String::new, |below| format!(", below offset {below}"));
        let busy = if one.busy { "; another command is at it, run this one again" } else { "" };
        out +=
            &format!("  run {} {}: {} rows, {} of them dead letters{below}{busy}\n", one.run, one.partition, one.rows, one.dead);
    }
    if kept > 0 {
        out += &format!("  {kept} dead letters stay, since nobody has redriven or discarded them (--open-dead-letters)\n");
    }
    if !done && rows > 0 {
        out += "  nothing was changed; --yes does it\n";
    }
    out
}
