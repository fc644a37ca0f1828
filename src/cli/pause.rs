//! `millrace pause` and `millrace resume`.

use super::common::{self, Usage};
use crate::config::Config;
use crate::lifecycle::Exit;
use crate::store::Pause;
use crate::worker::operators::{Order, in_force, told, unknown};
use std::collections::BTreeMap;
use std::path::PathBuf;

const STATEMENT_TIMEOUT_MS: u64 = 30_000;

/// Pauses a pipeline, a topic of it or a partition, on all its workers, until `millrace resume`. What is in work is finished, decided and
/// published; a restart or a rebalance changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace pause --config deploy/millrace.toml --pipeline sentiment --reason 'the producer sends wrong texts'\n  millrace pause --pipeline sentiment --partition 3 --reason 'a poisoned partition' --by ann\n  millrace pause --list\n\nWorkers follow within some seconds. Who did what when stands in the table millrace.operation.\n\nExit codes: 0 done, 1 failed, 2 wrong usage or config."
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Why; shown wherever the pause is.
    #[arg(long, required_unless_present = "list")]
    reason: Option<String>,
    /// Show what is paused, and change nothing.
    #[arg(long, conflicts_with_all = ["reason", "topic", "partition", "by"])]
    list: bool,
}

/// Lifts a pause. Exactly what was paused is named; another pause of the same pipeline stays, and is told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace resume --config deploy/millrace.toml --pipeline sentiment\n  millrace resume --pipeline sentiment --partition 3 --by ann\n  millrace resume --pipeline sentiment --all\n\nExit codes: 0 done, 1 failed or not paused, 2 wrong usage or config."
)]
pub struct ResumeArgs {
    #[command(flatten)]
    which: Which,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
    /// Every pause of the pipeline.
    #[arg(long, conflicts_with_all = ["topic", "partition"])]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// One topic alone.
    #[arg(long)]
    topic: Option<String>,
    /// One partition alone.
    #[arg(long)]
    partition: Option<i32>,
    /// Who says so. Default: the user of the system, else the login of the database.
    #[arg(long)]
    by: Option<String>,
    /// JSON instead of text; one document a line.
    #[arg(long)]
    json: bool,
}

impl Which {
    fn order<'a>(&'a self, reason: Option<&'a str>, env: &'a BTreeMap<String, String>) -> Order<'a> {
        let user = || env.get("USER").or_else(|| env.get("LOGNAME")).map_or("", String::as_str);
        Order { topic: self.topic.as_deref(), partition: self.partition, reason, by: self.by.as_deref().unwrap_or_else(user) }
    }
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.which.config, env)?;
    if args.list {
        let pipeline = args.which.pipeline.as_deref().map(|name| common::pipeline(&config, Some(name))).transpose()?;
        let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
        return list(&store.all_pauses(pipeline.map(|pipeline| pipeline.name.as_str())).await?, args.which.json);
    }
    let pipeline = common::pipeline(&config, args.which.pipeline.as_deref())?;
    let order = args.which.order(args.reason.as_deref(), env);
    let scope = order.scope(&pipeline.name, &pipeline.topic).map_err(Usage)?;
    let operator = order.operator("cli", true).map_err(Usage)?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    if let (Some(topic), Some(partition)) = (scope.topic, scope.partition)
        && let Some(note) = unknown(&store, &pipeline.name, topic, partition).await?
    {
        eprintln!("note: {note}");
    }
    if pipeline.align.is_some() && scope.topic.is_some() {
        eprintln!(
            "note: the pipeline {} is aligned by event time: its other partitions wait for what is paused as soon as they are too far ahead of it",
            pipeline.name
        );
    }
    let fresh = store.set_pause(scope, operator).await?;
    let pauses = store.all_pauses(Some(&pipeline.name)).await?;
    let of_scope = |pause: &Pause| pause.topic.as_deref() == scope.topic && pause.partition == scope.partition;
    let Some((name, pause)) = pauses.iter().find(|(_, pause)| of_scope(pause)) else {
        anyhow::bail!("somebody has resumed it at this moment");
    };
    if args.which.json {
        common::print_json(&told(name, pause))?;
    } else {
        let was = if fresh { "Paused" } else { "It was paused already, now with this reason" };
        println!("{was}: {name}, {}, by {} since {}: {}", pause.what(), pause.by, pause.since, pause.reason);
    }
    Ok(Exit::Done)
}

pub async fn resume(args: ResumeArgs, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.which.config, env)?;
    let pipeline = common::pipeline(&config, args.which.pipeline.as_deref())?;
    let order = args.which.order(args.reason.as_deref(), env);
    let scope = order.scope(&pipeline.name, &pipeline.topic).map_err(Usage)?;
    let operator = order.operator("cli", false).map_err(Usage)?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let lifted = store.lift_pause(scope, args.all, operator).await?;
    let pauses = store.all_pauses(Some(&pipeline.name)).await?;
    if args.which.json {
        let left: Vec<_> = pauses.iter().map(|(name, pause)| told(name, pause)).collect();
        common::print_json(&serde_json::json!({ "pipeline": pipeline.name, "lifted": lifted, "pauses": left }))?;
    } else {
        match lifted {
            0 => println!("Exactly this was not paused, and nothing was changed."),
            1 => println!("Resumed: {}", pipeline.name),
            many => println!("Resumed: {}, {many} pauses", pipeline.name),
        }
        if let Some(others) = in_force(&pauses) {
            println!("Still paused of {}: {}", pipeline.name, common::escaped(&others));
        }
    }
    Ok(if lifted == 0 { Exit::Failed } else { Exit::Done })
}

fn list(pauses: &[(String, Pause)], json: bool) -> anyhow::Result<Exit> {
    for (pipeline, pause) in pauses {
        if json {
            common::print_json(&told(pipeline, pause))?;
        } else {
            let (by, reason) = (common::escaped(&pause.by), common::escaped(&pause.reason));
            println!("{pipeline}  {}  by {by} since {}: {reason}", pause.what(), pause.since);
        }
    }
    if pauses.is_empty() && !json {
        println!("Nothing is paused.");
    }
    Ok(Exit::Done)
}
