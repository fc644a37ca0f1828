//! Labelled texts to train on and to measure on.

use super::Report;
use super::args::Args;
use super::parted::{Key, Parts, by_label, parted};
use super::taught::unlabelled;
use crate::cli::common::Usage;
use crate::inference::Text;
use crate::train::data::{Columns, Row, Taken, labels, line_of, list, read, sorted};
use crate::train::duplicates::Duplicates;
use crate::train::numbers::correlate;
use crate::train::scale::Scale;
use crate::train::split;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashSet;
use std::path::Path;

/// Rows, and the labels that they have.
pub struct Data {
    pub train: Vec<Row>,
    pub dev: Vec<Row>,
    /// Texts that a teacher alone speaks about.
    pub unlabelled: Vec<String>,
    /// Labels as they stand in the files, sorted.
    pub found: Vec<String>,
    /// What they are called in the model.
    pub names: Vec<String>,
    /// Of numbers in place of labels.
    pub scale: Option<Scale>,
}

impl Data {
    /// Rows with one label each.
    pub fn read(args: &Args, report: &mut Report) -> Result<Self> {
        let (train, dev) = both(args, report, |rows, key| by_label(rows, key, |row| Ok(vec![row.label.clone()])))?;
        let found = labels(&train);
        ensure!(found.len() > 1, "the training file has one label only: {found:?}");
        let data = Self { names: names(args, &found)?, train, dev, unlabelled: unlabelled(args)?, found, scale: None };
        if let Some(row) = data.dev.iter().find(|row| !data.found.contains(&row.label)) {
            let place = line_of(args.dev.as_ref().unwrap_or(&args.train), row.line);
            bail!("{place}: label {:?} of the rows to measure on is not in the training file", row.label);
        }
        for (label, name) in data.found.iter().zip(&data.names) {
            let count = |rows: &[Row]| rows.iter().filter(|row| row.label == *label).count();
            report.say(of_label(label, name, count(&data.train), count(&data.dev)));
        }
        data.repeated(report, |row| row.label.clone());
        Ok(data)
    }

    /// Rows with any number of labels.
    pub fn read_lists(args: &Args, report: &mut Report) -> Result<Self> {
        let (train, dev) = both(args, report, |rows, key| by_label(rows, key, |row| list(&args.train, row)))?;
        let mut all = Vec::new();
        for row in &train {
            all.extend(list(&args.train, row)?);
        }
        let found = sorted(all);
        ensure!(!found.is_empty(), "no row of the training file has a label");
        ensure!(
            found.len() > 1,
            "the training file has one label only, {:?}: there must be another one to tell it from. Write a second label, such as \"other\", \
             where it does not hold, and take --task label",
            found[0]
        );
        let data = Self { names: names(args, &found)?, train, dev, unlabelled: unlabelled(args)?, found, scale: None };
        let (mut trained, mut measured) = (vec![0; data.found.len()], vec![0; data.found.len()]);
        for (rows, path, counts) in
            [(&data.train, &args.train, &mut trained), (&data.dev, args.dev.as_ref().unwrap_or(&args.train), &mut measured)]
        {
            for row in rows {
                data.numbers(path, row)?.into_iter().for_each(|label| counts[label as usize] += 1);
            }
        }
        for (i, (label, name)) in data.found.iter().zip(&data.names).enumerate() {
            report.say(of_label(label, name, trained[i], measured[i]));
        }
        data.repeated(report, |row| list(&args.train, row).ok());
        Ok(data)
    }

    /// The number of a row, as it is learnt.
    pub fn score(&self, path: &Path, row: &Row) -> Result<f32> {
        let scale = self.scale.context("the rows have labels, not numbers")?;
        Ok(scale.inward(number(path, row)?))
    }

    /// The number of a row's label.
    pub fn label(&self, row: &Row) -> Result<u32> {
        let found = self.found.iter().position(|label| *label == row.label);
        let unknown = || format!("line {}: label {:?} is not in the training file", row.line, row.label);
        found.map(|number| number as u32).with_context(unknown)
    }

    /// The numbers of a row's labels.
    pub fn numbers(&self, path: &Path, row: &Row) -> Result<Vec<u32>> {
        let number = |label: String| {
            let found = self.found.iter().position(|known| *known == label);
            let unknown = || format!("{}: label {label:?} is not in the training file", line_of(path, row.line));
            found.map(|number| number as u32).with_context(unknown)
        };
        list(path, row)?.into_iter().map(number).collect()
    }

    /// Rows with a number each.
    pub fn read_scores(args: &Args, report: &mut Report) -> Result<Self> {
        let part = |rows: Vec<Row>, key: Key| Ok(rows.into_iter().partition(|row| !split::is_measured(&key(row), 0.1)));
        let (train, dev) = both(args, report, part)?;
        let values: Vec<f64> = train.iter().map(|row| number(&args.train, row)).collect::<Result<_>>()?;
        let dev_path = args.dev.as_ref().unwrap_or(&args.train);
        let wanted: Vec<f64> = dev.iter().map(|row| number(dev_path, row)).collect::<Result<_>>()?;
        let scale = Scale::of(&values)?;
        let names = if args.label_names.is_empty() { vec!["score".to_owned()] } else { args.label_names.clone() };
        ensure!(names.len() == 1, "--label-names gives {} names for the one number of a row", names.len());
        let (least, most) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        report.say(format!(
            "numbers from {least} to {most}, mean {:.4}, deviation {:.4}: {} rows to train on, {} to measure on",
            scale.mean,
            scale.deviation,
            train.len(),
            dev.len()
        ));
        tell(args, &wanted[..wanted.len().min(args.dev_rows.unwrap_or(usize::MAX))], report)?;
        let data = Self { train, dev, unlabelled: Vec::new(), found: Vec::new(), names, scale: Some(scale) };
        data.repeated(report, |row| number(&args.train, row).ok());
        Ok(data)
    }

