//! How good the answers of a classifier are.

use serde::Serialize;

/// What was right and wrong, label by label.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    labels: usize,
    /// `[truth][answer]`
    counts: Vec<u64>,
}

/// One label's precision, recall and their harmonic mean; 0 where nothing was answered or nothing was there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OfLabel {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Rows that have the label.
    pub support: u64,
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

impl Confusion {
    pub fn new(labels: usize) -> Self {
        Self { labels, counts: vec![0; labels * labels] }
    }

    /// Of pairs (truth, answer).
    pub fn of(labels: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut all = Self::new(labels);
        pairs.into_iter().for_each(|(truth, answer)| all.add(truth, answer));
        all
    }

    pub fn add(&mut self, truth: usize, answer: usize) {
        self.counts[truth * self.labels + answer] += 1;
    }

    pub fn labels(&self) -> usize {
        self.labels
    }

    pub fn count(&self, truth: usize, answer: usize) -> u64 {
        self.counts[truth * self.labels + answer]
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn accuracy(&self) -> f64 {
        share((0..self.labels).map(|i| self.count(i, i)).sum(), self.total())
    }

    pub fn of_label(&self, label: usize) -> OfLabel {
        let right = self.count(label, label);
        let support = (0..self.labels).map(|i| self.count(label, i)).sum();
        let answered = (0..self.labels).map(|i| self.count(i, label)).sum();
        let (precision, recall) = (share(right, answered), share(right, support));
        let f1 = if right == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
        OfLabel { precision, recall, f1, support }
    }

    /// The mean of the labels' F1, over labels that were there or answered (scikit-learn's `f1_score(average="macro")`).
    pub fn macro_f1(&self) -> f64 {
        let seen: Vec<usize> =
            (0..self.labels).filter(|&l| (0..self.labels).any(|i| self.count(l, i) + self.count(i, l) > 0)).collect();
        seen.iter().map(|&label| self.of_label(label).f1).sum::<f64>() / seen.len().max(1) as f64
    }
}

/// Of one label where several may hold: rows that have it and were given it, that were given it, that have it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub right: u64,
    pub given: u64,
    pub wanted: u64,
}

impl Counts {
    /// Takes a row that has the label, or not, and was given it, or not.
    pub fn take(&mut self, wanted: bool, given: bool) {
        self.wanted += u64::from(wanted);
        self.given += u64::from(given);
        self.right += u64::from(wanted && given);
    }

    /// 0 where nothing was given and nothing wanted, as scikit-learn's `zero_division=0` has it.
    pub fn f1(self) -> f64 {
        share(2 * self.right, self.given + self.wanted)
    }

    pub fn of_label(self) -> OfLabel {
        let Self { right, given, wanted } = self;
        OfLabel { precision: share(right, given), recall: share(right, wanted), f1: self.f1(), support: wanted }
    }

    /// The F1 over all labels and rows together.
    pub fn micro_f1(all: &[Self]) -> f64 {
        let add = |a: Self, b: &Self| Self { right: a.right + b.right, given: a.given + b.given, wanted: a.wanted + b.wanted };
        all.iter().fold(Self::default(), add).f1()
    }

    /// The mean of the F1 of all labels of a model, those that no row has or was given among them (scikit-learn's
    /// `f1_score(average="macro", zero_division=0)` of a row of 0 and 1 for each text).
    pub fn macro_f1(all: &[Self]) -> f64 {
        all.iter().map(|of| of.f1()).sum::<f64>() / all.len().max(1) as f64
    }
}

