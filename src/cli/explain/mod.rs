//! `millrace explain`: what a pipeline knew when it scored an event.

mod find;
mod past;
mod report;
mod rung;
mod show;

use super::common::{self, Usage};
use super::decoding::Decoding;
use super::kafka::Kafka;
use crate::config::{BASE, Config, Pipeline};
use crate::event::{Event, TopicPartition};
use crate::function::{Function, Input};
use crate::inference::{Options, Registry};
use crate::lifecycle::Exit;
use crate::store::postgres::{PostgresStore, Run};
use crate::store::{PartitionKey, Store, Taken, taken_at};
use crate::worker::{build, folds};
use anyhow::{Context, anyhow, bail};
pub use find::first_events;
use find::{Asked, Places, What};
use report::{Named, Report, Verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;

const STATEMENT_TIMEOUT_MS: u64 = 60_000;

/// Folds the log again up to an event, scores it, and shows the features beside what the record says.
///
/// It reads Kafka and Postgres and changes nothing. Events that say nothing of the event's keys are read and passed over, where the
/// fold allows it.
///
/// A fold in which events reach keys that they do not name (`recommend`) is kept in memory whole, with all keys of the partition.
///
/// Ends with 1 when the record says something else, or on a failure; with 2 on wrong usage; else with 0, also where the record cannot be held against
/// it: none is there yet, or the log has gaps.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace explain --config millrace.toml --pipeline fraud --event t-4711\n  millrace explain --pipeline fraud --event fraud/1/transactions/3/1042/0 --json\n\nAn event's own id is looked for in the log, from its beginning; a record's id or a place in the log is found at once."
)]
pub struct Args {
    /// The config file, as it was when the event was scored.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// The event's id, its place (topic/partition/offset), or a record's id (pipeline/run/topic/partition/offset/n).
    #[arg(long, short)]
    event: String,
    /// Look for the event's id in this partition alone.
    #[arg(long)]
    partition: Option<i32>,
    /// The run that scored it. Default: the one that a record's id names, else the newest.
    #[arg(long)]
    run: Option<i32>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let Some(past) = folds::past(&config, pipeline) else {
        let what = format!(
            "`{}` runs `{}`, which remembers nothing: a score depends on its event alone. `millrace call` scores it again",
            pipeline.name, pipeline.function
        );
        return Err(Usage(what).into());
    };
    let asked = Asked::of(&args.event, pipeline, args.run)?;
    if args.partition.is_some() && matches!(asked.what, What::At(..)) {
        return Err(Usage(format!("{} names its partition itself; leave --partition out", args.event)).into());
    }
    let decoder = Decoding::of(&config, pipeline)?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let kafka = common::kafka(&config, pipeline)?;

    let raw = match &asked.what {
        What::At(partition, offset) => find::at(&kafka, partition, *offset)?,
        What::Id(id) => {
            let places = Places { store: &store, kafka: &kafka, pipeline, run: asked.run, only: args.partition };
            places.search(id, &decoder).await?
        }
    };
    let partition = TopicPartition::new(raw.position.topic.clone(), raw.position.partition);
    let scored = run_of(&store, pipeline, &partition, asked.run, raw.position.offset).await?;
    check_digest(&scored, &past.digest, &pipeline.name)?;
    let key = PartitionKey { pipeline: pipeline.name.as_str().into(), run: scored.run, partition };
    let records = store.records(&key, raw.position.offset, raw.position.offset + 1, None, i64::from(i16::MAX)).await?;

