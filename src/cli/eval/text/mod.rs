//! `millrace eval tag`, `fill`, `rerank`, `reply`, `summarize` and `translate`: the answers of a text function against those that people
//! gave, alone or beside another model. A row is an event of the function with one field more, what is wanted.

mod bleu;
mod chrf;
mod examples;
mod fills;
mod paired;
mod ranks;
mod rouge;
mod spans;
mod words;

use crate::cli::common::{self, Usage};
use crate::cli::opened;
use crate::function::Function;
use crate::function::offline::{self, Plain};
use crate::lifecycle::Exit;
use anyhow::{Context, Result, ensure};
use examples::Example;
use indicatif::ProgressBar;
use paired::Paired;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a folder, or a name as for `call`.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Another model to compare with, on the same rows.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Rows: .jsonl, or .tsv and .csv with a header; for `tag` also a word and its label a line. Also .gz.
    #[arg(long)]
    input: PathBuf,
    /// Options of the function, as JSON.
    #[arg(long, default_value = "{}")]
    options: String,
    /// Only the first N rows.
    #[arg(long)]
    max_rows: Option<usize>,
    /// A model of a hub that is not in its cache may be fetched.
    #[arg(long)]
    allow_download: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// What is counted of a function's answers.
trait Measure {
    /// Takes the answer to one row, `None` where the row was refused; its worth, between 0 and 1, is what models are compared by.
    fn take(&mut self, wanted: &Value, answer: Option<&Map<String, Value>>) -> Result<f64>;
    /// Name and figure, the most telling first.
    fn figures(&self) -> Vec<(String, f64)>;
}

/// A function that is measured here.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// As for `call`.
    pub function: &'static str,
    /// The field of a row that holds what is wanted.
    wanted: &'static str,
    /// Options of the function where the command line says nothing else.
    options: &'static str,
    measure: fn() -> Box<dyn Measure>,
}

pub const TAG: Measured = Measured {
    function: "tag",
    wanted: "spans",
    options: r#"{"aggregation_strategy": "first"}"#,
    measure: || Box::<spans::Spans>::default(),
};
pub const FILL: Measured =
    Measured { function: "fill", wanted: "words", options: r#"{"top_k": 10}"#, measure: || Box::<fills::Fills>::default() };
pub const RERANK: Measured =
    Measured { function: "rerank", wanted: "relevant", options: "{}", measure: || Box::<ranks::Texts>::default() };
pub const REPLY: Measured = Measured {
    function: "reply",
    wanted: "reply",
    options: r#"{"top_k": 10, "diversity": 0}"#,
    measure: || Box::<ranks::Replies>::default(),
};
pub const SUMMARIZE: Measured =
    Measured { function: "summarize", wanted: "summary", options: "{}", measure: || Box::<rouge::Rouge>::default() };
pub const TRANSLATE: Measured =
    Measured { function: "translate", wanted: "translation", options: "{}", measure: || Box::<bleu::Translations>::default() };

/// One model's figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    rows: usize,
    /// Rows that the function refused; they count as wrong.
    refused: usize,
    #[serde(flatten)]
    figures: serde_json::Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Report {
    models: Vec<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Paired>,
}

pub fn run(args: &Args, of: Measured) -> Result<Exit> {
    let rows = examples::read(&args.input, of.wanted, args.max_rows.unwrap_or(usize::MAX))?;
    ensure!(!rows.is_empty(), "{} has no row", args.input.display());
    let (figures, first) = measured(args, of, args.model.as_deref(), &rows)?;
    let mut report = Report { models: vec![figures], compared: None };
    if let Some(other) = &args.against {
        let (figures, second) = measured(args, of, Some(other), &rows)?;
        report.models.push(figures);
        report.compared = Some(Paired::of(&first, &second));
    }
    match args.json {
        true => common::print_json(&report)?,
        false => print!("{report}"),
    }
    Ok(Exit::Done)
}

/// The figures of a model, and the worth of each row.
fn measured(args: &Args, of: Measured, model: Option<&Path>, rows: &[Example]) -> Result<(Figures, Vec<f64>)> {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text);
    let mut options = object(of.options)?;
    options.extend(object(&args.options).map_err(|error| Usage(format!("--options: {error}")))?);
    let named = opened::Named { function: of.function, model, labelled: false, allow_download: args.allow_download };
    let function = opened::open(&named, &options)?;
    let (mut measure, mut worth, mut refused) = ((of.measure)(), Vec::with_capacity(rows.len()), 0);
    let bar = ProgressBar::new(rows.len() as u64);
    for slice in rows.chunks(function.spec().limits.slice) {
        let answers = answers(&*function, worth.len(), slice)?;
        for (row, answer) in slice.iter().zip(&answers) {
            let answer = answer.as_object().filter(|answer| !answer.contains_key("rejected"));
            refused += usize::from(answer.is_none());
            let place = || format!("{}, field `{}`", row.place, of.wanted);
            worth.push(measure.take(&row.wanted, answer).with_context(place)?);
        }
        bar.inc(slice.len() as u64);
    }
    bar.finish_and_clear();
    let figures = measure.figures().into_iter().map(|(name, figure)| (name, figure.into())).collect();
    Ok((Figures { model: function.spec().model.clone(), rows: rows.len(), refused, figures }, worth))
}

fn answers(function: &dyn Function, first: usize, rows: &[Example]) -> Result<Vec<Value>> {
    let events: Vec<Value> = rows.iter().map(|row| row.event.clone()).collect();
    let mut sitting = offline::Offline::sitting(&Plain);
    let call = offline::call(function, &mut *sitting, first, &events);
    Ok(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(call))?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figures { model, rows, refused, figures } in &self.models {
            write!(f, "{model}: {rows} rows")?;
            match refused {
                0 => writeln!(f)?,
                _ => writeln!(f, ", {refused} of them refused and counted as wrong")?,
            }
            let one = |(name, figure): (&String, &Value)| format!("{name} {:.2}", figure.as_f64().unwrap_or(f64::NAN));
            writeln!(f, "  {}", figures.iter().map(one).collect::<Vec<_>>().join(", "))?;
        }
        self.compared.as_ref().map_or(Ok(()), |compared| writeln!(f, "{compared}"))
    }
}
