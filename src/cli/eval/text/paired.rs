//! Two models on the same rows: how much better the first is, and whether that may be chance.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::fmt;

const ROUNDS: usize = 10_000;

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paired {
    /// What a row is worth, in words.
    pub worth: &'static str,
    /// Mean worth of a row for the first model, less that for the second, in points.
    pub difference: f64,
    /// Rows that the first answers better.
    pub first_better: usize,
    pub second_better: usize,
    /// How likely a difference as great as that is if both are equally good: a randomisation test, which exchanges the two models' answers
    /// to each row by a coin, 10,000 times with the same seed.
    pub p_value: f64,
}

impl Paired {
    /// `first` and `second` have the worth of the same rows.
    pub fn of(worth: &'static str, first: &[f64], second: &[f64]) -> Self {
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let sum: f64 = differences.iter().sum();
        let apart: Vec<f64> = differences.iter().copied().filter(|of| *of != 0.0).collect();
        let mut coins = StdRng::seed_from_u64(42);
        let mut thrown = || apart.iter().map(|of| if coins.random::<bool>() { *of } else { -of }).sum::<f64>();
        // A sum in another order may be a little smaller.
        let as_great = (0..ROUNDS).filter(|_| thrown().abs() >= sum.abs() - 1e-9).count();
        Self {
            worth,
            difference: 100.0 * sum / differences.len().max(1) as f64,
            first_better: differences.iter().filter(|of| **of > 0.0).count(),
            second_better: differences.iter().filter(|of| **of < 0.0).count(),
            p_value: (as_great + 1) as f64 / (ROUNDS + 1) as f64,
        }
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worth, difference, first_better, second_better, p_value } = self;
        let (points, word) = (difference.abs(), if *difference < 0.0 { "worse" } else { "better" });
        write!(
            f,
            "{worth}: the first is {word} by {points:.2} points in the mean; better on {first_better} rows, worse on {second_better}; a difference as great comes by chance with probability {p_value:.4}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: of 2^5 ways to throw five coins two are as great as all heads; three rows apart cannot be told from chance.
    #[test]
    fn chance_is_what_coins_give() {
        let clear = Paired::of("x", &[1.0; 5], &[0.0; 5]);
        assert!((clear.p_value - 2.0 / 32.0).abs() < 0.01 && clear.difference == 100.0, "{clear:?}");
        assert_eq!((clear.first_better, clear.second_better), (5, 0));
        let equal = Paired::of("x", &[0.5, 0.2], &[0.2, 0.5]);
        assert!(equal.p_value > 0.99 && equal.difference.abs() < 1e-9);
        assert_eq!(Paired::of("x", &[0.3; 9], &[0.3; 9]).p_value, 1.0);
    }
}
