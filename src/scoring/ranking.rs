//! How well scores tell the bad from the good. Rows of equal scores are one threshold: their order never matters.

/// Scores with whether each row is bad, the highest first.
#[derive(Debug, Clone, Default)]
pub struct Ranking {
    rows: Vec<(f64, bool)>,
    bad: usize,
}

/// What stands at or above a threshold.
#[derive(Debug, Clone, Copy, Default)]
struct Above {
    rows: usize,
    bad: usize,
}

impl Above {
    fn good(self) -> f64 {
        (self.rows - self.bad) as f64
    }
}

impl Ranking {
    pub fn new(mut rows: Vec<(f64, bool)>) -> Self {
        rows.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
        let bad = rows.iter().filter(|row| row.1).count();
        Self { rows, bad }
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    pub fn bad(&self) -> usize {
        self.bad
    }

    /// Bad and good rows; `None` when there are none of one.
    fn both(&self) -> Option<(f64, f64)> {
        let good = self.rows.len() - self.bad;
        (self.bad > 0 && good > 0).then_some((self.bad as f64, good as f64))
    }

    /// Each threshold: what stands above the one before, and what stands above it.
    fn thresholds(&self) -> impl Iterator<Item = (Above, Above)> {
        let runs = self.rows.chunk_by(|one, other| one.0 == other.0);
        runs.scan(Above::default(), |above, run| {
            let before = *above;
            above.rows += run.len();
            above.bad += run.iter().filter(|row| row.1).count();
            Some((before, *above))
        })
    }

    /// Area under the ROC curve: the share of pairs of a bad and a good row that stand right, ties half.
    pub fn auc(&self) -> Option<f64> {
        let (bad, good) = self.both()?;
        let area = |(before, above): (Above, Above)| (above.good() - before.good()) * (before.bad + above.bad) as f64;
        Some(self.thresholds().map(area).sum::<f64>() / 2.0 / bad / good)
    }

    /// Average precision: the sum over the thresholds of (recall gained) x precision.
    pub fn average_precision(&self) -> Option<f64> {
        let (bad, _) = self.both()?;
        let gained = |(before, above): (Above, Above)| (above.bad - before.bad) as f64 * above.bad as f64 / above.rows as f64;
        Some(self.thresholds().map(gained).sum::<f64>() / bad)
    }

    /// Kolmogorov-Smirnov: the largest distance between the shares of bad and of good rows above a threshold.
    pub fn ks(&self) -> Option<f64> {
        let (bad, good) = self.both()?;
        let apart = |(_, above): (Above, Above)| (above.bad as f64 / bad - above.good() / good).abs();
        Some(self.thresholds().map(apart).fold(0.0, f64::max))
    }

    /// The share of bad rows among the `top` highest; of a tie that reaches over the last place, what a random order would have.
    pub fn precision_at(&self, top: usize) -> Option<f64> {
        let top = top.min(self.rows.len());
        let (before, above) = self.thresholds().find(|(_, above)| above.rows >= top.max(1))?;
        let of_tie = (top - before.rows) as f64 / (above.rows - before.rows) as f64;
        (top > 0).then(|| (before.bad as f64 + (above.bad - before.bad) as f64 * of_tie) / top as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(rows: &[(f64, bool)]) -> [f64; 3] {
        let ranking = Ranking::new(rows.to_vec());
        [ranking.auc(), ranking.average_precision(), ranking.ks()].map(Option::unwrap)
    }

    fn assert_near(found: [f64; 3], known: [f64; 3]) {
        assert!(found.iter().zip(known).all(|(found, known)| (found - known).abs() < 1e-12), "{found:?} instead of {known:?}");
    }

    /// Known values are those of scikit-learn 1.9.1: `roc_auc_score`, `average_precision_score`, and the largest |tpr - fpr| of
    /// `roc_curve`. Would catch: ties that count as right or wrong, precision taken within a tie, one class for the other.
    #[test]
    fn measures_are_the_known_ones_ties_included() {
        let rows = |scores: &[f64], bad: &[u8]| -> Vec<(f64, bool)> {
            scores.iter().copied().zip(bad.iter().map(|bad| *bad == 1)).collect()
        };
        let plain = rows(&[0.9, 0.8, 0.7, 0.6, 0.5], &[1, 0, 1, 0, 0]);
        assert_near(measures(&plain), [5.0 / 6.0, 5.0 / 6.0, 2.0 / 3.0]);
        assert_near(measures(&rows(&[0.5; 4], &[1, 0, 0, 1])), [0.5, 0.5, 0.0]);
        assert_near(measures(&rows(&[0.9, 0.5, 0.5, 0.5, 0.1], &[0, 1, 0, 1, 1])), [1.0 / 6.0, 8.0 / 15.0, 0.5]);
        assert_near(measures(&rows(&[3.0, 2.0, 2.0, 1.0], &[1, 1, 0, 0])), [0.875, 5.0 / 6.0, 0.5]);
        let many = |number: u64| {
            let score = (number * number * 7 + number * 3) % 13;
            (score as f64 / 13.0, score + number * 5 % 11 > 12)
        };
        let mut many: Vec<(f64, bool)> = (0..200).map(many).collect();
        let known = [0.827420546932742, 0.6661115940137852, 0.5334178017104847];
        assert_near(measures(&many), known);
        many.reverse();
        assert_near(measures(&many), known);
    }

    /// Would catch: a tie over the last place that is cut by chance, and figures of nothing.
    #[test]
    fn precision_shares_a_tie_and_nothing_has_no_measure() {
        let ranking = Ranking::new(vec![(0.5, true), (0.9, true), (0.5, false), (0.5, false), (0.1, true)]);
        let found = [1, 2, 4, 5, 99].map(|top| ranking.precision_at(top).unwrap());
        assert_eq!(found, [1.0, 2.0 / 3.0, 0.5, 0.6, 0.6]);
        assert_eq!((ranking.precision_at(0), Ranking::default().precision_at(3)), (None, None));
        for rows in [vec![], vec![(0.5, true)], vec![(0.5, false), (0.6, false)]] {
            let ranking = Ranking::new(rows);
            assert_eq!((ranking.auc(), ranking.average_precision(), ranking.ks()), (None, None, None));
        }
    }
}
