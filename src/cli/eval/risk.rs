//! `millrace eval risk`: a file through the fold and the function, and how well its scores tell the bad from the good.

mod models;
mod report;

use crate::cli::common::{self, Usage};
use crate::cli::parity::input;
use crate::config::Config;
use crate::config::risk::{Options, Risk};
use crate::event::{Event, at};
use crate::function::{Function, Input, Outcome};
use crate::lifecycle::Exit;
use crate::state::in_memory::InMemory;
use crate::state::risk::RiskFold;
use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use models::Models;
use report::Report;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Replays events through a risk pipeline's fold and function, and measures its scores of those that have a label.
///
/// Every event is folded, in the order of the file. Ends with 0; with 1 when a score is not as --expected; with 2 on wrong usage.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace eval risk --config millrace.toml --input events.csv.gz --label fraud\n  millrace eval risk --config deploy/samples/risk-credit.toml --input credit.csv --label has_default --fold fold --model 0=fold0.txt --model 1=fold1.txt"
)]
pub struct Args {
    /// Events: a CSV file with a header, or JSON lines (.jsonl); also .gz. `[risk] file` says where id and time stand.
    #[arg(long)]
    input: PathBuf,
    /// Where the label stands in an event, as a dotted path: true or false, 1 or 0. An event without one is folded and not measured.
    #[arg(long)]
    label: String,
    /// A config with a pipeline that runs `risk`, or with `[risk]` and --model.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// Which pipeline; needed when several run `risk`.
    #[arg(long)]
    pipeline: Option<String>,
    /// A model's file, in place of the pipeline's model and rules. With --fold once a fold, as FOLD=FILE.
    #[arg(long)]
    model: Vec<String>,
    /// Where an event's fold stands: it is scored by the model of that fold, which was trained on the others.
    #[arg(long, requires = "model")]
    fold: Option<String>,
    /// Measure events from this time on, RFC 3339; those before are folded.
    #[arg(long)]
    from: Option<jiff::Timestamp>,
    /// Measure events before this time.
    #[arg(long)]
    until: Option<jiff::Timestamp>,
    /// Where a probability stands that ours must be equal to.
    #[arg(long)]
    expected: Option<String>,
    /// Largest difference from --expected that counts as equal.
    #[arg(long, default_value_t = 1e-6)]
    tolerance: f64,
    /// Of so many highest scores the share that is bad is told.
    #[arg(long, default_value_t = 100)]
    top: usize,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// What an event says of itself beside its features.
pub struct Known {
    fold: String,
    bad: bool,
    expected: Option<f64>,
}

pub fn run(args: &Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let mut config = Config::load(&args.config, env)?;
    config.pipeline.retain(|pipeline| pipeline.function == "risk");
    let (declared, models) = scoring(args, &config)?;
    let bar = ProgressBar::new(std::fs::metadata(&args.input).map_or(0, |file| file.len()))
        .with_style(ProgressStyle::with_template("{wide_bar} {percent}% {msg}, {eta} left")?);
    let started = Instant::now();
    let (numbers, mut states) = (RiskFold::new(declared), InMemory::new(RiskFold::new(declared)));
    let mut measured = Measured { report: Report::new(args.tolerance, args.top), models, waiting: BTreeMap::new() };
    for event in input::events(&args.input, &bar, &declared.file, move |column| numbers.reads_number(column))? {
        let event = event?;
        let events = measured.report.count();
        if events.is_multiple_of(16_384) {
            bar.set_message(format!("{events} events"));
        }
        let known = known(args, &event).with_context(|| format!("{} row {events}", args.input.display()))?;
        match (states.apply(&event), known) {
            (Ok(features), known) => {
                measured.report.late(features.late);
                if let Some(known) = known {
                    measured.take(Input { event, features: Some(features) }, known)?;
                }
            }
            (Err(rejection), _) => measured.report.reject(&rejection),
        }
    }
    let mut report = measured.end()?;
    bar.finish_and_clear();
    if let Some(path) = args.expected.as_deref().filter(|_| !report.is_empty() && !report.has_compared()) {
        bail!(
            "no event of {} that is scored has an expected probability in `{path}`; name its field with --expected",
            args.input.display()
        );
    }
    if report.is_empty() {
        bail!(
            "no event of {} that is measured has a label in `{}`; name its field with --label",
            args.input.display(),
            args.label
        );
    }
    report.close(crate::state::Fold::digest(states.fold()), states.keys(), started.elapsed());
    if args.json {
        common::print_json(&report)?
    } else {
        print!("{report}")
    }
    Ok(if report.differs() { Exit::Failed } else { Exit::Done })
}

/// The features, and what scores them.
fn scoring<'a>(args: &Args, config: &'a Config) -> anyhow::Result<(&'a Risk, Models)> {
    let place = args.config.display();
    if config.pipeline.is_empty() {
        return match &config.risk {
            Some(declared) if !args.model.is_empty() => {
                Ok((declared, Models::of_files(&args.model, args.fold.is_some(), &Options::default(), declared)?))
            }
            Some(_) => Err(Usage(format!("no pipeline of {place} runs `risk`; name a model with --model")).into()),
            None => Err(Usage(format!("{place} has no pipeline that runs `risk`, and no [risk]")).into()),
        };
    }
    let pipeline = common::pipeline(config, args.pipeline.as_deref())?;
    let declared = config.risk_of(pipeline).context("it needs features; declare them under [[risk.feature]]")?;
    if args.model.is_empty() {
        return Ok((declared, Models::of_pipeline(config, pipeline, declared)?));
    }
    let options = Options::of(&pipeline.options).map_err(Usage)?;
    Ok((declared, Models::of_files(&args.model, args.fold.is_some(), &options, declared)?))
}

