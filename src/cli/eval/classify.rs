//! `millrace eval classify`: a classifier on labelled texts, alone or beside another.

mod asked;
mod measures;

use crate::cli::common::{self, Usage};
use crate::function::classify::several_may_hold;
use crate::function::model::Kind as Does;
use crate::inference::{Encoder, Options, Text};
use crate::lifecycle::Exit;
use crate::train::data::{Columns, Row, labels, sorted};
use crate::train::evaluate::{Evaluation, evaluate};
use crate::train::metrics::OfLabel;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Measures a classifier on labelled texts, or pairs of texts: accuracy, macro-F1, each label's precision and recall, calibration.
///
/// Where several labels may hold, a row has them as `a|b` or as a JSON list: micro-F1, macro-F1, exact match. A model that gives a number is held
/// to labels that are numbers: Pearson, Spearman, mean squared error. Labels to choose from may come with --labels, or in the rows' own field
/// `candidate_labels`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace eval classify --model models/sentiment-en --input dev.tsv --label-names negative,positive\n  millrace eval classify --model models/intent-en --input test.csv --against my-intents\n  millrace eval classify --model models/minilm-en --input dev.tsv --labels refund,delay,praise"
)]
pub struct Args {
    /// The model: a folder, a starter's name, or one of a hub that is here.
    #[arg(long)]
    model: PathBuf,
    /// Another model with the same labels, to compare with.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Labelled texts: .jsonl, .tsv or .csv with a header, also .gz. Pairs are found by the names of their columns.
    #[arg(long)]
    input: PathBuf,
    /// The column of texts, or both of pairs: A,B.
    #[arg(long)]
    text_column: Option<String>,
    #[arg(long)]
    label_column: Option<String>,
    /// The model's names of the file's labels, sorted. Default: the file has the model's names.
    #[arg(long, value_delimiter = ',')]
    label_names: Vec<String>,
    /// Labels to choose from, with commas between, for a model that embeds, infers or goes on with texts.
    #[arg(long, value_delimiter = ',', conflicts_with = "label_names")]
    labels: Vec<String>,
    /// The score from which a label holds, where several may. Default: the model's own, else 0.5.
    #[arg(long)]
    threshold: Option<f32>,
    /// Options of the function, as JSON, where several labels may hold, the model gives a number, or labels come with the texts.
    #[arg(long, default_value = "{}")]
    options: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn columns(&self) -> Columns {
        Columns { text: self.text_column.clone(), label: self.label_column.clone() }
    }
}

