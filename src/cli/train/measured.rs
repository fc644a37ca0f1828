//! The written folder on what it was not trained on, by the code that runs on a stream.

use super::args::Args;
use super::load::Rows;
use super::rows::{Data, asked, number};
use super::{Report, name};
use crate::function::answer::Question;
use crate::function::api;
use crate::function::tag::Sentence;
use crate::inference::{Encoder, Head, Options};
use crate::train::confusion;
use crate::train::evaluate::{ask, evaluate};
use crate::train::measure::{f1, pieces};
use crate::train::metrics::{Counts, OfLabel, SquadScore, pearson, spearman, squad};
use crate::train::numbers::correlate;
use crate::train::squad::Squad;
use crate::train::tagged;
use crate::train::task::Task;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Questions that are measured on at most: more tell little more, and take minutes.
const QUESTIONS: usize = 2_000;

/// `threshold` is the probability from which a label holds, where several may.
pub fn measured(args: &Args, task: Task, rows: &Rows, threshold: Option<f64>, report: &mut Report) -> Result<()> {
    match (rows, task) {
        (Rows::Labelled(data), Task::Labels) => of_lists(args, data, threshold.unwrap_or(0.5), report),
        (Rows::Labelled(data), Task::Score) => of_scores(args, data, report),
        (Rows::Labelled(data), _) => of_labels(&args.out, data, report),
        (Rows::Tagged { dev, .. }, _) => of_words(&args.out, dev, report),
        (Rows::Asked { dev, .. }, _) => of_answers(&args.out, dev, report),
    }
}

/// One label a text; writes the confusion matrix beside the model.
pub fn of_labels(folder: &Path, data: &Data, report: &mut Report) -> Result<()> {
    let encoder = Encoder::open(&name(folder), folder, None, &Options::default())?;
    let truth: Vec<usize> = data.dev.iter().map(|row| Ok(data.label(row)? as usize)).collect::<Result<_>>()?;
    let found = evaluate(&encoder, asked(&data.dev), &truth)?;
    let confusion = &found.confusion;
    report.say(format!(
        "dev accuracy {:.2}, macro-F1 {:.2}, calibration error {:.2} points, {} rows",
        100.0 * confusion.accuracy(),
        100.0 * confusion.macro_f1(),
        100.0 * found.calibration_error,
        confusion.total()
    ));
    for (label, name) in data.names.iter().enumerate() {
        let of = confusion.of_label(label);
        report.say(format!(
            "  {name}: precision {:.3}, recall {:.3}, F1 {:.3}, {} rows",
            of.precision, of.recall, of.f1, of.support
        ));
    }
    std::fs::write(folder.join("confusion.svg"), confusion::svg(confusion, &data.names))?;
    std::fs::write(folder.join("confusion.csv"), confusion::csv(confusion, &data.names)?)?;
    Ok(())
}

/// Any number of labels a text.
fn of_lists(args: &Args, data: &Data, threshold: f64, report: &mut Report) -> Result<()> {
    let encoder = Encoder::open(&name(&args.out), &args.out, None, &Options::default())?;
    let path = args.dev.as_ref().unwrap_or(&args.train);
    let truth: Vec<Vec<u32>> = data.dev.iter().map(|row| data.numbers(path, row)).collect::<Result<_>>()?;
    let scores = ask(&encoder, Head::Classify, asked(&data.dev))?;
    let counts = |label: usize| {
        let mut counts = Counts::default();
        for (answer, truth) in scores.iter().zip(&truth) {
            counts.take(truth.contains(&(label as u32)), f64::from(answer.values[label]) >= threshold);
        }
        counts
    };
    let all: Vec<Counts> = (0..data.names.len()).map(counts).collect();
    let (micro, of_macro, rows) = (100.0 * Counts::micro_f1(&all), 100.0 * Counts::macro_f1(&all), truth.len());
    report.say(format!("threshold {threshold:.2}: dev micro-F1 {micro:.2}, macro-F1 {of_macro:.2}, {rows} rows"));
    for (name, of) in data.names.iter().zip(&all) {
        let OfLabel { precision, recall, f1, support } = of.of_label();
        report.say(format!("  {name}: precision {precision:.3}, recall {recall:.3}, F1 {f1:.3}, {support} rows"));
    }
    Ok(())
}

