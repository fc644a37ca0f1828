//! How many numbers fell between which bounds, and the quantiles that this tells.

use std::sync::{Arc, LazyLock};

/// Of scores: fit for shares (0 to 1) and for points (0 to 1,000).
pub const SCORES: &[f64] = &[
    0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95,
    0.98, 0.99, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 400.0, 450.0, 500.0, 550.0, 600.0,
    650.0, 700.0, 750.0, 800.0, 850.0, 900.0, 950.0, 1000.0,
];

/// Of durations: a millisecond to a day, four to a doubling, so that a quantile is at most a fifth off.
static SECONDS: LazyLock<Arc<[f64]>> = LazyLock::new(|| (0..=106).map(|n| 0.001 * 2f64.powf(f64::from(n) / 4.0)).collect());
/// What is below 0 has a place of its own.
static SCORE_BOUNDS: LazyLock<Arc<[f64]>> =
    LazyLock::new(|| std::iter::once(-f64::MIN_POSITIVE).chain(SCORES.iter().copied()).collect());

/// Of differences: from a thousandth to a thousand on both sides of 0, two to a doubling.
static DIFFERENCES: LazyLock<Arc<[f64]>> = LazyLock::new(|| {
    let sizes: Vec<f64> = (0..=40).map(|n| 0.001 * 2f64.powf(f64::from(n) / 2.0)).collect();
    let negative = sizes.iter().rev().map(|size| -size);
    negative.chain([-f64::MIN_POSITIVE, 0.0]).chain(sizes.iter().copied()).collect()
});

/// Counts by upper bounds; what is above the last has a place of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    bounds: Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
    /// The least and the greatest of all, also in what came since an earlier copy.
    ends: Option<(f64, f64)>,
}

impl Spread {
    pub fn of_seconds() -> Self {
        Self::new(SECONDS.clone())
    }

    pub fn of_scores() -> Self {
        Self::new(SCORE_BOUNDS.clone())
    }

    pub fn of_differences() -> Self {
        Self::new(DIFFERENCES.clone())
    }

    /// Adds what another has counted up to an upper bound, `None` above its last; `sum` is that of the numbers. Of the ends nothing is known.
    pub fn put(&mut self, bound: Option<f64>, count: u64, sum: f64) {
        let place = bound.map_or(self.bounds.len(), |bound| self.bounds.partition_point(|of| *of < bound));
        if let Some(of) = self.counts.get_mut(place) {
            *of += count;
        }
        self.sum += sum;
    }

    /// Of all numbers.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    fn new(bounds: Arc<[f64]>) -> Self {
        Self { counts: vec![0; bounds.len() + 1], bounds, sum: 0.0, ends: None }
    }

    pub fn record(&mut self, value: f64, times: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(place) {
            *count += times;
        }
        self.sum += value * times as f64;
        let (least, most) = self.ends.unwrap_or((value, value));
        self.ends = Some((least.min(value), most.max(value)));
    }

    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `None` without numbers.
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.sum / total as f64)
    }

    /// The least and the greatest number that there ever was.
    pub fn ends(&self) -> Option<(f64, f64)> {
        self.ends
    }

    /// What came after `earlier`, a copy of this one.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        Self { bounds: self.bounds.clone(), counts, sum: self.sum - earlier.sum, ends: self.ends }
    }

    /// Upper bounds with their counts; above the last there is none.
    pub fn parts(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        self.counts.iter().enumerate().map(|(place, count)| (self.bounds.get(place).copied(), *count))
    }

    /// About the number that so great a share is not above; `None` without numbers.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.total();
        let wanted = share * total as f64;
        let mut below = 0.0;
        for (place, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let with = below + *count as f64;
            if with >= wanted {
                let low = place.checked_sub(1).map_or(0.0, |before| self.bounds[before]);
                let high = self.bounds.get(place).copied().unwrap_or(low);
                return Some(low + (high - low) * ((wanted - below) / *count as f64));
            }
            below = with;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a quantile of the wrong end, numbers of before that are counted again, one above all bounds that is lost.
    #[test]
    fn quantiles_are_near_and_count_what_came_since() {
        let mut spread = Spread::of_seconds();
        (1..=1000).for_each(|n| spread.record(f64::from(n) / 1000.0, 1));
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() / wanted - 1.0).abs() < 0.1;
        assert!(near(spread.quantile(0.5), 0.5) && near(spread.quantile(0.99), 0.99), "{:?}", spread.quantile(0.99));
        let before = spread.clone();
        spread.record(5.0, 10);
        spread.record(1e9, 10);
        let since = spread.since(&before);
        assert_eq!(since.total(), 20);
        assert!(near(since.quantile(0.25), 5.0), "{:?}", since.quantile(0.25));
        assert!(since.quantile(0.99).unwrap() > 80_000.0);
        assert_eq!(since.since(&since).quantile(0.5), None);
        assert!((since.mean().unwrap() / 500_000_002.5 - 1.0).abs() < 1e-6 && since.since(&since).mean().is_none());
    }

    /// Would catch: a negative score that is taken for 0.
    #[test]
    fn scores_below_zero_have_a_place_of_their_own() {
        let mut spread = Spread::of_scores();
        [-3.0, 0.0, 2.5].into_iter().for_each(|score| spread.record(score, 1));
        let parts: Vec<(Option<f64>, u64)> = spread.parts().filter(|(_, count)| *count > 0).collect();
        assert!(parts[0].0.is_some_and(|bound| bound < 0.0) && parts[1..] == [(Some(0.0), 1), (Some(5.0), 1)], "{parts:?}");
        assert_eq!(spread.ends(), Some((-3.0, 2.5)));
    }
}
