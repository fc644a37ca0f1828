//! Models that are asked through the function `classify` itself: those of several labels a text or of a number, and labels that come with the
//! question.

mod wanted;

use super::measures::{ScoreFigures, Several, SeveralFigures};
use super::{Args, Figures, Report, compared};
use crate::cli::common::{self, Usage};
use crate::cli::eval::text::examples::Example;
use crate::cli::eval::text::paired::Paired;
use crate::cli::eval::text::{answers, examples};
use crate::cli::opened;
use crate::function::Function;
use crate::lifecycle::Exit;
use crate::train::data::{Row, line_of, rows, sorted};
use crate::train::metrics::{Confusion, calibration_error};
use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Rows, each with what is wanted of it as the file has it.
pub struct Asked {
    events: Vec<Example>,
    wanted: Vec<Row>,
}

impl Asked {
    /// The rows of a file; events have the labels of the command line, or their own.
    pub fn read(args: &Args) -> Result<Self> {
        let wanted = rows(&args.input, &args.columns())?;
        let brought = brought(args, wanted.len())?;
        let event = |(number, row): (usize, &Row)| {
            let mut event = json!({ "text": row.text });
            if let Some(pair) = &row.pair {
                event["text_pair"] = pair.as_str().into();
            }
            if let Some(labels) = brought.get(number).filter(|labels| !labels.is_null()) {
                event["candidate_labels"] = labels.clone();
            } else if !args.labels.is_empty() {
                event["candidate_labels"] = args.labels.clone().into();
            }
            Example { event, wanted: Value::Null, place: line_of(&args.input, row.line) }
        };
        let events = wanted.iter().enumerate().map(event).collect();
        Ok(Self { events, wanted })
    }

    /// The rows of the file.
    pub fn rows(&self) -> &[Row] {
        &self.wanted
    }

    /// Whether the labels to choose from come with the texts.
    pub fn brings_labels(&self) -> bool {
        self.events.iter().any(|row| row.event.get("candidate_labels").is_some())
    }

    /// Whether a pair is to be asked with labels: it has no place beside them.
    pub fn brings_labels_to_pairs(&self) -> bool {
        self.events.iter().any(|row| row.event.get("candidate_labels").is_some() && row.event.get("text_pair").is_some())
    }
}

/// The field `candidate_labels` of each row, where the file has such a field.
fn brought(args: &Args, count: usize) -> Result<Vec<Value>> {
    const FIELD: &str = "candidate_labels";
    if !args.labels.is_empty() {
        return Ok(Vec::new());
    }
    let field = |row: &Example| row.event.get(FIELD).cloned().unwrap_or_default();
    // What else a row has is of no interest here: of those without the field none is an example.
    let first = examples::fields(&args.input, 1)?;
    if first.first().is_none_or(|row| row.event.get(FIELD).is_none()) {
        return Ok(Vec::new());
    }
    let all: Vec<Value> = examples::fields(&args.input, usize::MAX)?.iter().map(field).collect();
    if all.len() != count {
        bail!("{}: {} rows have texts, and {} have fields", args.input.display(), count, all.len());
    }
    Ok(all)
}

/// What of a model is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of the labels that come with a text.
    Chosen,
    /// All labels that hold.
    Several,
    Number,
}

/// What an answer was worth, row by row, `None` where the row was refused; and in figures.
struct Measured {
    report: One,
    worth: Vec<Option<f64>>,
}

