//! `millrace erase`: what is kept of one key goes, on demand of the one it is about.

use super::common::{self, Usage};
use super::kafka::Kafka;
use crate::config::{Config, Keep, Pipeline};
use crate::lifecycle::Exit;
use crate::record::Mode;
use crate::store::postgres::{Erase, Erased};
use anyhow::Context;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A key has no index: the rows of the pipeline are read.
const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Erases the records of one key in Postgres, its newest record, and states. Shows what there is; --yes does it.
///
/// Rows of its replays and earlier runs are meant too. The rows stay with their ids, places, labels and scores; key, headers and everything else of the value go, dead letters' events too. With
/// `keep = "latest"` a tombstone goes to the output topic. Rows that are not published yet are left alone and told: run it again. What it does not
/// reach: the records in the input and output topics until their retention, backups, logs of your own. It takes the role millrace_owner.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace erase --config deploy/millrace.toml --pipeline sentiment --key c1\n  millrace erase --config fraud.toml --key a-7 --state-key customer:a-7 --yes\n\nExit codes: 0 done, or shown; 1 failed, refused, or rows are left; 2 wrong usage or config."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// Key of the records, as text.
    #[arg(long)]
    key: String,
    /// Also this state, by its key in the view `millrace.states`; may come again. No worker may be in the group meanwhile.
    #[arg(long)]
    state_key: Vec<String>,
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
    if args.key.is_empty() {
        return Err(Usage("--key is empty; write the key of the records".into()).into());
    }
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let erase = Erase {
        pipeline: pipeline.name.clone(),
        key: args.key.clone().into_bytes(),
        state_keys: args.state_key.clone(),
        topics: pipeline.topic.clone(),
    };
    if !args.yes {
        let found = store.erasable(&erase).await?;
        tell(pipeline, found, &args)?;
        return Ok(Exit::Done);
    }
    if !args.state_key.is_empty() {
        nobody_in(pipeline, &common::kafka(&config, pipeline)?)?;
    }
    // Made first: without a client for the tombstone nothing is erased.
    let compacted = pipeline.keep == Keep::Latest && pipeline.mode == Mode::Both;
    let undertaker = if compacted { Some(producer(&common::kafka(&config, pipeline)?)?) } else { None };
    let done = store.erase(&erase).await?;
    // A record that is published after the tombstone would be the newest again. Where no row was left the tombstone goes all the same:
    // an earlier run may have erased the rows and not come to it.
    if let Some(producer) = undertaker.filter(|_| done.waiting == 0) {
        bury(pipeline, &producer, &args.key).await?;
    }
    tell(pipeline, done, &args)?;
    Ok(if done.waiting > 0 { Exit::Failed } else { Exit::Done })
}

/// A worker has states in memory, and would write them again.
fn nobody_in(pipeline: &Pipeline, kafka: &Kafka) -> anyhow::Result<()> {
    let members = kafka.members()?;
    if members.is_empty() {
        return Ok(());
    }
    let who = members.join(", ");
    Err(Usage(format!(
        "workers are in the group `{}` ({who}), and a state that one has in memory would be written again: stop them first, or leave out --state-key",
        pipeline.name
    ))
    .into())
}

fn producer(kafka: &Kafka) -> anyhow::Result<FutureProducer> {
    kafka
        .config()
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        // The time given to `send` is that of a place in its queue alone.
        .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
        .create()
        .context("the Kafka client cannot be made, and nothing was erased; look at [kafka] in the config")
}

/// A tombstone for the output topic, where compaction keeps the newest record of each key.
async fn bury(pipeline: &Pipeline, producer: &FutureProducer, key: &str) -> anyhow::Result<()> {
    let topic = pipeline.output_topic();
    let record = FutureRecord::<str, str>::to(&topic).key(key);
    let sent = producer.send(record, DELIVERY_TIMEOUT).await;
    sent.map_err(|(error, _)| error)
        .with_context(|| format!("the rows are erased, and the tombstone could not be written to `{topic}`; run this again"))?;
    Ok(())
}

fn tell(pipeline: &Pipeline, found: Erased, args: &Args) -> anyhow::Result<()> {
    if args.json {
        return common::print_json(&json!({
            "pipeline": pipeline.name, "done": args.yes, "rows": found.rows, "not_published_yet": found.waiting, "latest": found.latest,
            "states": found.states,
        }));
    }
    let went = if args.yes { "erased" } else { "would be erased" };
    println!(
        "pipeline {}: {} rows, {} rows of latest and {} states {went}",
        pipeline.name, found.rows, found.latest, found.states
    );
    if found.waiting > 0 {
        println!(
            "  {} rows are not published yet and stay, and so does the output topic: run this again in a moment",
            found.waiting
        );
    }
    if !args.yes {
        println!("  nothing was changed; --yes does it");
    }
    Ok(())
}
