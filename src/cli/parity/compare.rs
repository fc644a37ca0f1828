//! A reference table, and how the features that were made differ from it.

use super::input;
use crate::cli::common::Usage;
use crate::config::nearest;
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// Rows by id, columns by the name of the feature.
pub struct Reference {
    places: HashMap<Box<str>, usize>,
    /// Name, and place among the features.
    columns: Vec<(String, usize)>,
    /// Row after row; NaN is "no value".
    values: Vec<f64>,
    seen: Vec<bool>,
    /// Columns that are no feature, with what may have been meant.
    pub unknown: Vec<String>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    pub id: Box<str>,
    pub columns: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    pub name: String,
    /// `null` is "no value".
    pub ours: Option<f64>,
    pub reference: Option<f64>,
}

impl Reference {
    pub fn read(path: &Path, id: &str, features: &[Box<str>]) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input::open(path, &ProgressBar::hidden())?);
        let header = reader.headers().with_context(|| format!("{} has no header", path.display()))?.clone();
        let place = path.display();
        let Some(id_column) = header.iter().position(|name| name == id) else {
            return Err(Usage(format!("{place} has no column {id:?}, by which rows are found; [risk] file.id names it")).into());
        };
        let mut reference = Self { places: HashMap::new(), columns: vec![], values: vec![], seen: vec![], unknown: vec![] };
        let mut taken = Vec::new();
        for (column, name) in header.iter().enumerate().filter(|(column, _)| *column != id_column) {
            match features.iter().position(|feature| **feature == *name) {
                Some(feature) => {
                    reference.columns.push((name.into(), feature));
                    taken.push(column);
                }
                None => {
                    let near = nearest(name, features.iter().map(|feature| &**feature));
                    reference.unknown.push(near.map_or(name.into(), |near| format!("{name} (did you mean {near:?}?)")));
                }
            }
        }
        if taken.is_empty() {
            let unknown = reference.unknown.join(", ");
            return Err(Usage(format!("{place}: no column is a feature of the config; it has {unknown}")).into());
        }
        for (row, record) in reader.records().enumerate() {
            let record = record.with_context(|| format!("{place} row {}", row + 1))?;
            for column in &taken {
                let text = record.get(*column).unwrap_or_default();
                let number = if text.is_empty() { Ok(f64::NAN) } else { text.parse() };
                reference.values.push(number.with_context(|| {
                    format!("{place} row {}, column {}: not a number", row + 1, header.get(*column).unwrap_or_default())
                })?);
            }
            let id = record.get(id_column).unwrap_or_default();
            if reference.places.insert(id.into(), row).is_some() {
                return Err(Usage(format!("{place} row {}: id {id:?} is there twice", row + 1)).into());
            }
            reference.seen.push(false);
        }
        Ok(reference)
    }

    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    pub fn rows(&self) -> usize {
        self.seen.len()
    }

    /// Rows that no event had.
    pub fn missing(&self) -> usize {
        self.seen.iter().filter(|seen| !**seen).count()
    }

    /// How an event's features differ from its row. Rows are compared once; `None` when equal, or when there is no such row.
    pub fn compare(&mut self, id: &str, numbers: &[f64], tolerance: f64) -> Option<Difference> {
        let row = *self.places.get(id)?;
        if std::mem::replace(&mut self.seen[row], true) {
            return None;
        }
        let values = &self.values[row * self.columns.len()..][..self.columns.len()];
        let cells = self.columns.iter().zip(values).filter_map(|((name, feature), reference)| {
            let ours = numbers.get(*feature).copied().unwrap_or(f64::NAN);
            let value = |number: f64| (!number.is_nan()).then_some(number);
            (!equal(ours, *reference, tolerance)).then(|| Cell {
                name: name.clone(),
                ours: value(ours),
                reference: value(*reference),
            })
        });
        let columns: Vec<Cell> = cells.collect();
        (!columns.is_empty()).then(|| Difference { id: id.into(), columns })
    }
}

/// Within the tolerance, of one below 1 and of the reference above.
fn equal(ours: f64, reference: f64, tolerance: f64) -> bool {
    (ours.is_nan() && reference.is_nan()) || (ours - reference).abs() <= tolerance * reference.abs().max(1.0)
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |number: Option<f64>| number.map_or("no value".into(), |number| number.to_string());
        write!(f, "{}:", self.id)?;
        for cell in &self.columns {
            write!(f, " {} is {}, not {};", cell.name, text(cell.ours), text(cell.reference))?;
        }
        Ok(())
    }
}
