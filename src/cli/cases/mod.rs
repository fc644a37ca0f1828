//! `millrace test`: events and what must come of them, through the decoder, the fold and the function of a pipeline.

mod compare;
mod file;
mod junit;

use super::common::{self, Usage, escaped};
use super::rig::Rig;
use crate::config::{Config, Pipeline};
use crate::function::{Function, offline};
use crate::inference::{Options, Registry};
use crate::lifecycle::Exit;
use crate::worker::Own;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compare::{Difference, differences, renewed};
use file::Placed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const TOLERANCE: f64 = 1e-6;
const BYTES: &str = "an event of this pipeline is written as JSON, or is the record's bytes in base64; this text is neither";

/// Puts events through a pipeline's decoder, fold, function and model, and compares what comes with what was expected. Needs neither Kafka nor Postgres.
///
/// A case is one line of JSON: `event` (the body; a text is taken as the record's bytes, in base64 where the pipeline's values are no JSON) or `events` (oldest first, the last one is scored),
/// perhaps `key`, `name`, `tolerance` (a share; 1e-6), `pipeline`, and `expect`: a part of the answer, such as {"label": "positive"},
/// {"skipped": "agent"} or {"rejected": {"code": "missing_field"}}; of a list by places: {"suggestions": {"0": {"source": "parcel"}}}.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace test --config deploy/samples/intent.toml deploy/samples/intent.cases.jsonl\n  millrace test --config millrace.toml --pipeline risk cases/ --junit report.xml\n  millrace test --config millrace.toml cases/ --update      # what comes now is what is expected\n\nExit codes: 0 all passed, 1 one failed, 2 wrong usage or config."
)]
pub struct Args {
    /// Files of cases, or folders with files that end in .jsonl.
    #[arg(required = true, value_name = "CASES.jsonl|DIR")]
    paths: Vec<PathBuf>,
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// The pipeline of cases that name none; may be left out when the config has one alone.
    #[arg(long, short)]
    pipeline: Option<String>,
    /// The version of the pipelines that is tried, as [pipeline.version.NAME] has it.
    #[arg(long)]
    version: Option<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Also write a report that CI servers read.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write what comes into cases that fail.
    #[arg(long)]
    update: bool,
}

/// Each pipeline at a version; those without it are left out, and one at least must have it.
fn at_version(pipelines: &[Pipeline], version: &str) -> Result<Vec<Pipeline>, Usage> {
    let found: Vec<Pipeline> = pipelines.iter().filter_map(|pipeline| pipeline.as_version(version)).collect();
    match found.is_empty() {
        true => {
            let known = pipelines.iter().map(|pipeline| format!("{}: {}", pipeline.name, pipeline.versions().join(", ")));
            let known = known.collect::<Vec<_>>().join("; ");
            Err(Usage(format!(
                "no pipeline of this config has a version {version:?} ([pipeline.version.NAME]); they have {known}"
            )))
        }
        false => Ok(found),
    }
}

/// What became of a case.
pub struct Tried {
    pub file: String,
    pub line: usize,
    pub name: String,
    pub pipeline: String,
    pub found: Value,
    pub differences: Vec<Difference>,
    pub seconds: f64,
}

/// Pipelines that are loaded, by their names.
struct Rigs<'a> {
    config: &'a Config,
    registry: Registry,
    own: &'a Own,
    loaded: BTreeMap<String, Rig>,
}

impl<'a> Rigs<'a> {
    fn of(&mut self, name: Option<&str>) -> anyhow::Result<(&'a Pipeline, &Rig)> {
        let pipeline = common::pipeline(self.config, name)?;
        if !self.loaded.contains_key(&pipeline.name) {
            let rig = tokio::task::block_in_place(|| Rig::load(self.config, pipeline, &self.registry, self.own))?;
            self.loaded.insert(pipeline.name.clone(), rig);
        }
        let rig = self.loaded.get(&pipeline.name).context("a pipeline is not loaded")?;
        Ok((pipeline, rig))
    }
}

pub async fn run(args: Args, env: &BTreeMap<String, String>, own: &Own) -> anyhow::Result<Exit> {
    let mut config = Config::load(&args.config, env)?;
    if let Some(version) = &args.version {
        config.pipeline = at_version(&config.pipeline, version)?;
    }
    // All files are read before the first model is loaded.
    let mut files = Vec::new();
    for path in &args.paths {
        for file in file::files(path)? {
            let cases = file::read(&file)?;
            files.push((file, cases));
        }
    }
    let mut rigs = Rigs { config: &config, registry: Registry::new(Options::default()), own, loaded: BTreeMap::new() };
    let (mut tried, mut updated) = (Vec::new(), 0);
    for (path, cases) in &files {
        let (mut of_file, mut expectations) = (Vec::new(), Vec::new());
        for placed in cases {
            let one = attempt(&mut rigs, args.pipeline.as_deref(), path, placed).await?;
            if !one.differences.is_empty() {
                expectations.push((placed.line, renewed(&placed.case.expect, &one.found)));
            }
            of_file.push(one);
        }
        if args.update && !expectations.is_empty() {
            file::update(path, &expectations)?;
            updated += expectations.len();
        }
        if !args.json {
            show(path, &of_file);
        }
        tried.extend(of_file);
    }
    let failed = tried.iter().filter(|one| !one.differences.is_empty()).count();
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&tried)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        common::print_json(&document(&tried, updated))?;
    } else {
        let seconds: f64 = tried.iter().map(|one| one.seconds).sum();
        println!("{} passed, {failed} failed in {seconds:.2} s", tried.len() - failed);
        if updated > 0 {
            println!("{updated} cases now expect what came.");
        }
    }
    Ok(if failed == 0 || args.update { Exit::Done } else { Exit::Failed })
}

