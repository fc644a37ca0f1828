//! `millrace check`: what is wrong with a config, and, with `--connect`, with what it names.

mod functions;
mod kafka;
mod postgres;
mod schemas;
mod tails;

use super::common;
use super::kafka::is_outage;
use crate::config::recommend::warning_of;
use crate::config::{Config, ConfigError};
use crate::hub::Places;
use crate::lifecycle::Exit;
use crate::schema::Away;
use crate::store::StoreError;
use crate::worker::Own;
use rdkafka::error::KafkaError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Checks a config file: unknown keys, unsafe settings, names that lead nowhere. With --connect also brokers, topics, database, models.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace check --config deploy/millrace.toml\n  millrace check --config deploy/millrace.toml --connect --json\n  millrace check --config deploy/millrace.toml --connect --no-models\n\nExit codes: 0 good, 1 brokers or database do not answer, 2 something is wrong."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    pub config: PathBuf,
    /// Also ask brokers and database, and load each model and call its function. Writes nothing, joins no group.
    #[arg(long)]
    pub connect: bool,
    /// With --connect: load no models and call nothing. For a machine or a pod that has a worker with the same models in its memory.
    #[arg(long, requires = "connect")]
    pub no_models: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    /// Works, and could be better.
    Warning,
    /// Brokers or database do not answer: nothing is known.
    Away,
    /// `run` would fail, or halt.
    Wrong,
}

/// One line.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    about: String,
    text: String,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, about: impl Into<String>, text: impl Into<String>) {
        self.0.push(Finding { level, about: about.into(), text: text.into() });
    }

    /// What a check gave; an error is a finding like others.
    fn take<T>(&mut self, about: &str, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(if is_away(&error) { Level::Away } else { Level::Wrong }, about, format!("{error:#}"));
                None
            }
        }
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|finding| finding.level == level).count()
    }

    fn exit(&self) -> Exit {
        match (self.count(Level::Wrong), self.count(Level::Away)) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// Whether a service does not answer, in contrast to an answer that tells of a fault.
fn is_away(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<KafkaError>().is_some_and(is_outage)
            || cause.is::<Away>()
            || matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Transient(_)))
    })
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<Exit> {
    look(args, false, env, own).await
}

/// What `millrace run` would find, for `run --dry-run`: all that `check --connect` looks at, where each partition would go on, and what would
/// become of the last events of its log.
pub async fn dry_run(config: PathBuf, json: bool, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<Exit> {
    look(Args { config, connect: true, no_models: false, json }, true, env, own).await
}

/// Prints the findings, one a line.
async fn look(args: Args, tails: bool, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<Exit> {
    let mut findings = Findings::default();
    match Config::load(&args.config, env) {
        Ok(config) => {
            let text = format!("{}: good, {} pipelines", args.config.display(), config.pipeline.len());
            findings.add(Level::Good, "config", text);
            if let Some(text) = config.admin.warning() {
                findings.add(Level::Warning, "admin", text);
            }
            for pipeline in &config.pipeline {
                let text =
                    format!("({}): {} -> {}", config.digest_of(pipeline), pipeline.topic.join(", "), pipeline.output_topic());
                let about = format!("pipeline {}", pipeline.name);
                findings.add(Level::Good, &about, text);
                if let Some(text) = warning_of(&config, pipeline, None).filter(|_| !args.connect) {
                    findings.add(Level::Warning, &about, text);
                }
                if let Some(text) = pipeline.canary.as_ref().and_then(|canary| canary.warning(&pipeline.function)) {
                    findings.add(Level::Warning, &about, text);
                }
                // What is loaded is looked for then, and fetched where that is allowed.
                let loads = args.connect && !args.no_models;
                let named = pipeline.model.as_deref().filter(|name| !loads && !config.models.contains_key(*name));
                let places = Places::of_process().from(&config.base);
                if let Some(missing) = named.and_then(|name| places.find(name).err()) {
                    let level = if config.hub.allow_download { Level::Warning } else { Level::Wrong };
                    findings.add(level, &about, missing.to_string());
                }
            }
            if args.connect {
                kafka::check(&config, &mut findings).await;
                postgres::check(&config, &mut findings).await;
                schemas::check(&config, &mut findings).await;
                if !args.no_models {
                    functions::check(&config, own, tails, &mut findings).await;
                }
            }
        }
        Err(ConfigError::Invalid(wrong)) => wrong.into_iter().for_each(|text| findings.add(Level::Wrong, "config", text)),
        Err(error) => findings.add(Level::Wrong, "config", error.to_string()),
    }
    let exit = findings.exit();
    if args.json {
        common::print_json(&serde_json::json!({ "good": exit == Exit::Done, "findings": findings.0 }))?;
    } else {
        for finding in &findings.0 {
            let level = match finding.level {
                Level::Good => "good   ",
                Level::Warning => "warning",
                Level::Away => "AWAY   ",
                Level::Wrong => "WRONG  ",
            };
            println!("{level}  {}: {}", finding.about, finding.text);
        }
    }
    Ok(exit)
}