/// A number a text.
fn of_scores(args: &Args, data: &Data, report: &mut Report) -> Result<()> {
    let encoder = Encoder::open(&name(&args.out), &args.out, None, &Options::default())?;
    let path = args.dev.as_ref().unwrap_or(&args.train);
    let wanted: Vec<f64> = data.dev.iter().map(|row| number(path, row)).collect::<Result<_>>()?;
    let answers = ask(&encoder, Head::Classify, asked(&data.dev))?;
    let given: Vec<f64> = answers.iter().filter_map(|answer| answer.values.first()).map(|value| f64::from(*value)).collect();
    ensure!(given.len() == wanted.len(), "the model gives no number for some texts");
    let misses = || given.iter().zip(&wanted).map(|(given, wanted)| given - wanted);
    let count = wanted.len();
    let (square, plain) = (misses().map(|miss| miss * miss).sum::<f64>(), misses().map(f64::abs).sum::<f64>());
    let errors = format!("mean squared error {:.4}, mean error {:.4}, {count} rows", square / count as f64, plain / count as f64);
    let (line, ranks) = (100.0 * pearson(&given, &wanted), 100.0 * spearman(&given, &wanted));
    report.say(match correlate(&wanted) && line.is_finite() && ranks.is_finite() {
        true => format!("dev Pearson {line:.2}, Spearman {ranks:.2}, {errors}"),
        false => format!("dev {errors}; too few numbers that differ to say how they go along"),
    });
    Ok(())
}

/// Labels of words, as pieces of the text.
fn of_words(folder: &Path, dev: &[tagged::Sentence], report: &mut Report) -> Result<()> {
    let model = folder.to_str().context("the name of the folder is no text")?;
    let tag = api::tag(model)?.option("aggregation_strategy", "first").load()?;
    let words = |sentence: &tagged::Sentence| {
        Sentence::Words(sentence.words.iter().map(|word| sentence.text[word.clone()].to_owned()).collect())
    };
    let (mut right, mut answered, mut wanted) = (0, 0, 0);
    for part in dev.chunks(256) {
        for (sentence, found) in part.iter().zip(tag.call_each(part.iter().map(words))?) {
            // The words joined by blanks: where each begins and ends, in characters.
            let mut end = 0;
            let place = |word: &std::ops::Range<usize>| {
                let start = end;
                let length = sentence.text[word.clone()].chars().count();
                end = start + length + 1;
                (start, start + length)
            };
            let places: Vec<(usize, usize)> = sentence.words.iter().map(place).collect();
            let tags: Vec<&str> = sentence.tags.iter().map(String::as_str).collect();
            let truth: Vec<(usize, usize, &str)> =
                pieces(&tags).into_iter().map(|(first, last, label)| (places[first].0, places[last].1, label)).collect();
            let found = found.map(|tags| tags.entities).unwrap_or_default();
            right += found.iter().filter(|of| truth.contains(&(of.start, of.end, of.entity.as_str()))).count();
            answered += found.len();
            wanted += truth.len();
        }
    }
    let share = |of: usize| right as f64 / of.max(1) as f64;
    report.say(format!(
        "dev F1 {:.2}, precision {:.3}, recall {:.3}, {wanted} pieces in {} texts",
        100.0 * f1(right, answered, wanted),
        share(answered),
        share(wanted),
        dev.len()
    ));
    Ok(())
}

/// Answers to questions.
fn of_answers(folder: &Path, dev: &Squad, report: &mut Report) -> Result<()> {
    let model = folder.to_str().context("the name of the folder is no text")?;
    let some = dev.sample(QUESTIONS);
    let impossible = some.asked.iter().any(|asked| asked.answers.is_empty());
    let answer = api::answer(model)?.option("handle_impossible_answer", impossible).load()?;
    let (mut exact, mut sum) = (0, 0.0);
    for part in some.asked.chunks(256) {
        let questions = part.iter().map(|asked| Question::from((&asked.question, &some.contexts[asked.context].text)));
        for (asked, found) in part.iter().zip(answer.call_each(questions)?) {
            let found = found.ok().and_then(|found| found.answers.into_iter().next());
            let given: Vec<&str> = asked.answers.iter().map(|given| given.text.as_str()).collect();
            let SquadScore { exact: is_exact, f1 } = squad(&found.map(|found| found.answer).unwrap_or_default(), &given);
            exact += usize::from(is_exact);
            sum += f1;
        }
    }
    let count = some.asked.len();
    let of = if count < dev.asked.len() { format!(" of {}", dev.asked.len()) } else { String::new() };
    let (exact, f1) = (100.0 * exact as f64 / count as f64, 100.0 * sum / count as f64);
    report.say(format!("dev exact match {exact:.2}, F1 {f1:.2}, {count}{of} questions"));
    Ok(())
}