/// Whether a function of a pipeline passes the cases of a file or folder, all of them: how many there are. The error tells of the first that fails.
pub async fn passed(config: &Config, pipeline: &Pipeline, function: Arc<dyn Function>, path: &Path) -> anyhow::Result<usize> {
    let rig = Rig::with(config, pipeline, function)?;
    let mut count = 0;
    for file in file::files(path)? {
        for placed in &file::read(&file)? {
            let tried = try_one(pipeline, &rig, &file, placed).await?;
            if let Some(difference) = tried.differences.first() {
                bail!("case {} at {}:{} fails: {}", tried.name, tried.file, tried.line, sentence(difference));
            }
            count += 1;
        }
    }
    Ok(count)
}

async fn attempt(rigs: &mut Rigs<'_>, usual: Option<&str>, path: &Path, placed: &Placed) -> anyhow::Result<Tried> {
    let place = || format!("{}:{}", path.display(), placed.line);
    let (pipeline, rig) = rigs.of(placed.case.pipeline.as_deref().or(usual)).map_err(|error| error.context(place()))?;
    try_one(pipeline, rig, path, placed).await
}

async fn try_one(pipeline: &Pipeline, rig: &Rig, path: &Path, placed: &Placed) -> anyhow::Result<Tried> {
    let place = || format!("{}:{}", path.display(), placed.line);
    let started = Instant::now();
    let mut past = rig.past();
    if past.is_none() && placed.case.events.as_ref().is_some_and(|events| events.len() > 1) {
        let what = format!("{}: `{}` remembers nothing: write one `event`", place(), pipeline.function);
        return Err(Usage(what).into());
    }
    let mut last = None;
    for (body, mut raw) in placed.case.bodies().zip(placed.records()) {
        let input = match body {
            _ if pipeline.format.is_json() => rig.input(&mut past, raw),
            Value::String(text) => {
                let bytes = STANDARD.decode(text).map_err(|_| Usage(format!("{}: {BYTES}", place())))?;
                raw.payload = Some(bytes.into());
                rig.input(&mut past, raw)
            }
            _ => rig.written(&mut past, raw),
        };
        last = Some(input.with_context(place)?);
    }
    let outcomes = rig.call(last.into_iter().collect()).await.with_context(place)?;
    let found = offline::output(outcomes.into_iter().next().context("a case without an event")?);
    let seconds = started.elapsed().as_secs_f64();
    let differences = match &placed.case.expect {
        Value::Null => vec![Difference {
            path: String::new(),
            expected: Value::Null,
            found: Some(found.clone()),
            why: "nothing was expected: write `expect`, or use --update",
        }],
        expect => differences(expect, &found, placed.case.tolerance.unwrap_or(TOLERANCE)),
    };
    Ok(Tried {
        file: path.display().to_string(),
        line: placed.line,
        name: placed.name(),
        pipeline: pipeline.name.clone(),
        found,
        differences,
        seconds,
    })
}

/// Longest value that is shown on a line.
const SHOWN: usize = 300;

fn shown(value: &Value) -> String {
    let text = escaped(&value.to_string());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// One difference as a sentence.
pub fn sentence(difference: &Difference) -> String {
    let Difference { path, expected, found, why } = difference;
    let of = if path.is_empty() { String::new() } else { format!("{} ", escaped(path)) };
    match found {
        None => format!("{of}{why}; expected {}", shown(expected)),
        Some(found) if expected.is_null() && path.is_empty() => format!("{why}; found {}", shown(found)),
        Some(found) => format!("{of}{why}: expected {}, found {}", shown(expected), shown(found)),
    }
}

fn show(path: &Path, tried: &[Tried]) {
    println!("{}", path.display());
    for one in tried {
        let (name, pipeline) = (escaped(&one.name), &one.pipeline);
        if one.differences.is_empty() {
            println!("  ok      {name}");
            continue;
        }
        println!("  FAILED  {name} (line {}, pipeline {pipeline})", one.line);
        for difference in &one.differences {
            println!("          {}", sentence(difference));
        }
    }
}

fn document(tried: &[Tried], updated: usize) -> Value {
    let one = |one: &Tried| {
        json!({
            "file": one.file, "line": one.line, "name": one.name, "pipeline": one.pipeline, "passed": one.differences.is_empty(),
            "found": one.found, "differences": one.differences, "seconds": one.seconds,
        })
    };
    let failed = tried.iter().filter(|one| !one.differences.is_empty()).count();
    json!({ "passed": tried.len() - failed, "failed": failed, "updated": updated, "cases": tried.iter().map(one).collect::<Vec<_>>() })
}