/// Expected calibration error in 15 bins of equal width (Guo et al. 2017): how far the probability of the answer and the share of
/// right answers are apart, weighted by the rows of each bin.
pub fn calibration_error(answers: &[(f64, bool)]) -> f64 {
    const BINS: usize = 15;
    let mut bins = [(0.0, 0.0, 0u64); BINS];
    for &(probability, right) in answers {
        let bin = &mut bins[((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1];
        bin.0 += probability;
        bin.1 += f64::from(u8::from(right));
        bin.2 += 1;
    }
    bins.iter().map(|(sum, right, _)| (sum - right).abs()).sum::<f64>() / answers.len().max(1) as f64
}

/// How near an extracted answer is to those that were given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SquadScore {
    pub exact: bool,
    /// Between 0 and 1.
    pub f1: f64,
}

/// SQuAD's scores (Rajpurkar et al. 2016): the best over the given answers; without any, only an empty answer is right.
pub fn squad(answer: &str, given: &[&str]) -> SquadScore {
    let found = words(answer);
    let wanted = if given.is_empty() { vec![Vec::new()] } else { given.iter().map(|text| words(text)).collect() };
    let f1 = |wanted: &Vec<String>| {
        let mut left = wanted.clone();
        let mut common = 0;
        for word in &found {
            if let Some(at) = left.iter().position(|other| other == word) {
                left.swap_remove(at);
                common += 1;
            }
        }
        match (found.is_empty(), wanted.is_empty()) {
            (true, true) => 1.0,
            _ => 2.0 * f64::from(common) / (found.len() + wanted.len()) as f64,
        }
    };
    SquadScore { exact: wanted.contains(&found), f1: wanted.iter().map(f1).fold(0.0, f64::max) }
}

/// SQuAD's normalisation: lower case, without ASCII punctuation and without the articles a, an and the.
fn words(text: &str) -> Vec<String> {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word)).map(str::to_owned).collect()
}

/// The rank correlation of two lists, ties sharing their mean rank. `NaN` when one of them does not vary.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let (mut ranks, mut first) = (vec![0.0; values.len()], 0);
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = first as f64 + (tied.len() as f64 - 1.0) / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        first += tied.len();
    }
    ranks
}

/// The linear correlation of two lists.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let cross: f64 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    let square = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    cross / (square(a, mean_a) * square(b, mean_b)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_and_f1_follow_their_definitions() {
        let all = Confusion::of(3, [(0, 0), (0, 0), (0, 1), (1, 1), (1, 0)]);
        assert_eq!(all.accuracy(), 0.6);
        let zero = all.of_label(0);
        assert!((zero.precision - 2.0 / 3.0).abs() < 1e-12 && (zero.recall - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((zero.support, all.of_label(1).f1, all.of_label(2).f1), (3, 0.5, 0.0));
        // The third label never occurs: it is left out of the mean.
        assert!((all.macro_f1() - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
    }

    /// Would catch: a label that nobody has and that is left out of the mean. scikit-learn 1.9 (`f1_score` with `micro` and `macro`,
    /// `zero_division=0`) gives the same for the labels a to d.
    #[test]
    fn several_labels_are_measured_as_scikit_learn_does() {
        let rows = [("ab", "a"), ("b", "b"), ("", "c"), ("ac", "ab"), ("", "")];
        let of = |label: char| {
            let mut counts = Counts::default();
            rows.iter().for_each(|(wanted, given)| counts.take(wanted.contains(label), given.contains(label)));
            counts
        };
        let all = ['a', 'b', 'c', 'd'].map(of);
        assert!((Counts::micro_f1(&all) - 0.6).abs() < 1e-12 && (Counts::macro_f1(&all) - 0.375).abs() < 1e-12, "{all:?}");
        let OfLabel { precision, recall, f1, support } = all[1].of_label();
        assert_eq!((precision, recall, f1, support), (0.5, 0.5, 0.5, 2));
        assert_eq!((Counts::macro_f1(&[]), all[3].of_label().f1), (0.0, 0.0));
    }

    #[test]
    fn calibration_is_the_gap_between_word_and_deed() {
        let answers = [(0.9, true), (0.9, true), (0.9, false), (0.9, true), (0.5, true), (0.5, false)];
        assert!((calibration_error(&answers) - (0.6 / 6.0)).abs() < 1e-12);
        assert_eq!(calibration_error(&[(1.0, true), (0.0, false)]), 0.0);
    }

    #[test]
    fn answers_are_compared_word_by_word() {
        let score = |answer: &str, given: &[&str]| {
            let SquadScore { exact, f1 } = squad(answer, given);
            (exact, (f1 * 1e4).round() / 1e4)
        };
        assert_eq!(score("The Sichuan earthquake!", &["Sichuan earthquake"]), (true, 1.0));
        assert_eq!(score("in May 2008", &["2008", "12 May 2008"]), (false, 0.6667));
        assert_eq!(score("2008 2008", &["2008"]), (false, 0.6667));
        assert_eq!((score("", &[]), score("x", &[]), score("", &["x"])), ((true, 1.0), (false, 0.0), (false, 0.0)));
    }

    #[test]
    fn ranks_share_their_ties() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 25.0]) - 0.8).abs() < 1e-12);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }
}
