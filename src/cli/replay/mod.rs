//! `millrace replay`: a pipeline over a part of the past, beside the live one, and what it says otherwise.

mod diff;
mod estimate;
mod kept;
mod lag;
mod plan;
mod report;
mod show;
mod sketch;
mod versions;

use super::common::{self, Usage};
use super::point::Point;
use super::rig::Rig;
use crate::config::{Config, Pipeline};
use crate::inference::{Options, Registry};
use crate::lifecycle::{Exit, Stop};
use crate::store::postgres::{PostgresSettings, PostgresStore};
use crate::telemetry::Telemetry;
use crate::worker::{Own, folds, replay as work};
use anyhow::{Context, bail};
use kept::Kept;
use lag::YieldLag;
use plan::{Asked, Plan, Told};
use report::Report;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use versions::Names;

/// Connections: a round, a claim or a look at the live pipeline.
const CONNECTIONS: u32 = 3;
/// Of the report, which counts and reads all rows.
const REPORT_TIMEOUT_MS: u64 = 3_600_000;
/// So that there is always a next one.
const HIGHEST_ID: i32 = 1_000_000;
/// One event in a thousand seconds.
const LOWEST_RATE: f64 = 0.001;

/// Runs a pipeline's function over a part of the past again, and tells what it says otherwise than the live run did. Shows what it would do;
/// --yes does it.
///
/// The config given may have another model or other options, or --version names one of the versions in it. Rows go to millrace.record under the pipeline NAME.replay-NUMBER; the live
/// pipeline, its group and its topics stay as they are. It goes below live traffic, with one call at a time, and waits while the live pipeline
/// is behind.
///
/// A function with a memory folds the log from its beginning on, into states of its own, and scores from --from on.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  millrace replay --config new.toml --pipeline sentiment --from 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z         # shows it\n  millrace replay --config millrace.toml --pipeline sentiment --version v2 --from 2026-01-31T12:00:00Z --yes               # before a swap to v2\n  millrace replay --config new.toml --pipeline sentiment --from earliest --rate 500 --report diff.json --yes\n  millrace replay --config new.toml --pipeline sentiment --id 3 --yes                                                      # goes on\n  millrace replay list --config new.toml --pipeline sentiment\n  millrace replay remove 3 --config new.toml --pipeline sentiment --yes\n\nExit codes: 0 done, or shown; 1 failed; 2 wrong usage or config; 3 halted for safety; 4 stopped before its end."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<kept::Command>,
    #[command(flatten)]
    which: Which,
    /// Where it begins: `earliest`, an offset of one partition, or a time such as 2026-01-31T12:00:00Z, by the log's timestamps.
    #[arg(long)]
    from: Option<Point>,
    /// Where it ends, likewise; what stands there is not read any more. Default: the log's end as it is now.
    #[arg(long)]
    until: Option<Point>,
    /// Where a function with a memory begins to fold. Default: the log's beginning.
    #[arg(long)]
    fold_from: Option<Point>,
    /// The version that scores, as [pipeline.version.NAME] has it: what a swap to it would change. Default: the pipeline's own settings.
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// This partition alone.
    #[arg(long)]
    partition: Option<i32>,
    /// Also write predictions to this topic, which is there and belongs to no pipeline of the config.
    #[arg(long, value_name = "TOPIC")]
    publish_to: Option<String>,
    /// The number of the replay: one that was cut off goes on, one that is done is compared again, a new one gets it.
    #[arg(long, value_name = "NUMBER")]
    id: Option<i32>,
    /// Events a second at most, those that are only folded among them. Default: as fast as one call at a time is.
    #[arg(long, value_name = "EVENTS")]
    rate: Option<f64>,
    /// Wait while the live pipeline is further behind than so many events, or `off`.
    #[arg(long, value_name = "EVENTS", default_value = "10000")]
    yield_lag: YieldLag,
    /// Events a call at most. Default: the function's.
    #[arg(long, value_name = "EVENTS")]
    slice: Option<usize>,
    /// The live run to compare with. Default: the newest.
    #[arg(long, value_name = "NUMBER")]
    run: Option<i32>,
    /// Write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The config file: what is replayed with.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// The pipeline under which a replay's rows stand.
