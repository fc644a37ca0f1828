//! What a training file is for, where nobody says so.

use super::Report;
use super::args::{Args, Recipe};
use crate::cli::common::Usage;
use crate::train::data::{Columns, is_list, line_of, open, rows};
use crate::train::task::Task;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};

/// The task, with a line that tells why where it was guessed.
pub fn task(args: &Args, report: &mut Report) -> Result<Task> {
    if args.recipe != Recipe::Full {
        return match args.task {
            None | Some(Task::Label) => Ok(Task::Label),
            Some(task) => Err(Usage(format!("--task {} needs --recipe full", task.name())).into()),
        };
    }
    if let Some(task) = args.task {
        return Ok(task);
    }
    let (task, why) = guess(args)?;
    report.say(format!("task {}, since {why}; --task says otherwise", task.name()));
    Ok(task)
}

/// What the training file holds, and why.
pub fn guess(args: &Args) -> Result<(Task, String)> {
    let (reader, name) = open(&args.train)?;
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "json" => Ok((Task::Answer, "the training file is JSON".to_owned())),
        "jsonl" => {
            let filled = |line: &(usize, std::io::Result<String>)| !matches!(&line.1, Ok(line) if line.trim().is_empty());
            let first = BufReader::new(reader).lines().enumerate().find(filled);
            let (number, first) = first.with_context(|| format!("{} has no rows", args.train.display()))?;
            let place = || line_of(&args.train, number + 1);
            let keys: Map<String, Value> =
                serde_json::from_str(&first.with_context(place)?).with_context(|| format!("{}: not a JSON object", place()))?;
            match () {
                () if keys.contains_key("question") && keys.contains_key("context") => {
                    Ok((Task::Answer, "its rows have a question and a context".to_owned()))
                }
                () if keys.contains_key("spans") || keys.contains_key("entities") => {
                    Ok((Task::Tag, "its rows have spans".to_owned()))
                }
                () => of_rows(args),
            }
        }
        "tsv" | "csv" => of_rows(args),
        "conll" | "bio" | "iob" | "iob2" | "txt" => Ok((Task::Tag, "the training file is one of words".to_owned())),
        _ => bail!("{}: say with --task what is in it: label, labels, score, tag or answer", args.train.display()),
    }
}

fn of_rows(args: &Args) -> Result<(Task, String)> {
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let rows = rows(&args.train, &columns)?;
    let what = if rows.first().is_some_and(|row| row.pair.is_some()) { "each pair of texts" } else { "each row" };
    if let Some(row) = rows.iter().find(|row| is_list(&row.label)) {
        return Ok((Task::Labels, format!("a row has the labels {}", row.label)));
    }
    let numbers: Option<Vec<f64>> =
        rows.iter().map(|row| row.label.parse::<f64>().ok().filter(|number| number.is_finite())).collect();
    // Whole numbers are names of labels more often than amounts.
    if let Some(number) = numbers.into_iter().flatten().find(|number| number.fract() != 0.0) {
        return Ok((Task::Score, format!("{what} has a number, such as {number}")));
    }
    Ok((Task::Label, format!("{what} has one label")))
}