    /// Whether rows have two texts.
    pub fn is_paired(&self) -> bool {
        self.train.first().is_some_and(|row| row.pair.is_some())
    }

    /// An error where rows have two texts, for what learns from one.
    pub fn single(&self, what: &str) -> Result<(), Usage> {
        match self.is_paired() {
            true => Err(Usage(format!(
                "the rows have two texts each, and {what} learns from one; use --recipe full, or name one with --text-column"
            ))),
            false => Ok(()),
        }
    }

    /// Rows of each label to train on.
    pub fn counts(&self) -> Vec<usize> {
        let of = |label: &String| self.train.iter().filter(|row| row.label == *label).count();
        self.found.iter().map(of).collect()
    }

    /// What stands twice in the files; `learnt` is what a row's label says.
    fn repeated<T: PartialEq>(&self, report: &mut Report, learnt: impl Fn(&Row) -> T) {
        let seen: HashSet<_> = self.dev.iter().map(Row::key).collect();
        let shared = self.train.iter().filter(|row| seen.contains(&row.key())).count();
        report.say(format!("texts in both files: {shared} training rows"));
        report.say(Duplicates::of(&self.train, learnt).said());
    }
}

/// The texts of rows, as models are asked about them.
pub fn asked(rows: &[Row]) -> Vec<Text> {
    rows.iter().map(|row| Text { first: row.text.clone(), second: row.pair.clone() }).collect()
}

/// The number of a row.
pub fn number(path: &Path, row: &Row) -> Result<f64> {
    let number = row.label.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .with_context(|| format!("{}: the label {:?} is no number, which --task score needs", line_of(path, row.line), row.label))
}

/// Says, or demands, what a run needs whose numbers to measure on tell nothing: `wanted` are those.
fn tell(args: &Args, wanted: &[f64], report: &mut Report) -> Result<()> {
    if correlate(wanted) {
        return Ok(());
    }
    let what = format!("{} rows to measure on, whose numbers are too few or do not differ", wanted.len());
    match &args.dev {
        Some(dev) => bail!("{}: {what}; name a file with --dev that has 3 rows or more, and numbers that differ", dev.display()),
        None => {
            report.say(format!(
                "{what}: the best weights are those of the least squared error, in hundredths of the variance of all; --dev names other rows"
            ));
            Ok(())
        }
    }
}

/// The rows of a file, and their columns; none of its texts is empty.
fn filled(path: &Path, columns: &Columns) -> Result<(Vec<Row>, Taken)> {
    let (rows, taken) = read(path, columns)?;
    let empty = |text: &String| text.is_empty();
    for row in &rows {
        let place = || line_of(path, row.line);
        match (row.text.is_empty(), row.pair.as_ref().is_some_and(empty), &taken.pair) {
            (false, false, _) => {}
            (true, _, None) => bail!("{}: the text is empty", place()),
            (first, _, pair) => {
                let second = pair.as_deref().unwrap_or_default();
                let (none, other) = if first { (taken.text.as_str(), second) } else { (second, taken.text.as_str()) };
                bail!("{}: of two texts {none} is empty; fill it, or name one with --text-column {other}", place());
            }
        }
    }
    Ok((rows, taken))
}

/// Rows to train on and to measure on; `part` takes the latter from the training file where there is no other.
fn both(args: &Args, report: &mut Report, part: impl Fn(Vec<Row>, Key) -> Result<Parts>) -> Result<Parts> {
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let (mut train, taken) = filled(&args.train, &columns)?;
    report.say(taken.said());
    train.truncate(args.max_rows.unwrap_or(usize::MAX));
    let (train, dev) = match &args.dev {
        Some(path) => {
            let (dev, of_dev) = filled(path, &columns)?;
            if !of_dev.is_as(&taken) {
                report.say(format!("to measure on: {}", of_dev.said()));
            }
            (train, dev)
        }
        None => parted(train, part, report)?,
    };
    ensure!(!dev.is_empty(), "there is nothing to measure on; name a file with --dev");
    ensure!(!train.is_empty(), "there is nothing to train on; name a file with --dev");
    let paired = |rows: &[Row]| rows.first().is_some_and(|row| row.pair.is_some());
    let counts = |paired: bool| if paired { "two texts" } else { "one text" };
    let (learnt, measured) = (paired(&train), paired(&dev));
    ensure!(learnt == measured, "rows to train on have {}, rows to measure on {}", counts(learnt), counts(measured));
    Ok((train, dev))
}

/// What the labels are called in the model.
fn names(args: &Args, found: &[String]) -> Result<Vec<String>> {
    let names = if args.label_names.is_empty() { found.to_vec() } else { args.label_names.clone() };
    let counts = (names.len(), found.len());
    ensure!(counts.0 == counts.1, "--label-names gives {} names for the {} labels {found:?}", counts.0, counts.1);
    let unique: HashSet<&str> = names.iter().map(|name| name.trim()).collect();
    ensure!(unique.len() == names.len() && !unique.contains(""), "two labels have the same name, or one has none: {names:?}");
    Ok(names)
}

fn of_label(label: &str, name: &str, trained: usize, measured: usize) -> String {
    let named = if label == name { label.to_owned() } else { format!("{label} ({name})") };
    format!("label {named}: {trained} rows to train on, {measured} to measure on")
}

#[cfg(test)]
mod tests;