    let mut report = Report::of(&raw, scored.run);
    let decoded = decoder.decode(raw)?;
    let (name, version) = version_of(&store.all_taken(&key).await?, pipeline, decoded.as_ref().ok(), report.offset)?;
    // A ladder is that of the pipeline's own settings.
    let rung = if name == BASE { rung::of(&records, pipeline)? } else { None };
    let scoring = rung.as_ref().map_or(&version, |rung| &rung.pipeline);
    let function = tokio::task::block_in_place(|| build::function(&config, scoring, &Registry::new(Options::default())))
        .with_context(|| format!("pipeline `{}`", pipeline.name))?;
    report.rung = rung.map(|rung| rung.name);
    match decoded {
        Err((_, rejection)) => report.rejected = Some(rejection),
        Ok(event) => explain(&mut report, event, past, &scored, &kafka, &decoder, &*function).await?,
    }
    report.features = match config.risk_of(pipeline) {
        Some(risk) => {
            let names = risk.feature.iter().map(|feature| feature.name.clone());
            names.zip(report.numbers.iter().copied()).map(|(name, value)| Named { name, value }).collect()
        }
        None => Vec::new(),
    };
    report.compare(&records, &function.spec().model, report.offset < scored.next_offset)?;
    if report.verdict == Verdict::Differs && is_compacted(&kafka, &report.topic).await {
        report.verdict = Verdict::Incomplete;
    }
    if args.json {
        common::print_json(&report.json())?;
    } else {
        show::text(&report);
    }
    Ok(match report.verdict {
        Verdict::Differs => Exit::Failed,
        Verdict::Same | Verdict::NotDecided | Verdict::NoRecord | Verdict::Incomplete | Verdict::EndedByWorker => Exit::Done,
    })
}

/// The pipeline as it was when it scored the event, and the version's name: what the partition had taken over says which that was.
fn version_of(taken: &[Taken], pipeline: &Pipeline, event: Option<&Event>, offset: i64) -> Result<(String, Pipeline), Usage> {
    let name = match (taken_at(taken, offset), event) {
        (Some(taken), Some(event)) => taken.version_of(&pipeline.name, event.key.as_deref().unwrap_or(&event.id)),
        _ => BASE,
    };
    pipeline.as_version(name).map(|version| (name.to_owned(), version)).ok_or_else(|| {
        Usage(format!(
            "version {name:?} of `{}` scored it, and this config has {}: give the config of that time with --config",
            pipeline.name,
            pipeline.versions().join(", ")
        ))
    })
}

/// Folds what came before, then the event, and scores it.
async fn explain(
    report: &mut Report,
    event: Event,
    past: folds::Past,
    scored: &Run,
    kafka: &Kafka,
    decoder: &Decoding,
    function: &dyn Function,
) -> anyhow::Result<()> {
    report.event_id = Some(event.id.to_string());
    report.event_time_ms = Some(event.event_time_ms);
    let folded = tokio::task::block_in_place(|| past::fold(past, kafka, &event, scored.fold_start, decoder))?;
    report.history = Some(folded.history);
    match folded.features {
        Err(rejection) => report.rejected = Some(rejection),
        Ok(features) => {
            report.numbers = features.numbers.to_vec();
            report.late = features.late;
            report.truncated = features.truncated;
            match function.call(&[Input { event, features: Some(features) }]).await {
                Ok(outcomes) => report.outcome = Some(outcomes.into_iter().next().context("the function gave no outcome")?),
                Err(error) => report.failed = Some(error.to_string()),
            }
        }
    }
    Ok(())
}

/// Whether events may have been taken out of the middle of the log. Who may not ask is told nothing of it.
async fn is_compacted(kafka: &Kafka, topic: &str) -> bool {
    let settings = kafka.settings(topic).await.unwrap_or_default();
    settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
}

/// The run that scored the event. Another fold than this config's knew something else.
async fn run_of(
    store: &PostgresStore,
    pipeline: &Pipeline,
    partition: &TopicPartition,
    asked: Option<i32>,
    offset: i64,
) -> anyhow::Result<Run> {
    let name = &pipeline.name;
    let run = store.runs(name, partition).await?.into_iter().find(|run| asked.is_none_or(|asked| run.run == asked));
    let run = run.ok_or_else(|| {
        let which = asked.map_or_else(String::new, |run| format!("run {run} of "));
        anyhow!("{which}pipeline `{name}` has no row for {partition}: it has not worked on that partition")
    })?;
    match run.start_offset {
        Some(start) if offset < start => bail!(
            "run {} of `{name}` began at offset {start} of {partition} and has not scored offset {offset}; name an earlier run with --run",
            run.run
        ),
        _ => Ok(run),
    }
}

fn check_digest(run: &Run, digest: &str, pipeline: &str) -> Result<(), Usage> {
    match &run.fold {
        Some(fold) if *fold != *digest => Err(Usage(format!(
            "run {} of `{pipeline}` was folded by other settings (fold {fold}, this config gives {digest}): the features that this \
             config declares are not those behind its scores. Give the config of that run with --config, and where that does not help the \
             version of Millrace that made it",
            run.run
        ))),
        _ => Ok(()),
    }
}
