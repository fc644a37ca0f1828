//! `millrace eval tag`, `fill`, `rerank`, `reply`, `summarize` and `translate`: the answers of a text function against those that people
//! gave, alone or beside another model. A row is an event of the function with one field more, what is wanted.

mod bleu;
mod chrf;
pub(super) mod examples;
mod fills;
pub(super) mod paired;
mod ranks;
mod rouge;
mod spans;
mod words;

use crate::cli::common::{self, Usage};
use crate::cli::opened;
use crate::function::Function;
use crate::function::offline::{self, Plain};
use crate::lifecycle::Exit;
use anyhow::{Context, Result, bail, ensure};
use examples::Example;
use indicatif::ProgressBar;
use paired::Paired;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    max_rows: Option<NonZeroUsize>,
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
    fn take(&mut self, row: &Example, answer: Option<&Map<String, Value>>) -> Result<f64>;
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
    /// What a row is worth, in words.
    worth: &'static str,
    measure: fn() -> Box<dyn Measure>,
}

pub const TAG: Measured = Measured {
    function: "tag",
    wanted: "spans",
    options: r#"{"aggregation_strategy": "first"}"#,
    worth: "F1 of a row's pieces",
    measure: || Box::<spans::Spans>::default(),
};
pub const FILL: Measured = Measured {
    function: "fill",
    wanted: "words",
    options: r#"{"top_k": 10}"#,
    worth: "one by the word's place",
    measure: || Box::<fills::Fills>::default(),
};
pub const RERANK: Measured = Measured {
    function: "rerank",
    wanted: "relevant",
    options: "{}",
    worth: "NDCG@10 of a row",
    measure: || Box::<ranks::Texts>::default(),
};
pub const REPLY: Measured = Measured {
    function: "reply",
    wanted: "reply",
    options: r#"{"top_k": 10, "diversity": 0}"#,
    worth: "one by the reply's place",
    measure: || Box::<ranks::Replies>::default(),
};
pub const SUMMARIZE: Measured = Measured {
    function: "summarize",
    wanted: "summary",
    options: "{}",
    worth: "ROUGE-L of a row",
    measure: || Box::<rouge::Rouge>::default(),
};
pub const TRANSLATE: Measured = Measured {
    function: "translate",
    wanted: "translation",
    options: "{}",
    worth: "chrF2 of a row",
    measure: || Box::<bleu::Translations>::default(),
};

/// One model's figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    rows: usize,
    /// Rows that the function refused; they count as wrong.
    refused: usize,
    /// Where and why, of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_refusal: Option<String>,
    #[serde(flatten, serialize_with = "in_order")]
    figures: Vec<(String, f64)>,
}

fn in_order<S: Serializer>(figures: &[(String, f64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(figures.iter().map(|(name, figure)| (name, figure)))
}

#[derive(Debug, Serialize)]
struct Report {
    models: Vec<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Paired>,
}

pub fn run(args: &Args, of: Measured) -> Result<Exit> {
    let rows = examples::read(&args.input, of.wanted, args.max_rows.map_or(usize::MAX, NonZeroUsize::get))?;
    ensure!(!rows.is_empty(), "{} has no row", args.input.display());
    // Both are there before the first is asked for hours.
    let first = opened(args, of, args.model.as_deref())?;
    let second = args.against.as_deref().map(|other| opened(args, of, Some(other))).transpose()?;
    let (figures, worth) = measured(of, &*first, &rows)?;
    let mut report = Report { models: vec![figures], compared: None };
    if let Some(second) = second {
        let (figures, other) = measured(of, &*second, &rows)?;
        report.models.push(figures);
        report.compared = Some(Paired::of(of.worth, &worth, &other));
    }
    match args.json {
        true => common::print_json(&report)?,
        false => print!("{report}"),
    }
    Ok(Exit::Done)
}

fn opened(args: &Args, of: Measured, model: Option<&Path>) -> Result<Arc<dyn Function>> {
    let object = |text: &str| serde_json::from_str::<Map<String, Value>>(text);
    let mut options = object(of.options)?;
    options.extend(object(&args.options).map_err(|error| Usage(format!("--options: {error}")))?);
    if of.function == "tag" && options.contains_key("delimiter") {
        return Err(Usage("--options: spans count characters of words with a blank between; leave out `delimiter`".into()).into());
    }
    let named = opened::Named { function: of.function, model, labelled: false, allow_download: args.allow_download };
    opened::open(&named, &options)
}

/// The figures of a function, and the worth of each row.
fn measured(of: Measured, function: &dyn Function, rows: &[Example]) -> Result<(Figures, Vec<f64>)> {
    let (mut measure, mut worth, mut refused, mut first_refusal) = ((of.measure)(), Vec::with_capacity(rows.len()), 0, None);
    let bar = ProgressBar::new(rows.len() as u64);
    for slice in rows.chunks(function.spec().limits.slice) {
        let answers = answers(function, worth.len(), slice)?;
        for (row, answer) in slice.iter().zip(&answers) {
            let refusal = answer.get("rejected").or_else(|| answer.get("skipped"));
            if let Some(refusal) = refusal {
                refused += 1;
                first_refusal.get_or_insert_with(|| format!("{}: {refusal}", row.place));
            }
            let place = || format!("{}, field `{}`", row.place, of.wanted);
            let answer = answer.as_object().filter(|_| refusal.is_none());
            worth.push(measure.take(row, answer).with_context(place)?);
        }
        bar.inc(slice.len() as u64);
    }
    bar.finish_and_clear();
    if let Some(refusal) = first_refusal.as_ref().filter(|_| refused == rows.len()) {
        bail!("`{}` refused every row; the first: {refusal}", of.function);
    }
    let (model, figures) = (function.spec().model.clone(), measure.figures());
    Ok((Figures { model, rows: rows.len(), refused, first_refusal, figures }, worth))
}

/// The answers to some rows, of which the first has that number.
pub(super) fn answers(function: &dyn Function, first: usize, rows: &[Example]) -> Result<Vec<Value>> {
    let events: Vec<Value> = rows.iter().map(|row| row.event.clone()).collect();
    let mut sitting = offline::Offline::sitting(&Plain);
    let call = offline::call(function, &mut *sitting, first, &events);
    Ok(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(call))?)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Figures { model, rows, refused, first_refusal, figures } in &self.models {
            write!(f, "{model}: {rows} rows")?;
            match first_refusal {
                None => writeln!(f)?,
                Some(first) => writeln!(f, ", {refused} of them refused and counted as wrong; the first is {first}")?,
            }
            let one = |(name, figure): &(String, f64)| format!("{name} {figure:.2}");
            writeln!(f, "  {}", figures.iter().map(one).collect::<Vec<_>>().join(", "))?;
        }
        self.compared.as_ref().map_or(Ok(()), |compared| writeln!(f, "{compared}"))
    }
}
