//! Labelled texts to train on and to measure on.

use super::Report;
use super::args::Args;
use super::taught::unlabelled;
use crate::train::data::{Columns, Row, labels, line_of, list, rows, sorted};
use crate::train::split;
use anyhow::{Context, Result, ensure};
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
}

impl Data {
    /// Rows with one label each.
    pub fn read(args: &Args, report: &mut Report) -> Result<Self> {
        let (train, dev) = both(args, |row| Ok(vec![row.label.clone()]))?;
        let found = labels(&train);
        ensure!(found.len() > 1, "the training file has one label only: {found:?}");
        let data = Self { names: names(args, &found)?, train, dev, unlabelled: unlabelled(args)?, found };
        if let Some(row) = data.dev.iter().find(|row| !data.found.contains(&row.label)) {
            let place = line_of(args.dev.as_ref().unwrap_or(&args.train), row.line);
            anyhow::bail!("{place}: label {:?} of the rows to measure on is not in the training file", row.label);
        }
        for (label, name) in data.found.iter().zip(&data.names) {
            let count = |rows: &[Row]| rows.iter().filter(|row| row.label == *label).count();
            report.say(of_label(label, name, count(&data.train), count(&data.dev)));
        }
        data.leaks(report);
        Ok(data)
    }

    /// Rows with any number of labels.
    pub fn read_lists(args: &Args, report: &mut Report) -> Result<Self> {
        let (train, dev) = both(args, |row| list(&args.train, row))?;
        let mut all = Vec::new();
        for row in &train {
            all.extend(list(&args.train, row)?);
        }
        let found = sorted(all);
        ensure!(!found.is_empty(), "no row of the training file has a label");
        let data = Self { names: names(args, &found)?, train, dev, unlabelled: unlabelled(args)?, found };
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
        data.leaks(report);
        Ok(data)
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

    fn leaks(&self, report: &mut Report) {
        let seen: HashSet<&str> = self.dev.iter().map(|row| row.text.as_str()).collect();
        let shared = self.train.iter().filter(|row| seen.contains(row.text.as_str())).count();
        report.say(format!("texts in both files: {shared} training rows"));
    }
}

/// Rows to train on and to measure on; `labels` are those of a row of the training file.
fn both(args: &Args, labels: impl Fn(&Row) -> Result<Vec<String>>) -> Result<(Vec<Row>, Vec<Row>)> {
    let columns = Columns { text: args.text_column.clone(), label: args.label_column.clone() };
    let read = |path: &Path| -> Result<Vec<Row>> {
        let rows = rows(path, &columns)?;
        let empty = rows.iter().find(|row| row.text.is_empty());
        ensure!(empty.is_none(), "{}: the text is empty", line_of(path, empty.map_or(0, |row| row.line)));
        Ok(rows)
    };
    let mut train = read(&args.train)?;
    train.truncate(args.max_rows.unwrap_or(usize::MAX));
    let (train, dev) = match &args.dev {
        Some(dev) => (train, read(dev)?),
        None => {
            let (mut train, dev) = split::by_text(train, 0.1);
            let dev = split::learnable(&mut train, dev, |row| &row.text, labels)?;
            (train, dev)
        }
    };
    ensure!(!dev.is_empty(), "there is nothing to measure on; name a file with --dev");
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