fn name_of(pipeline: &str, number: i32) -> String {
    format!("{pipeline}.replay-{number}")
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<Exit> {
    if let Some(command) = args.command {
        return kept::run(command, env).await;
    }
    let config = Config::load(&args.which.config, env)?;
    let pipeline = common::pipeline(&config, args.which.pipeline.as_deref())?;
    check(&args, &config)?;
    versions::named(args.version.as_deref(), pipeline)?;
    // What is only shown needs no log.
    let telemetry = if args.yes { Some(Telemetry::start(&config.telemetry, env)?) } else { None };
    let exit = replay(&args, &config, pipeline, own).await;
    if let Some(telemetry) = telemetry {
        telemetry.flush().await;
    }
    exit
}

/// What can be told without asking anybody.
fn check(args: &Args, config: &Config) -> Result<(), Usage> {
    let wrong = |text: String| Err(Usage(text));
    if args.rate.is_some_and(|rate| !rate.is_finite() || rate < LOWEST_RATE) {
        return wrong(format!("--rate: write a number above 0, {LOWEST_RATE} at least"));
    }
    if args.slice == Some(0) {
        return wrong("--slice: write a number above 0".into());
    }
    if args.id.is_some_and(|id| !(1..=HIGHEST_ID).contains(&id)) {
        return wrong(format!("--id: write a number from 1 to {HIGHEST_ID}"));
    }
    let Some(side) = &args.publish_to else { return Ok(()) };
    for pipeline in &config.pipeline {
        let (output, dead) = (pipeline.output_topic(), pipeline.dead_letter_topic());
        let of = |what: &str| {
            wrong(format!("--publish-to {side} is the {what} of pipeline `{}`: name a topic of its own", pipeline.name))
        };
        if pipeline.topic.contains(side) {
            return of("input");
        }
        if output == *side {
            return of("output topic");
        }
        if dead == *side {
            return of("dead-letter topic");
        }
    }
    Ok(())
}

async fn replay(args: &Args, config: &Config, of: &Pipeline, own: &Own) -> anyhow::Result<Exit> {
    let settings = PostgresSettings {
        max_connections: CONNECTIONS,
        statement_timeout_ms: work::statement_timeout_ms(config),
        acquire_timeout_ms: config.postgres.acquire_timeout_ms.max(15_000),
    };
    let store = PostgresStore::connect(common::database_url(config)?.expose_secret(), &settings).await?;
    let known = match args.id {
        Some(id) => Kept::find(&store, of, id).await?,
        None => None,
    };
    let (version, pipeline) = versions::chosen(args, of, known.as_ref())?;
    let (pipeline, names) = (&pipeline, Names::new(config, of, version.as_deref()));
    if known.is_none() && args.from.is_none() {
        let what = args.id.map_or_else(String::new, |id| format!(" There is no replay {id} of `{}`.", pipeline.name));
        return Err(Usage(format!("where does it begin? Write --from earliest, an offset or a time.{what}")).into());
    }
    let kafka = common::kafka(config, pipeline)?;
    if let Some(topic) = &args.publish_to {
        kafka.partitions(std::slice::from_ref(topic))?;
    }
    let registry = Registry::new(Options::default());
    let rig = tokio::task::block_in_place(|| Rig::load(config, pipeline, &registry, own))?;
    let spec = rig.function.spec();
    let told = Told {
        function: spec.name.to_owned(),
        model: spec.model.clone(),
        config: config.digest_of(pipeline),
        fold: folds::past(config, pipeline).map(|past| past.digest),
        version,
    };
    let plan = match &known {
        Some(kept) => {
            kept.agrees(&told, args)?;
            kept.plan.clone()
        }
        None => make(args, told, pipeline, &store, &kafka).await?,
    };
    if !args.yes {
        let is_done = known.as_ref().is_some_and(|kept| kept.done);
        let speed = if is_done { None } else { estimate::speed(&rig, &plan, &kafka).await? };
        return show::plan(args, pipeline, &plan, known.as_ref(), speed);
    }
    let number = match &known {
        Some(kept) => kept.number,
        None => keep(args, pipeline, &plan, &store).await?,
    };
    let name = name_of(&pipeline.name, number);
    let Some(_lock) = store.lock_replay(&name).await? else {
        bail!("another process is at replay {number} of `{}`; wait for it, or stop it", pipeline.name);
    };
    if known.is_some_and(|kept| kept.done) {
        eprintln!("Replay {number} of {} is done: it is compared again.", pipeline.name);
        return report(args, config, &pipeline.name, &name, &plan, names).await;
    }
    eprintln!("Replay {number} of {}, under the name {name}. If it is cut off, --id {number} goes on.", pipeline.name);
    let replay = work::Replay {
        config,
        pipeline,
        name: &name,
        publish_to: plan.asked.publish_to.as_deref(),
        until: plan.until(),
        rate: args.rate,
        yield_lag: args.yield_lag.0,
        slice: args.slice,
    };
    let replayed = replay.run(rig.function.clone(), Arc::new(store.clone()), Stop::on_signals()?, show::bar(&plan)).await?;
    if !replayed.complete {
        return show::ended(replayed.ended, number);
    }
    store.replay_done(&pipeline.name, number).await?;
    report(args, config, &pipeline.name, &name, &plan, names).await
}

async fn report(args: &Args, config: &Config, pipeline: &str, name: &str, plan: &Plan, names: Names) -> anyhow::Result<Exit> {
    let store = common::store(config, REPORT_TIMEOUT_MS).await?;
    let report = Report::make(&store, pipeline, name, plan, args.run, names).await?;
    show::tell(args, &report, plan)?;
    Ok(Exit::Done)
}

async fn make(
    args: &Args,
    told: Told,
    pipeline: &Pipeline,
    store: &PostgresStore,
    kafka: &super::kafka::Kafka,
) -> anyhow::Result<Plan> {
    let asked = Asked {
        from: args.from.context("--from is needed")?,
        until: args.until,
        fold_from: args.fold_from,
        partition: args.partition,
        publish_to: args.publish_to.clone(),
    };
    if asked.fold_from.is_some() && told.fold.is_none() {
        return Err(Usage(format!("`{}` remembers nothing, so --fold-from says nothing", pipeline.function)).into());
    }
    let mut plan = Plan::make(asked, told, pipeline, kafka)?;
    if plan.told.fold.is_some() {
        let mut notes = Vec::new();
        for stretch in plan.work() {
            let runs = store.runs(&pipeline.name, &stretch.of()).await?;
            let began = runs.first().and_then(|live| live.fold_start);
            if let Some(began) = began.filter(|began| *began != stretch.fold_from) {
                notes.push(format!(
                    "{}: the live run began to fold at offset {began}, this begins at {}: what lies between them makes a difference",
                    stretch.of(),
                    stretch.fold_from
                ));
            }
        }
        notes.into_iter().for_each(|note| plan.note(note));
    }
    Ok(plan)
}

/// Writes it down.
async fn keep(args: &Args, pipeline: &Pipeline, plan: &Plan, store: &PostgresStore) -> anyhow::Result<i32> {
    let name = |number: i32| name_of(&pipeline.name, number);
    let mode = if plan.asked.publish_to.is_some() { crate::record::Mode::Both } else { crate::record::Mode::Postgres };
    let text = serde_json::to_string(plan)?;
    Ok(store.new_replay(&pipeline.name, args.id, name, mode, &text, &plan.begins()).await?)
}