/// One model's figures.
#[derive(Debug, Serialize)]
struct One {
    model: String,
    rows: usize,
    /// Rows that the function refused; they count as wrong, and in a correlation not at all.
    refused: usize,
    #[serde(flatten)]
    figures: Of,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Of {
    Several(SeveralFigures),
    Number(ScoreFigures),
}

#[derive(Debug, Serialize)]
struct Told {
    models: Vec<One>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Paired>,
}

/// The outputs to all rows.
fn outputs(function: &dyn Function, asked: &Asked) -> Result<Vec<Value>> {
    let mut all = Vec::with_capacity(asked.events.len());
    for slice in asked.events.chunks(function.spec().limits.slice) {
        all.extend(answers(function, all.len(), slice)?);
    }
    let refusal = |(output, row): (&Value, &Example)| Some(format!("{}: {}", row.place, output.get("rejected")?));
    let refused: Vec<String> = all.iter().zip(&asked.events).filter_map(refusal).collect();
    match refused.first() {
        Some(first) if refused.len() == all.len() => bail!("`classify` refused every row; the first: {first}"),
        _ => Ok(all),
    }
}

fn open(args: &Args, model: &Path, kind: Kind) -> Result<Arc<dyn Function>> {
    let mut options = options(args)?;
    if let Some(threshold) = args.threshold {
        options.insert("threshold".into(), threshold.into());
        if kind == Kind::Number {
            return Err(Usage("--threshold is for models of several labels; this one gives a number".into()).into());
        }
    }
    let named = opened::Named { function: "classify", model: Some(model), labelled: kind == Kind::Chosen, allow_download: false };
    opened::open(&named, &options)
}

fn measured(args: &Args, asked: &Asked, model: &Path, kind: Kind, known: &[String]) -> Result<Measured> {
    let function = open(args, model, kind)?;
    let outputs = outputs(&*function, asked)?;
    let refused = outputs.iter().filter(|output| is_refused(output)).count();
    let (figures, worth) = match kind {
        Kind::Number => numbers(args, asked, &outputs)?,
        Kind::Several | Kind::Chosen => several(args, asked, &outputs, known)?,
    };
    Ok(Measured { report: One { model: function.spec().model.clone(), rows: outputs.len(), refused, figures }, worth })
}

fn several(args: &Args, asked: &Asked, outputs: &[Value], known: &[String]) -> Result<(Of, Vec<Option<f64>>)> {
    let mut all = Several::of(known);
    let mut worth = Vec::with_capacity(outputs.len());
    for (wanted, output) in wanted::several(args, asked, known)?.iter().zip(outputs) {
        let labels = output["labels"].as_array().into_iter().flatten();
        let given = labels.filter_map(|label| label["label"].as_str().map(str::to_owned)).collect();
        worth.push(all.take(wanted, Some(&given).filter(|_| !is_refused(output))));
    }
    Ok((Of::Several(all.figures()), worth))
}

fn numbers(args: &Args, asked: &Asked, outputs: &[Value]) -> Result<(Of, Vec<Option<f64>>)> {
    let (mut wanted, mut given, mut worth) = (Vec::new(), Vec::new(), Vec::with_capacity(outputs.len()));
    for (number, output) in wanted::numbers(args, asked)?.into_iter().zip(outputs) {
        let score = output["score"].as_f64();
        if let Some(score) = score {
            wanted.push(number);
            given.push(score);
        }
        worth.push(score.map(|score| -(score - number).powi(2)));
    }
    Ok((Of::Number(ScoreFigures::of(&wanted, &given)), worth))
}

fn is_refused(output: &Value) -> bool {
    output.get("rejected").is_some()
}

/// What two models gave on the rows that both answered.
fn both<T: Copy>(first: &[Option<T>], second: &[Option<T>]) -> (Vec<T>, Vec<T>) {
    first.iter().zip(second).filter_map(|(a, b)| Some(((*a)?, (*b)?))).unzip()
}

/// Measures models of several labels, or of a number, whose labels are `known`.
pub fn run(args: &Args, asked: &Asked, kind: Kind, known: &[String]) -> Result<Exit> {
    let first = measured(args, asked, &args.model, kind, known)?;
    let mut told = Told { models: vec![first.report], compared: None };
    if let Some(other) = &args.against {
        let second = measured(args, asked, other, kind, known)?;
        let (a, b) = both(&first.worth, &second.worth);
        told.compared = Some(match kind {
            Kind::Number => Paired::in_own_unit("squared error of a row, less of it", &a, &b),
            Kind::Several | Kind::Chosen => Paired::of("F1 of a row's labels", &a, &b),
        });
        told.models.push(second.report);
    }
    match args.json {
        true => common::print_json(&told)?,
        false => print!("{told}"),
    }
    Ok(Exit::Done)
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for One { model, rows, refused, figures } in &self.models {
            let refused = if *refused == 0 { String::new() } else { format!(", {refused} of them refused") };
            writeln!(f, "{model}: {rows} rows{refused}")?;
            match figures {
                Of::Several(figures) => write!(f, "{figures}")?,
                Of::Number(figures) => write!(f, "{figures}")?,
            }
        }
        self.compared.as_ref().map_or(Ok(()), |compared| writeln!(f, "{compared}"))
    }
}

/// Measures models by labels that come with the texts: one of them is right.
pub fn chosen(args: &Args, asked: &Asked) -> Result<Report> {
    for (row, event) in asked.wanted.iter().zip(&asked.events) {
        wanted::among(event, std::slice::from_ref(&row.label))?;
    }
    let each = asked.events.iter().flat_map(|row| wanted::candidates(row).unwrap_or_default());
    let labels = sorted(each.chain(asked.wanted.iter().map(|row| row.label.clone())).collect());
    let number = |label: &str| labels.iter().position(|known| known == label);
    let measure = |model: &Path| -> Result<(Figures, Vec<Option<bool>>)> {
        let function = open(args, model, Kind::Chosen)?;
        let outputs = outputs(&*function, asked)?;
        let (mut confusion, mut right, mut sure) = (Confusion::new(labels.len()), Vec::new(), Vec::new());
        for (row, output) in asked.wanted.iter().zip(&outputs) {
            let said = output["label"].as_str();
            let is_right = said == Some(row.label.as_str());
            // A row without an answer is wrong, and is no other label's.
            if let (Some(truth), Some(said)) = (number(&row.label), said.and_then(number)) {
                confusion.add(truth, said);
                sure.push((output["score"].as_f64().unwrap_or_default(), is_right));
            }
            right.push((!is_refused(output)).then_some(is_right));
        }
        let of_label = labels.iter().enumerate().map(|(i, label)| (label.clone(), confusion.of_label(i)));
        let count = |of: Option<bool>| right.iter().filter(|right| **right == of).count();
        let accuracy = count(Some(true)) as f64 / right.len().max(1) as f64;
        let figures = Figures {
            model: function.spec().model.clone(),
            rows: right.len() as u64,
            refused: count(None) as u64,
            accuracy,
            macro_f1: confusion.macro_f1(),
            calibration_error: calibration_error(&sure),
            labels: of_label.collect(),
        };
        Ok((figures, right))
    };
    let (figures, first) = measure(&args.model)?;
    let mut report = Report { models: vec![figures], compared: None };
    if let Some(other) = &args.against {
        let (figures, second) = measure(other)?;
        report.models.push(figures);
        let (first, second) = both(&first, &second);
        report.compared = Some(compared(&first, &second));
    }
    Ok(report)
}

/// Whether each of the labels that come with the texts stands by itself.
pub fn several_may_hold(args: &Args) -> Result<bool> {
    Ok(options(args)?.get("multi_label") == Some(&Value::Bool(true)))
}

fn options(args: &Args) -> Result<Map<String, Value>> {
    Ok(serde_json::from_str(&args.options).map_err(|error| Usage(format!("--options: {error}")))?)
}

#[cfg(test)]
mod tests;
