//! `millrace swap`.

use super::common::{self, Usage};
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::store::Swap;
use crate::store::postgres::{PostgresStore, Standing, Step};
use crate::worker::operators::Order;
use crate::worker::swapped::{checked, standing_told, swap_told};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

const STATEMENT_TIMEOUT_MS: u64 = 30_000;
const OFTEN: Duration = Duration::from_millis(250);

/// Has all workers of a pipeline score with another version of its settings, each partition from a recorded offset on.
///
/// The versions stand in the config as [pipeline.version.NAME]; `base` is the pipeline's own settings. With --canary a share of the keys goes to the
/// version, always the same keys. Workers load it beside the one that serves, which goes on until the other is there and has passed its cases.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace swap --config deploy/millrace.toml --pipeline sentiment --to v2 --canary 0.05 --reason 'trained on May'\n  millrace swap --pipeline sentiment --to v2 --wait 60 --reason 'the canary was good'\n  millrace swap --pipeline sentiment --back --reason 'too many refunds flagged'\n  millrace swap --list\n\nWho did what when stands in the table millrace.operation; from which offset on in millrace.version_from.\n\nExit codes: 0 done, 1 failed, or not there within --wait, 2 wrong usage or config."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// The version to go to.
    #[arg(long, required_unless_present_any = ["back", "list"])]
    to: Option<String>,
    /// The share of the keys that goes to it, between 0 and 1; the others stay with the version that is in force.
    #[arg(long, requires = "to")]
    canary: Option<f64>,
    /// Take the last step back: a canary ends, or the version before comes back.
    #[arg(long, conflicts_with_all = ["to", "list"])]
    back: bool,
    /// Show what is wanted and where each partition stands, and change nothing.
    #[arg(long, conflicts_with_all = ["to", "reason", "by", "wait"])]
    list: bool,
    /// Why; shown wherever the swap is.
    #[arg(long, required_unless_present = "list")]
    reason: Option<String>,
    /// Who says so. Default: the user of the system, else the login of the database.
    #[arg(long)]
    by: Option<String>,
    /// Wait for so many seconds until every partition has gone over.
    #[arg(long)]
    wait: Option<u64>,
    /// JSON instead of text; one document a line.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    if args.list {
        let pipeline = args.pipeline.as_deref().map(|name| common::pipeline(&config, Some(name))).transpose()?;
        let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
        return list(&store, &config, pipeline.map(|pipeline| pipeline.name.as_str()), args.json).await;
    }
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let name = pipeline.name.as_str();
    let user = || env.get("USER").or_else(|| env.get("LOGNAME")).map_or("", String::as_str);
    let order =
        Order { topic: None, partition: None, reason: args.reason.as_deref(), by: args.by.as_deref().unwrap_or_else(user) };
    let operator = order.operator("cli", true).map_err(Usage)?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let wish = store.all_swaps(Some(name)).await?.pop().map(|(_, wish)| wish);
    let step = match &args.to {
        Some(to) => {
            checked(&pipeline.versions(), name, to, args.canary, wish.as_ref()).map_err(Usage)?;
            Step::To(to, args.canary)
        }
        None => Step::Back(None),
    };
    let fresh = store.wish_for(name, step, operator).await?;
    let Some((_, wish)) = store.all_swaps(Some(name)).await?.pop() else {
        println!("Nothing was changed: the pipeline {name} has never been swapped.");
        return Ok(if args.back { Exit::Failed } else { Exit::Done });
    };
    if fresh.is_none() && args.back {
        println!("There is nothing to go back from: {}.", said(name, &wish));
        return Ok(Exit::Failed);
    }
    let over = match args.wait {
        Some(seconds) => Some(wait(&store, pipeline, wish.number, Duration::from_secs(seconds)).await?),
        None => None,
    };
    if args.json {
        let mut told = swap_told(name, &wish);
        told["gone_over"] = over.as_ref().map(Vec::is_empty).into();
        common::print_json(&told)?;
    } else {
        let was = if fresh.is_some() { "Wanted now" } else { "It was wanted already" };
        println!("{was}: {}", said(name, &wish));
        match over.as_deref() {
            None => println!("Partitions go over within some seconds, each where it stands; `millrace swap --list` shows it."),
            Some([]) => println!("Every partition has gone over."),
            Some(left) => println!(
                "Not in time: {} stay. Look at /status of their workers, at `waits_for`, or at the log for why.",
                left.join(", ")
            ),
        }
    }
    Ok(if over.is_some_and(|left| !left.is_empty()) { Exit::Failed } else { Exit::Done })
}

fn said(pipeline: &str, wish: &Swap) -> String {
    let (by, reason) = (common::escaped(&wish.by), common::escaped(&wish.reason));
    format!("{pipeline} at {}, by {by} since {}: {reason}", wish.what(), wish.since)
}

/// The names of the partitions that have not gone over when the time is up; none, when all have. A pipeline without partitions has not.
async fn wait(store: &PostgresStore, pipeline: &Pipeline, number: i64, at_most: Duration) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + at_most;
    loop {
        let all = standing(store, &pipeline.name, Some(pipeline)).await?;
        let stays = |one: &&Standing| one.taken.last().is_none_or(|last| last.number < number);
        let mut left: Vec<String> = all.iter().filter(stays).map(|one| format!("{}/{}", one.topic, one.partition)).collect();
        if all.is_empty() {
            left.push("all partitions, of which no worker has claimed one so far,".to_owned());
        }
        if left.is_empty() || Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(OFTEN).await;
    }
}

/// The partitions of a pipeline; those of topics that it reads no more go nowhere, and are left out.
async fn standing(store: &PostgresStore, name: &str, pipeline: Option<&Pipeline>) -> anyhow::Result<Vec<Standing>> {
    let mut all = store.standing(name).await?;
    all.retain(|one| pipeline.is_none_or(|pipeline| pipeline.topic.contains(&one.topic)));
    Ok(all)
}

async fn list(store: &PostgresStore, config: &Config, pipeline: Option<&str>, json: bool) -> anyhow::Result<Exit> {
    let swaps = store.all_swaps(pipeline).await?;
    for (name, wish) in &swaps {
        let standing = standing(store, name, config.pipeline.iter().find(|pipeline| pipeline.name == *name)).await?;
        if json {
            let mut told = swap_told(name, wish);
            told["partitions"] = standing.iter().map(|one| standing_told(one, wish)).collect();
            common::print_json(&told)?;
            continue;
        }
        println!("{}", said(name, wish));
        for one in &standing {
            let at = match one.taken.last() {
                Some(last) if last.number >= wish.number => format!("{} from offset {} on", last.what(), last.from_offset),
                Some(last) => format!("waits; {} from offset {} on", last.what(), last.from_offset),
                None => "waits; base".to_owned(),
            };
            println!("  {}/{}  decided to {}  {at}", one.topic, one.partition, one.next_offset);
        }
    }
    if swaps.is_empty() && !json {
        println!("No pipeline was swapped: each works by its own settings.");
    }
    Ok(Exit::Done)
}