/// `None` for an event without a label, or of another time.
fn known(args: &Args, event: &Event) -> anyhow::Result<Option<Known>> {
    let time_ms = event.event_time_ms;
    if args.from.is_some_and(|from| time_ms < from.as_millisecond())
        || args.until.is_some_and(|until| time_ms >= until.as_millisecond())
    {
        return Ok(None);
    }
    let payload: Value = serde_json::from_slice(event.payload().unwrap_or_default())?;
    let field = |path: &str| at(&payload, path).filter(|value| !value.is_null()).map(text);
    let Some(label) = field(&args.label) else { return Ok(None) };
    let bad = match label.as_str() {
        "1" | "1.0" | "true" => true,
        "0" | "0.0" | "false" => false,
        _ => bail!("`{}` is neither true or false nor 1 or 0", args.label),
    };
    let fold = match &args.fold {
        Some(path) => field(path).with_context(|| format!("there is a label and no fold in `{path}`"))?,
        None => String::new(),
    };
    let expected = args.expected.as_deref().and_then(|path| Some((path, field(path)?)));
    let number = |(path, text): (&str, String)| {
        let number: f64 = text.parse().with_context(|| format!("`{path}` is not a number"))?;
        ensure!(number.is_finite(), "`{path}` is not a finite number");
        Ok(number)
    };
    Ok(Some(Known { fold, bad, expected: expected.map(number).transpose()? }))
}

/// A value as a CSV file has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Rows on their way to the models, in slices as the functions take them.
struct Measured {
    report: Report,
    models: Models,
    waiting: BTreeMap<String, Vec<(Input, Known)>>,
}

impl Measured {
    fn take(&mut self, input: Input, known: Known) -> anyhow::Result<()> {
        let Some(function) = self.models.of(&known.fold) else {
            self.report.unscored(&known, "no_model");
            return Ok(());
        };
        let most = function.spec().limits.slice;
        let fold = known.fold.clone();
        let slice = self.waiting.entry(fold.clone()).or_default();
        slice.push((input, known));
        if slice.len() >= most { self.score(&fold) } else { Ok(()) }
    }

    fn score(&mut self, fold: &str) -> anyhow::Result<()> {
        let Some(function) = self.models.of(fold) else { return Ok(()) };
        let (inputs, known): (Vec<Input>, Vec<Known>) = self.waiting.remove(fold).unwrap_or_default().into_iter().unzip();
        let outcomes = tokio::runtime::Handle::current().block_on(function.call(&inputs))?;
        for (outcome, known) in outcomes.into_iter().zip(known) {
            match outcome {
                Outcome::Emit(predictions) => match predictions.first().and_then(|prediction| prediction.score) {
                    Some(score) => self.report.score(&known, score),
                    None => self.report.unscored(&known, "degraded"),
                },
                Outcome::Skip(reason) => self.report.unscored(&known, reason),
                Outcome::Reject(rejection) => self.report.unscored(&known, rejection.code),
            }
        }
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<Report> {
        let folds: Vec<String> = self.waiting.keys().cloned().collect();
        folds.iter().try_for_each(|fold| self.score(fold))?;
        Ok(self.report)
    }
}
