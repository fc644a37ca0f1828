//! `millrace check`: what is wrong with a config, and, with `--connect`, with what it names.

mod functions;
mod kafka;
mod postgres;

use super::common;
use crate::config::{Config, ConfigError};
use crate::lifecycle::Exit;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Checks a config file: unknown keys, unsafe settings, names that lead nowhere. With --connect also brokers, topics, database, models.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace check --config deploy/millrace.toml\n  millrace check --config deploy/millrace.toml --connect --json\n\nExit codes: 0 good, 2 something is wrong."
)]
pub struct Args {
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    pub config: PathBuf,
    /// Also ask brokers and database, and load each model and call its function. Writes nothing, joins no group.
    #[arg(long)]
    pub connect: bool,
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
                self.add(Level::Wrong, about, format!("{error:#}"));
                None
            }
        }
    }
}

/// Prints the findings, one a line.
pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let mut findings = Findings::default();
    match Config::load(&args.config, env) {
        Ok(config) => {
            let text = format!("{}: good, {} pipelines", args.config.display(), config.pipeline.len());
            findings.add(Level::Good, "config", text);
            for pipeline in &config.pipeline {
                let text = format!("({}): {} -> {}", pipeline.digest(), pipeline.topic.join(", "), pipeline.output_topic());
                findings.add(Level::Good, format!("pipeline {}", pipeline.name), text);
            }
            if args.connect {
                kafka::check(&config, &mut findings).await;
                postgres::check(&config, &mut findings).await;
                functions::check(&config, &mut findings).await;
            }
        }
        Err(ConfigError::Invalid(wrong)) => wrong.into_iter().for_each(|text| findings.add(Level::Wrong, "config", text)),
        Err(error) => findings.add(Level::Wrong, "config", error.to_string()),
    }
    let wrong = findings.0.iter().filter(|finding| finding.level == Level::Wrong).count();
    if args.json {
        common::print_json(&serde_json::json!({ "good": wrong == 0, "findings": findings.0 }))?;
    } else {
        for finding in &findings.0 {
            let level = match finding.level {
                Level::Good => "good   ",
                Level::Warning => "warning",
                Level::Wrong => "WRONG  ",
            };
            println!("{level}  {}: {}", finding.about, finding.text);
        }
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Usage })
}