/// One model's figures.
#[derive(Debug, Serialize)]
struct Figures {
    model: String,
    rows: u64,
    /// Rows that the function refused; they count as wrong.
    #[serde(skip_serializing_if = "is_zero")]
    refused: u64,
    accuracy: f64,
    macro_f1: f64,
    calibration_error: f64,
    labels: BTreeMap<String, OfLabel>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Two models on the rows that both answered.
#[derive(Debug, Serialize)]
struct Compared {
    /// Rows that only the first gets right.
    only_first: u64,
    /// Rows that only the second gets right.
    only_second: u64,
    /// How likely so uneven a split is if both are equally good: exact McNemar test, both sides.
    p_value: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    models: Vec<Figures>,
    compared: Option<Compared>,
}

pub fn run(args: &Args) -> Result<Exit> {
    let asked = asked::Asked::read(args)?;
    if asked.brings_labels_to_pairs() {
        let from = if args.labels.is_empty() { "the rows' field `candidate_labels`" } else { "--labels" };
        let told = format!(
            "{from} is for single texts, and the rows have two each; name one with --text-column, or leave the labels out"
        );
        return Err(Usage(told).into());
    }
    if asked.brings_labels() && !args.label_names.is_empty() {
        return Err(Usage("--label-names is for a model's own labels; here the rows bring labels to choose from".into()).into());
    }
    if asked.brings_labels() {
        return match asked::several_may_hold(args)? {
            true => asked::run(args, &asked, asked::Kind::Chosen, &[]),
            false => told(args, &asked::chosen(args, &asked)?),
        };
    }
    let kind = |model: &Path| -> Result<(Option<asked::Kind>, Vec<String>)> {
        let found = common::model(model, false)?;
        if Does::of(&found.folder)? != Does::Encoder {
            return Err(Usage(format!("{} has no labels of its own; name some with --labels", model.display())).into());
        }
        let encoder = Encoder::open(&found.name, &found.folder, None, &Options::default())?;
        let labels = encoder.labels().map(<[String]>::to_vec).unwrap_or_default();
        let kind = match several_may_hold(&encoder) {
            true => Some(asked::Kind::Several),
            false => (labels.len() == 1).then_some(asked::Kind::Number),
        };
        Ok((kind, labels))
    };
    let (own, known) = kind(&args.model)?;
    if let Some(other) = &args.against {
        let (others, its) = kind(other)?;
        if others != own {
            return Err(Usage("the two models are of different kinds: one label, several, or a number".into()).into());
        }
        if own == Some(asked::Kind::Several) && sorted(its.clone()) != sorted(known.clone()) {
            return Err(Usage(format!("the two models have different labels: {known:?}, and {its:?} of --against")).into());
        }
    }
    if own == Some(asked::Kind::Number) && !args.label_names.is_empty() {
        return Err(Usage("--label-names is for models that give labels; this one gives a number".into()).into());
    }
    match own {
        Some(asked::Kind::Number) => asked::run(args, &asked, asked::Kind::Number, &[]),
        Some(several) => asked::run(args, &asked, several, &known),
        None if args.threshold.is_some() || args.options != "{}" => {
            Err(Usage("--threshold and --options are for models of several labels or of a number, and for --labels".into())
                .into())
        }
        None => told(args, &of_one_label(args, asked.rows())?),
    }
}

/// A model of which one label holds.
fn of_one_label(args: &Args, rows: &[Row]) -> Result<Report> {
    let texts: Vec<Text> = rows.iter().map(|row| Text { first: row.text.clone(), second: row.pair.clone() }).collect();
    let in_file = labels(rows);
    let names: BTreeMap<&str, &str> = match args.label_names.is_empty() {
        true => in_file.iter().map(|label| (label.as_str(), label.as_str())).collect(),
        false if args.label_names.len() == in_file.len() => {
            in_file.iter().map(String::as_str).zip(args.label_names.iter().map(String::as_str)).collect()
        }
        false => {
            let (given, found) = (args.label_names.len(), in_file.len());
            return Err(Usage(format!("--label-names gives {given} names for the {found} labels {in_file:?}")).into());
        }
    };
    let measure = |folder: &Path| -> Result<(Figures, Vec<usize>, Evaluation)> {
        let name = folder.file_name().map_or("model".into(), |name| name.to_string_lossy());
        let encoder = Encoder::open(&name, &common::model(folder, false)?.folder, None, &Options::default())?;
        let labels = encoder.labels().with_context(|| format!("{} has no head for labels of a text", encoder.id()))?.to_vec();
        let number = |label: &str| {
            let found = labels.iter().position(|known| known == names[label]);
            found.with_context(|| {
                format!("{} has no label {:?}; it has {labels:?}. Use --label-names", encoder.id(), names[label])
            })
        };
        let truth: Vec<usize> = rows.iter().map(|row| number(&row.label)).collect::<Result<_>>()?;
        let found = evaluate(&encoder, texts.clone(), &truth)?;
        let of_label = labels.iter().enumerate().map(|(i, label)| (label.clone(), found.confusion.of_label(i)));
        let figures = Figures {
            model: encoder.id().to_owned(),
            rows: found.confusion.total(),
            refused: 0,
            accuracy: found.confusion.accuracy(),
            macro_f1: found.confusion.macro_f1(),
            calibration_error: found.calibration_error,
            labels: of_label.collect(),
        };
        Ok((figures, truth, found))
    };
    let (figures, truth, first) = measure(&args.model)?;
    let mut report = Report { models: vec![figures], compared: None };
    if let Some(other) = &args.against {
        let (figures, other_truth, second) = measure(other)?;
        ensure!(figures.rows == report.models[0].rows, "the two were not measured on the same rows");
        let right = |found: &Evaluation, truth: &[usize]| -> Vec<bool> {
            found.answers.iter().zip(truth).map(|((label, _), truth)| label == truth).collect()
        };
        let (a, b) = (right(&first, &truth), right(&second, &other_truth));
        report.compared = Some(compared(&a, &b));
        report.models.push(figures);
    }
    Ok(report)
}

fn told(args: &Args, report: &Report) -> Result<Exit> {
    match args.json {
        true => common::print_json(report)?,
        false => print!("{report}"),
    }
    Ok(Exit::Done)
}

/// Two models, by the rows that each gets right.
fn compared(first: &[bool], second: &[bool]) -> Compared {
    let count = |want: (bool, bool)| first.iter().zip(second).filter(|(a, b)| (**a, **b) == want).count() as u64;
    let (only_first, only_second) = (count((true, false)), count((false, true)));
    Compared { only_first, only_second, p_value: mcnemar(only_first, only_second) }
}

/// The exact McNemar test: twice the tail of a fair coin thrown `a + b` times, at most 1.
fn mcnemar(a: u64, b: u64) -> f64 {
    let (throws, fewer) = (a + b, a.min(b));
    let mut log_choose = 0.0;
    let mut tail = 0.0;
    for k in 0..=fewer {
        if k > 0 {
            log_choose += ((throws - k + 1) as f64).ln() - (k as f64).ln();
        }
        tail += (log_choose - throws as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * tail).min(1.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for of in &self.models {
            let refused = if of.refused == 0 { String::new() } else { format!(", {} of them refused", of.refused) };
            writeln!(f, "{}: {} rows{refused}", of.model, of.rows)?;
            let (accuracy, macro_f1, error) = (100.0 * of.accuracy, 100.0 * of.macro_f1, 100.0 * of.calibration_error);
            writeln!(f, "  accuracy {accuracy:.2}, macro-F1 {macro_f1:.2}, calibration error {error:.2} points")?;
            for (label, of) in of.labels.iter().filter(|(_, of)| of.support > 0) {
                let OfLabel { precision, recall, f1, support } = of;
                writeln!(f, "  {label}: precision {precision:.3}, recall {recall:.3}, F1 {f1:.3}, {support} rows")?;
            }
        }
        match &self.compared {
            None => Ok(()),
            Some(Compared { only_first, only_second, p_value }) => writeln!(
                f,
                "right only by the first: {only_first}, only by the second: {only_second}; by chance alone with probability {p_value:.4}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 2 (1 + 10) / 2^10; and scipy.stats.binomtest(20, 60).pvalue.
    #[test]
    fn mcnemar_is_the_binomial_tail() {
        assert!((mcnemar(1, 9) - 22.0 / 1024.0).abs() < 1e-12);
        assert!((mcnemar(40, 20) - 0.013_489).abs() < 1e-5);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 5), 1.0);
    }
}
