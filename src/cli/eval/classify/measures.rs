//! What answers are worth where a text has several labels, or a number.

use crate::train::metrics::{Counts, OfLabel, pearson, spearman};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Several labels a text, counted row by row.
#[derive(Debug)]
pub struct Several {
    counts: BTreeMap<String, Counts>,
    exact: u64,
    rows: u64,
}

/// Its figures, between 0 and 1.
#[derive(Debug, Serialize)]
pub struct SeveralFigures {
    /// Over all labels and rows together.
    pub micro_f1: f64,
    /// The mean of the labels' F1, over all labels.
    pub macro_f1: f64,
    /// Rows whose labels are all right, and no others.
    pub exact_match: f64,
    pub labels: BTreeMap<String, OfLabel>,
}

impl Several {
    /// Of labels that may come; others are counted as they do.
    pub fn of<'l>(labels: impl IntoIterator<Item = &'l String>) -> Self {
        let counts = labels.into_iter().map(|label| (label.clone(), Counts::default())).collect();
        Self { counts, exact: 0, rows: 0 }
    }

    /// Takes the labels that a row has and those that it was given, `None` where it was refused: that is right of no row, also of one
    /// without labels. Its worth is their F1; 1 where there are none of either.
    pub fn take(&mut self, wanted: &BTreeSet<String>, given: Option<&BTreeSet<String>>) -> Option<f64> {
        self.rows += 1;
        self.exact += u64::from(given == Some(wanted));
        let (is_refused, none) = (given.is_none(), BTreeSet::new());
        let given = given.unwrap_or(&none);
        for label in wanted.union(given) {
            let count = self.counts.entry(label.clone()).or_default();
            count.take(wanted.contains(label), given.contains(label));
        }
        let right = wanted.intersection(given).count() as u64;
        match (wanted.len(), given.len()) {
            _ if is_refused => None,
            (0, 0) => Some(1.0),
            (wanted, given) => Some(Counts { right, given: given as u64, wanted: wanted as u64 }.f1()),
        }
    }

    pub fn figures(&self) -> SeveralFigures {
        let all: Vec<Counts> = self.counts.values().copied().collect();
        SeveralFigures {
            micro_f1: Counts::micro_f1(&all),
            macro_f1: Counts::macro_f1(&all),
            exact_match: self.exact as f64 / self.rows.max(1) as f64,
            labels: self.counts.iter().map(|(label, one)| (label.clone(), one.of_label())).collect(),
        }
    }
}

impl fmt::Display for SeveralFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (micro, of_macro, exact) = (100.0 * self.micro_f1, 100.0 * self.macro_f1, 100.0 * self.exact_match);
        writeln!(f, "  micro-F1 {micro:.2}, macro-F1 {of_macro:.2}, exact match {exact:.2}")?;
        for (label, of) in self.labels.iter().filter(|(_, of)| of.support > 0) {
            let OfLabel { precision, recall, f1, support } = of;
            writeln!(f, "  {label}: precision {precision:.3}, recall {recall:.3}, F1 {f1:.3}, {support} rows")?;
        }
        Ok(())
    }
}

/// Figures of numbers against those that are wanted.
#[derive(Debug, Serialize)]
pub struct ScoreFigures {
    /// Linear correlation; null where one of the two does not vary.
    pub pearson: f64,
    /// Rank correlation, likewise.
    pub spearman: f64,
    /// Mean of the squared differences.
    pub mse: f64,
}

impl ScoreFigures {
    pub fn of(wanted: &[f64], given: &[f64]) -> Self {
        let squares: f64 = wanted.iter().zip(given).map(|(a, b)| (a - b).powi(2)).sum();
        Self { pearson: pearson(wanted, given), spearman: spearman(wanted, given), mse: squares / wanted.len().max(1) as f64 }
    }
}

impl fmt::Display for ScoreFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pearson, spearman, mse } = self;
        writeln!(f, "  Pearson {:.2}, Spearman {:.2}, mean squared error {mse:.4}", 100.0 * pearson, 100.0 * spearman)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &str) -> BTreeSet<String> {
        labels.chars().map(String::from).collect()
    }

    /// Would catch: a label that nobody has and that is left out of the mean. scikit-learn 1.9 (`f1_score` with `micro` and `macro`,
    /// `zero_division=0`, and `accuracy_score`) gives the same for the labels a to d.
    #[test]
    fn several_labels_are_measured_as_scikit_learn_does() {
        let labels: Vec<String> = "abcd".chars().map(String::from).collect();
        let mut all = Several::of(&labels);
        let worth: Vec<f64> = [("ab", "a"), ("b", "b"), ("", "c"), ("ac", "ab"), ("", "")]
            .map(|(wanted, given)| all.take(&set(wanted), Some(&set(given))).unwrap())
            .to_vec();
        assert_eq!(worth, [2.0 / 3.0, 1.0, 0.0, 0.5, 1.0]);
        let figures = all.figures();
        assert!((figures.micro_f1 - 0.6).abs() < 1e-12, "{figures:?}");
        assert!((figures.macro_f1 - 0.375).abs() < 1e-12 && (figures.exact_match - 0.4).abs() < 1e-12, "{figures:?}");
        assert_eq!((figures.labels["b"].precision, figures.labels["b"].recall, figures.labels["d"].support), (0.5, 0.5, 0));
    }

    /// Would catch: a refusal that is right of a row without labels, one whose labels are not missed.
    #[test]
    fn a_refused_row_is_never_right() {
        let mut all = Several::of([]);
        assert_eq!([all.take(&set(""), None), all.take(&set("a"), None)], [None, None]);
        assert_eq!(all.take(&set("a"), Some(&set("a"))), Some(1.0));
        let figures = all.figures();
        assert!((figures.exact_match - 1.0 / 3.0).abs() < 1e-12 && (figures.micro_f1 - 2.0 / 3.0).abs() < 1e-12, "{figures:?}");
    }

    /// By hand, and scipy.stats.pearsonr and spearmanr.
    #[test]
    fn numbers_are_compared() {
        let found = ScoreFigures::of(&[1.0, 2.0, 3.0, 4.0], &[1.5, 2.5, 2.0, 4.0]);
        assert!((found.mse - 0.375).abs() < 1e-12, "{found:?}");
        assert!((found.pearson - 0.836_660_026_5).abs() < 1e-9 && (found.spearman - 0.8).abs() < 1e-12, "{found:?}");
        assert!(ScoreFigures::of(&[1.0, 1.0], &[2.0, 3.0]).pearson.is_nan());
    }
}
