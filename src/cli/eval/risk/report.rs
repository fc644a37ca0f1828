//! What came out of an evaluation.

use super::Known;
use crate::event::Rejection;
use crate::scoring::Ranking;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

/// Score, and whether the row is bad.
type Rows = Vec<(f64, bool)>;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    digest: String,
    events: u64,
    keys: usize,
    late: u64,
    /// Events that were not folded, by code and field.
    rejected: BTreeMap<String, u64>,
    /// Labelled events without a score, by reason.
    unscored: BTreeMap<String, u64>,
    top: usize,
    /// Of our scores.
    measures: Measures,
    /// Of the scores that ours are compared with; also of events that we have no model for.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
    seconds: f64,
    #[serde(skip)]
    tolerance: f64,
    #[serde(skip)]
    scores: BTreeMap<String, Rows>,
    #[serde(skip)]
    of_expected: BTreeMap<String, Rows>,
    #[serde(skip)]
    compared: Compared,
}

#[derive(Debug, Default, Serialize)]
struct Measures {
    /// Empty without --fold.
    folds: BTreeMap<String, Measure>,
    /// Of the folds' values.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean: Option<Measure>,
    /// Of all rows in one ranking.
    all: Measure,
}

/// `null` where there is no bad row, or none that is good.
#[derive(Debug, Default, Clone, Serialize)]
struct Measure {
    rows: usize,
    bad: usize,
    auc: Option<f64>,
    average_precision: Option<f64>,
    ks: Option<f64>,
    precision_at_top: Option<f64>,
}

#[derive(Debug, Default, Clone, Copy, Serialize)]
struct Compared {
    compared: u64,
    differing: u64,
    largest_difference: f64,
}

#[derive(Debug, Serialize)]
struct Expected {
    #[serde(flatten)]
    compared: Compared,
    measures: Measures,
}

impl Report {
    pub fn new(tolerance: f64, top: usize) -> Self {
        Self { tolerance, top, ..Self::default() }
    }

    /// One event more; how many there are.
    pub fn count(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    pub fn late(&mut self, late: bool) {
        self.late += u64::from(late);
    }

    pub fn reject(&mut self, rejection: &Rejection) {
        let field = rejection.field.as_deref().map_or(String::new(), |field| format!(" {field}"));
        *self.rejected.entry(format!("{}{field}", rejection.code)).or_default() += 1;
    }

    pub fn score(&mut self, known: &Known, score: f64) {
        self.scores.entry(known.fold.clone()).or_default().push((score, known.bad));
        self.expect(known);
        if let Some(expected) = known.expected {
            let difference = (score - expected).abs();
            self.compared.compared += 1;
            self.compared.differing += u64::from(difference > self.tolerance);
            self.compared.largest_difference = self.compared.largest_difference.max(difference);
        }
    }

    pub fn unscored(&mut self, known: &Known, reason: &str) {
        let fold = if known.fold.is_empty() { String::new() } else { format!(" of fold {}", known.fold) };
        *self.unscored.entry(format!("{reason}{fold}")).or_default() += 1;
        self.expect(known);
    }

    fn expect(&mut self, known: &Known) {
        if let Some(expected) = known.expected {
            self.of_expected.entry(known.fold.clone()).or_default().push((expected, known.bad));
        }
    }

    /// Whether no event had a label.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty() && self.unscored.is_empty()
    }

    /// Whether a score was held against an expected one.
    pub fn has_compared(&self) -> bool {
        self.compared.compared > 0
    }

    /// Whether a score is not the expected one.
    pub fn differs(&self) -> bool {
        self.compared.differing > 0
    }

    /// Makes the measures.
    pub fn close(&mut self, digest: &str, keys: usize, took: Duration) {
        (self.digest, self.keys, self.seconds) = (digest.to_owned(), keys, took.as_secs_f64());
        self.measures = Measures::of(std::mem::take(&mut self.scores), self.top);
        let expected = std::mem::take(&mut self.of_expected);
        self.expected =
            (!expected.is_empty()).then(|| Expected { compared: self.compared, measures: Measures::of(expected, self.top) });
    }
}

impl Measures {
    fn of(mut rows: BTreeMap<String, Rows>, top: usize) -> Self {
        let all = Measure::of(rows.values().flatten().copied().collect(), top);
        rows.remove("");
        let folds: BTreeMap<String, Measure> = rows.into_iter().map(|(fold, rows)| (fold, Measure::of(rows, top))).collect();
        Self { mean: Measure::mean(folds.values()), folds, all }
    }
}

impl Measure {
    fn of(rows: Rows, top: usize) -> Self {
        let ranking = Ranking::new(rows);
        Self {
            rows: ranking.rows(),
            bad: ranking.bad(),
            auc: ranking.auc(),
            average_precision: ranking.average_precision(),
            ks: ranking.ks(),
            precision_at_top: ranking.precision_at(top),
        }
    }

    /// `None` for less than two.
    fn mean<'a>(all: impl ExactSizeIterator<Item = &'a Self> + Clone) -> Option<Self> {
        let count = all.len();
        let mean = |value: fn(&Self) -> Option<f64>| Some(all.clone().map(value).sum::<Option<f64>>()? / count as f64);
        (count > 1).then(|| Self {
            rows: all.clone().map(|one| one.rows).sum(),
            bad: all.clone().map(|one| one.bad).sum(),
            auc: mean(|one| one.auc),
            average_precision: mean(|one| one.average_precision),
            ks: mean(|one| one.ks),
            precision_at_top: mean(|one| one.precision_at_top),
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self { events, keys, seconds, late, digest, .. } = self;
        writeln!(f, "{events} events of {keys} keys in {seconds:.1} s, {late} of them late; fold {digest}")?;
        for (place, count) in &self.rejected {
            writeln!(f, "{count} rejected: {place}")?;
        }
        for (reason, count) in &self.unscored {
            writeln!(f, "{count} with a label and no score: {reason}")?;
        }
        let top = format!("P@{}", self.top);
        writeln!(f, "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{top:>9}", "", "rows", "bad", "AUC", "AP", "KS")?;
        table(f, "", &self.measures)?;
        let Some(Expected { compared, measures }) = &self.expected else { return Ok(()) };
        table(f, "expected, ", measures)?;
        let Compared { compared, differing, largest_difference } = compared;
        writeln!(f, "{compared} compared: {differing} differ by more than {}, at most {largest_difference:.1e}", self.tolerance)
    }
}

fn table(f: &mut Formatter<'_>, what: &str, measures: &Measures) -> Result {
    for (fold, measure) in &measures.folds {
        line(f, &format!("{what}fold {fold}"), measure)?;
    }
    if let Some(mean) = &measures.mean {
        line(f, &format!("{what}mean of folds"), mean)?;
    }
    line(f, &format!("{what}all rows"), &measures.all)
}

fn line(f: &mut Formatter<'_>, name: &str, of: &Measure) -> Result {
    write!(f, "{name:<24}{:>9}{:>9}", of.rows, of.bad)?;
    for value in [of.auc, of.average_precision, of.ks, of.precision_at_top] {
        let text = value.map_or("-".into(), |value| format!("{value:.4}"));
        write!(f, "{text:>9}")?;
    }
    writeln!(f)
}
