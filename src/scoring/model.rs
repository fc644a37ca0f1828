//! A model over rows of numbers: what it is, what it says of a row, and why.

use super::error::{Fault, FeatureError, LoadError, ScoreError};
use super::forest::Forest;
use super::linear::Linear;
use super::link::Link;
use super::net::Net;
use super::{detect, digest, shap};
use std::path::Path;

/// A larger file is refused before it is read.
const MOST_BYTES: u64 = 1 << 30;
/// More features than this are refused.
const MOST_FEATURES: usize = 1 << 16;

/// Rows that go through the trees together: few enough to stay near beside the nodes of a tree.
const ROWS_TOGETHER: usize = 64;

/// What a reader of a format found.
pub struct Read {
    pub format: &'static str,
    pub objective: String,
    pub link: Link,
    pub names: Option<Vec<String>>,
    pub features: usize,
    /// What a user should know, and what is no fault.
    pub notes: Vec<String>,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    Trees {
        forest: Forest,
        /// The margin that the trees start from.
        base: f64,
        /// Features are `f32`, as in training.
        narrow: bool,
        /// The margin of a row of which nothing is known.
        expected: f64,
    },
    Linear(Linear),
    Net(Net),
}

impl Body {
    pub fn trees(forest: Forest, base: f64, narrow: bool) -> Self {
        let expected = base + forest.expected();
        Self::Trees { forest, base, narrow, expected }
    }
}

/// What a model says of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The sum before it becomes a probability; contributions add up to it.
    pub margin: f64,
    /// 0 ..= 1, of the bad class.
    pub probability: f64,
}

/// What each feature adds to the margin. `bias` and all `values` sum to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Contributions {
    pub values: Vec<f64>,
    pub bias: f64,
}

impl Contributions {
    pub fn margin(&self) -> f64 {
        self.bias + self.values.iter().sum::<f64>()
    }
}

/// A model that was read from a file.
#[derive(Debug, Clone)]
pub struct Model {
    format: &'static str,
    objective: String,
    link: Link,
    names: Vec<String>,
    named: bool,
    notes: Vec<String>,
    body: Body,
    digest: String,
    bytes: usize,
}

