//! Models that are asked through the function `classify` itself: those of several labels a text or of a number, and labels that come with the
//! question.

use super::measures::{ScoreFigures, Several, SeveralFigures};
use super::{Args, Figures, Report, compared};
use crate::cli::common::{self, Usage};
use crate::cli::eval::text::examples::Example;
use crate::cli::eval::text::paired::Paired;
use crate::cli::eval::text::{answers, examples};
use crate::cli::opened;
use crate::function::Function;
use crate::lifecycle::Exit;
use crate::train::data::{Columns, Row, line_of, list, rows, sorted};
use crate::train::metrics::{Confusion, calibration_error};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
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
        let wanted = rows(&args.input, &Columns { text: args.text_column.clone(), label: args.label_column.clone() })?;
        let brought = brought(args, wanted.len())?;
        let event = |(number, row): (usize, &Row)| {
            let mut event = json!({ "text": row.text });
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

    /// Whether the labels to choose from come with the texts.
    pub fn brings_labels(&self) -> bool {
        self.events.iter().any(|row| row.event.get("candidate_labels").is_some())
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

/// What an answer was worth, row by row, and in figures.
struct Measured {
    report: One,
    worth: Vec<f64>,
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
    let refused = outputs.iter().filter(|output| output.get("rejected").is_some()).count();
    let (figures, worth) = match kind {
        Kind::Number => numbers(args, asked, &outputs)?,
        Kind::Several | Kind::Chosen => several(args, asked, &outputs, known)?,
    };
    Ok(Measured { report: One { model: function.spec().model.clone(), rows: outputs.len(), refused, figures }, worth })
}

fn several(args: &Args, asked: &Asked, outputs: &[Value], known: &[String]) -> Result<(Of, Vec<f64>)> {
    let mut all = Several::of(known);
    let mut worth = Vec::with_capacity(outputs.len());
    for (row, output) in asked.wanted.iter().zip(outputs) {
        let wanted: BTreeSet<String> = list(&args.input, row)?.into_iter().collect();
        if let Some(other) = wanted.iter().find(|label| !known.is_empty() && !known.contains(label)) {
            bail!("{}: the model has no label {other:?}; it has {known:?}", line_of(&args.input, row.line));
        }
        let labels = output["labels"].as_array().into_iter().flatten();
        let given = labels.filter_map(|label| label["label"].as_str().map(str::to_owned)).collect();
        // A refusal gives no labels, and is not right where none are wanted.
        let is_refused = output.get("rejected").is_some();
        let own = all.take(&wanted, &given);
        worth.push(if is_refused { 0.0 } else { own });
    }
    Ok((Of::Several(all.figures()), worth))
}

fn numbers(args: &Args, asked: &Asked, outputs: &[Value]) -> Result<(Of, Vec<f64>)> {
    let (mut wanted, mut given, mut worth) = (Vec::new(), Vec::new(), Vec::with_capacity(outputs.len()));
    for (row, output) in asked.wanted.iter().zip(outputs) {
        let at = || format!("{}: the label {:?} is no number", line_of(&args.input, row.line), row.label);
        let number: f64 = row.label.parse().with_context(at)?;
        if let Some(score) = output["score"].as_f64() {
            wanted.push(number);
            given.push(score);
        }
        // In points of the figures' own scale, so that a difference of means is one of mean squared errors.
        worth.push(-output["score"].as_f64().map_or(number * number, |score| (score - number).powi(2)) / 100.0);
    }
    Ok((Of::Number(ScoreFigures::of(&wanted, &given)), worth))
}

/// Measures models of several labels, or of a number, whose labels are `known`.
pub fn run(args: &Args, asked: &Asked, kind: Kind, known: &[String]) -> Result<Exit> {
    let first = measured(args, asked, &args.model, kind, known)?;
    let mut told = Told { models: vec![first.report], compared: None };
    if let Some(other) = &args.against {
        let second = measured(args, asked, other, kind, known)?;
        let worth = if kind == Kind::Number { "squared error of a row, less of it" } else { "F1 of a row's labels" };
        told.compared = Some(Paired::of(worth, &first.worth, &second.worth));
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
    let candidates = asked.events.iter().filter_map(|row| row.event.get("candidate_labels"));
    let each = candidates.flat_map(|labels| match labels {
        Value::Array(labels) => labels.iter().filter_map(Value::as_str).map(|label| label.trim().to_owned()).collect(),
        Value::String(labels) => labels.split(',').map(|label| label.trim().to_owned()).collect(),
        _ => Vec::new(),
    });
    let labels = sorted(each.chain(asked.wanted.iter().map(|row| row.label.clone())).collect());
    let number = |label: &str| labels.iter().position(|known| known == label);
    let measure = |model: &Path| -> Result<(Figures, Vec<bool>)> {
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
            right.push(is_right);
        }
        let of_label = labels.iter().enumerate().map(|(i, label)| (label.clone(), confusion.of_label(i)));
        let accuracy = right.iter().filter(|right| **right).count() as f64 / right.len().max(1) as f64;
        let figures = Figures {
            model: function.spec().model.clone(),
            rows: right.len() as u64,
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
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::PathBuf;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(model: &str, input: &Path, more: &[&str]) -> Args {
        let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name);
        let (model, input) = (folder(model).display().to_string(), input.display().to_string());
        Line::parse_from([&["x", "--model", &model, "--input", &input], more].concat()).args
    }

    fn told(path: &Path, rows: &[Value]) -> PathBuf {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(path, lines.join("\n")).unwrap();
        path.to_owned()
    }

    const TEXTS: [&str; 5] = ["good film", "the film was bad", "Anna lives in Paris", "so a river", "good good bad"];

    /// What the model itself says is right; the last row is not.
    fn rows(args: &Args, label: impl Fn(&Value) -> Value, wrong: Value) -> Vec<Value> {
        let function = open(args, &args.model, Kind::Several).unwrap();
        let events: Vec<Example> = TEXTS
            .iter()
            .map(|text| Example { event: json!({ "text": text }), wanted: Value::Null, place: String::new() })
            .collect();
        let outputs = answers(&*function, 0, &events).unwrap();
        let mut rows: Vec<Value> =
            TEXTS.iter().zip(&outputs).map(|(text, output)| json!({ "text": text, "label": label(output) })).collect();
        rows[4]["label"] = wrong;
        rows
    }

    /// Would catch: labels above another threshold than is asked for, a number that is rounded to a label, a row that counts for another.
    #[tokio::test(flavor = "multi_thread")]
    async fn several_labels_and_numbers_are_measured() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        tokio::task::block_in_place(|| {
            let own = args("many", &path, &["--threshold", "0.4"]);
            let names = |output: &Value| -> Value {
                output["labels"].as_array().unwrap().iter().map(|label| label["label"].clone()).collect()
            };
            told(&path, &rows(&own, names, json!([])));
            let asked = Asked::read(&own).unwrap();
            assert!(!asked.brings_labels());
            let found = measured(&own, &asked, &own.model, Kind::Several, &[]).unwrap();
            let Of::Several(figures) = &found.report.figures else { panic!("{:?}", found.report) };
            assert!((figures.exact_match - 0.8).abs() < 1e-9 && figures.micro_f1 > 0.5, "{figures:?}");
            assert_eq!(found.worth[..4], [1.0; 4]);
            let unknown = measured(&own, &asked, &own.model, Kind::Several, &["other".to_owned()]).err().unwrap().to_string();
            assert!(unknown.contains("a.jsonl line") && unknown.contains("no label"), "{unknown}");

            let own = args("regression", &path, &[]);
            let mut given = rows(&own, |output| output["score"].clone(), json!(0));
            given[4]["label"] = json!(given[3]["label"].as_f64().unwrap() + 10.0);
            told(&path, &given);
            let asked = Asked::read(&own).unwrap();
            let found = measured(&own, &asked, &own.model, Kind::Number, &[]).unwrap();
            let Of::Number(figures) = &found.report.figures else { panic!("{:?}", found.report) };
            assert!(found.worth[..4].iter().all(|worth| worth.abs() < 1e-9) && figures.mse > 10.0, "{figures:?}");
            told(&path, &[json!({ "text": "a", "label": "good" })]);
            let asked = Asked::read(&own).unwrap();
            let error = measured(&own, &asked, &own.model, Kind::Number, &[]).err().unwrap().to_string();
            assert!(error.contains("is no number"), "{error}");
        });
    }

    /// Would catch: labels of the rows that are passed over, a comparison of other rows.
    #[tokio::test(flavor = "multi_thread")]
    async fn labels_may_come_with_the_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        tokio::task::block_in_place(|| {
            let own = args("nli", &path, &["--labels", "sport,food", "--against", "none"]);
            let function = open(&own, &own.model, Kind::Chosen).unwrap();
            let event = |text: &&str| Example {
                event: json!({ "text": text, "candidate_labels": ["sport", "food"] }),
                wanted: Value::Null,
                place: String::new(),
            };
            let outputs = answers(&*function, 0, &TEXTS.iter().map(event).collect::<Vec<_>>()).unwrap();
            let mut rows: Vec<Value> =
                TEXTS.iter().zip(&outputs).map(|(text, of)| json!({ "text": text, "label": of["label"] })).collect();
            let other = if outputs[0]["label"] == "food" { "sport" } else { "food" };
            rows[0]["label"] = other.into();
            told(&path, &rows);
            let one = Args { against: None, ..own };
            let report = chosen(&one, &Asked::read(&one).unwrap()).unwrap();
            assert!((report.models[0].accuracy - 0.8).abs() < 1e-9 && report.models[0].rows == 5, "{report}");
            // The same labels in the rows.
            rows.iter_mut().for_each(|row| row["candidate_labels"] = json!("sport, food"));
            told(&path, &rows);
            let two = Args { labels: Vec::new(), against: Some(one.model.clone()), ..one };
            let asked = Asked::read(&two).unwrap();
            assert!(asked.brings_labels());
            let report = chosen(&two, &asked).unwrap();
            assert!((report.models[0].accuracy - 0.8).abs() < 1e-9, "{report}");
            assert_eq!(report.compared.unwrap().p_value, 1.0);
            let many = Args { options: "{\"multi_label\": true, \"threshold\": 0.0}".into(), against: None, ..two };
            assert!(several_may_hold(&many).unwrap());
            let found = measured(&many, &asked, &many.model, Kind::Chosen, &[]).unwrap();
            let Of::Several(figures) = found.report.figures else { panic!("{:?}", found.report) };
            assert!(figures.exact_match == 0.0 && (figures.micro_f1 - 2.0 / 3.0).abs() < 1e-9, "{figures:?}");
        });
    }
}
