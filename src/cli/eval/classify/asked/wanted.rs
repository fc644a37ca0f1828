//! What is wanted of each row: labels under the model's names, or a number.

use super::{Args, Asked, Usage};
use crate::cli::eval::text::examples::Example;
use crate::train::data::{line_of, list, sorted};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The labels of each row. `known` are those that the model may give; of none, those that come with the row.
pub fn several(args: &Args, asked: &Asked, known: &[String]) -> Result<Vec<BTreeSet<String>>> {
    let lists: Vec<Vec<String>> = asked.wanted.iter().map(|row| list(&args.input, row)).collect::<Result<_>>()?;
    let in_file = sorted(lists.concat());
    let names = names(args, &in_file)?;
    let mut all = Vec::with_capacity(lists.len());
    for ((row, event), labels) in asked.wanted.iter().zip(&asked.events).zip(lists) {
        let labels: Vec<String> = labels.into_iter().map(|label| names.get(&label).cloned().unwrap_or(label)).collect();
        if let Some(other) = labels.iter().find(|label| !known.is_empty() && !known.contains(label)) {
            let place = line_of(&args.input, row.line);
            bail!("{place}: the model has no label {other:?}; it has {known:?}. Use --label-names");
        }
        among(event, &labels)?;
        all.push(labels.into_iter().collect());
    }
    Ok(all)
}

/// The model's names of the file's labels; none where the command line gives none.
fn names(args: &Args, in_file: &[String]) -> Result<BTreeMap<String, String>> {
    let (given, found) = (args.label_names.len(), in_file.len());
    if given > 0 && given != found {
        return Err(Usage(format!("--label-names gives {given} names for the {found} labels {in_file:?}")).into());
    }
    Ok(in_file.iter().cloned().zip(args.label_names.iter().cloned()).collect())
}

/// The labels that come with a row.
pub fn candidates(row: &Example) -> Option<Vec<String>> {
    match row.event.get("candidate_labels")? {
        Value::Array(labels) => Some(labels.iter().filter_map(Value::as_str).map(|label| label.trim().to_owned()).collect()),
        Value::String(labels) => Some(labels.split(',').map(|label| label.trim().to_owned()).collect()),
        _ => None,
    }
}

/// Refuses a wanted label that a row does not let anybody choose: no model could be right.
pub fn among(row: &Example, wanted: &[String]) -> Result<()> {
    let Some(candidates) = candidates(row) else { return Ok(()) };
    match wanted.iter().find(|label| !candidates.contains(label)) {
        Some(other) => bail!("{}: the label {other:?} is none of those to choose from, {candidates:?}", row.place),
        None => Ok(()),
    }
}

/// The number of each row.
pub fn numbers(args: &Args, asked: &Asked) -> Result<Vec<f64>> {
    let one = |row: &crate::train::data::Row| {
        let number = row.label.parse().ok().filter(|number: &f64| number.is_finite());
        number.with_context(|| format!("{}: the label {:?} is no number", line_of(&args.input, row.line), row.label))
    };
    asked.wanted.iter().map(one).collect()
}