impl Model {
    /// Reads a file of a kind that `detect` knows.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let at = |fault| LoadError::Refused { path: path.to_owned(), fault };
        let unread = |cause: std::io::Error| LoadError::Unread { path: path.to_owned(), cause: cause.to_string() };
        let length = std::fs::metadata(path).map_err(unread)?.len();
        if length > MOST_BYTES {
            return Err(at(Fault::unsupported("", format!("the file has {length} bytes"), "models have 1 GiB at most")));
        }
        Self::parse(&std::fs::read(path).map_err(unread)?).map_err(at)
    }

    /// The same from bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let Read { format, objective, link, names, features, notes, body } = detect::read(bytes)?;
        if let Some(names) = &names
            && let Some(twice) = first_twice(names)
        {
            return Err(Fault::damaged("feature names", format!("{twice:?} stands there twice")));
        }
        let named = names.is_some();
        let names = names.unwrap_or_else(|| (0..features).map(|number| format!("f{number}")).collect());
        let (digest, bytes) = (digest::sha256(bytes), bytes.len());
        Ok(Self { format, objective, link, names, named, notes, body, digest, bytes })
    }

    pub fn format(&self) -> &'static str {
        self.format
    }

    pub fn objective(&self) -> &str {
        &self.objective
    }

    /// The features in their order; `f0`, `f1`, ... when the file names none.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the names are known, from the file or by [`declare`](Self::declare).
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// SHA-256 of the file, 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Names the features of a file that does not do so itself.
    pub fn declare(&mut self, names: &[&str]) -> Result<(), FeatureError> {
        if self.named {
            return Err(FeatureError::Named);
        }
        if names.len() != self.names.len() {
            return Err(self.count(names));
        }
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        if let Some(twice) = first_twice(&names) {
            return Err(FeatureError::Twice(twice.to_owned()));
        }
        (self.names, self.named) = (names, true);
        Ok(())
    }

    /// Refuses features that are not those of the model: names, order and count must be the same.
    pub fn check_features(&self, declared: &[&str]) -> Result<(), FeatureError> {
        if !self.named {
            return Err(FeatureError::Unnamed);
        }
        if declared.len() != self.names.len() {
            return Err(self.count(declared));
        }
        match self.difference(declared) {
            None => Ok(()),
            Some(at) => {
                Err(FeatureError::Name { number: at + 1, expected: self.names[at].clone(), declared: declared[at].to_owned() })
            }
        }
    }

    /// The place of the first name that differs.
    fn difference(&self, declared: &[&str]) -> Option<usize> {
        self.names.iter().zip(declared).position(|(name, declared)| name != declared)
    }

    fn count(&self, declared: &[&str]) -> FeatureError {
        let common = declared.len().min(self.names.len());
        let at = self.difference(declared).filter(|_| self.named).unwrap_or(common);
        let said = |name: Option<&str>| name.map_or_else(|| "nothing".to_owned(), |name| format!("{name:?}"));
        let expected = if self.named { said(self.names.get(at).map(String::as_str)) } else { "a feature without a name".into() };
        let declared_there = said(declared.get(at).copied());
        let first = format!("first difference: feature {} is {declared_there} where the model has {expected}", at + 1);
        FeatureError::Count { expected: self.names.len(), declared: declared.len(), first }
    }

    /// Scores one row; its numbers in the order of [`names`](Self::names), NaN for "no value".
    pub fn score(&self, row: &[f64]) -> Result<Scored, ScoreError> {
        self.check_row(row)?;
        self.scored(match &self.body {
            Body::Trees { forest, base, narrow, .. } => base + forest.sum(rounded(row, *narrow, &mut Vec::new())),
            Body::Linear(linear) => linear.margin(row),
            Body::Net(net) => net.margin(row),
        })
    }

    /// Scores rows in order, each as [`score`](Self::score) does. A row that cannot be scored does not touch the others.
    pub fn score_all<'a>(&self, rows: impl IntoIterator<Item = &'a [f64]>) -> Vec<Result<Scored, ScoreError>> {
        let Body::Trees { forest, base, narrow, .. } = &self.body else {
            return rows.into_iter().map(|row| self.score(row)).collect();
        };
        let mut scored: Vec<Result<Scored, ScoreError>> = Vec::new();
        let (mut room, mut sums) = (Vec::new(), Vec::new());
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            room.clear();
            let first = scored.len();
            for row in rows.by_ref().take(ROWS_TOGETHER) {
                let checked = self.check_row(row);
                if checked.is_ok() {
                    push_rounded(row, *narrow, &mut room);
                }
                scored.push(checked.map(|()| Scored { margin: 0.0, probability: 0.0 }));
            }
            sums.clear();
            sums.resize(room.len() / self.names.len(), 0.0);
            forest.sums(&room, &mut sums);
            for (place, sum) in scored[first..].iter_mut().filter(|place| place.is_ok()).zip(&sums) {
                *place = self.scored(base + sum);
            }
        }
        scored
    }

    fn scored(&self, margin: f64) -> Result<Scored, ScoreError> {
        if !margin.is_finite() {
            return Err(ScoreError::NotFinite);
        }
        Ok(Scored { margin, probability: self.link.probability(margin) })
    }

    fn check_row(&self, row: &[f64]) -> Result<(), ScoreError> {
        if row.len() != self.names.len() {
            return Err(ScoreError::Length { expected: self.names.len(), found: row.len() });
        }
        let needs_all = !matches!(self.body, Body::Trees { .. });
        match row.iter().position(|x| needs_all && !x.is_finite()) {
            Some(at) => Err(ScoreError::Missing(at)),
            None => Ok(()),
        }
    }

    /// Why there are no contributions; `None` when there are.
    pub fn unexplained(&self) -> Option<&str> {
        match &self.body {
            Body::Trees { forest, .. } => forest.unexplained(),
            Body::Linear(_) => None,
            Body::Net(_) => Some("a net has no exact contributions"),
        }
    }

    /// What each feature adds to the margin: exact TreeSHAP (path dependent) for trees, the terms of a linear model. `None` when
    /// the model has no exact ones (see [`unexplained`](Self::unexplained)) or the row cannot be scored.
    pub fn contributions(&self, row: &[f64]) -> Option<Contributions> {
        if self.unexplained().is_some() || self.check_row(row).is_err() {
            return None;
        }
        match &self.body {
            Body::Trees { forest, narrow, expected, .. } => {
                let mut values = vec![0.0; row.len()];
                shap::contributions(forest, rounded(row, *narrow, &mut Vec::new()), &mut values);
                Some(Contributions { values, bias: *expected })
            }
            Body::Linear(linear) => Some(Contributions { values: linear.terms(row).collect(), bias: linear.intercept() }),
            Body::Net(_) => None,
        }
    }
}

/// The row as the model was trained on it.
fn rounded<'a>(row: &'a [f64], narrow: bool, room: &'a mut Vec<f64>) -> &'a [f64] {
    if !narrow {
        return row;
    }
    room.clear();
    push_rounded(row, narrow, room);
    room
}

fn push_rounded(row: &[f64], narrow: bool, room: &mut Vec<f64>) {
    if narrow {
        room.extend(row.iter().map(|x| f64::from(*x as f32)));
    } else {
        room.extend_from_slice(row);
    }
}

fn first_twice(names: &[String]) -> Option<&str> {
    let mut seen = std::collections::HashSet::new();
    names.iter().map(String::as_str).find(|name| !seen.insert(*name))
}

/// Between 1 and 65,536 features, so that a number of a feature fits a node.
pub fn most_features(count: usize) -> Result<(), Fault> {
    match count {
        1..=MOST_FEATURES => Ok(()),
        _ => Err(Fault::unsupported("", format!("the model has {count} features"), "1 to 65,536 are possible")),
    }
}
