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
    /// Mean worth of a row for the first model, less that for the second.
    pub difference: f64,
    /// What the difference is counted in: `points`, hundredths of what a row may be worth; null where its worth has a unit of its own.
    pub unit: Option<&'static str>,
    /// Rows that the first answers better.
    pub first_better: usize,
    pub second_better: usize,
    /// How likely a difference as great as that is if both are equally good: a randomisation test, which exchanges the two models' answers
    /// to each row by a coin, 10,000 times with the same seed.
    pub p_value: f64,
}

impl Paired {
    /// `first` and `second` have the worth of the same rows, between 0 and 1.
    pub fn of(worth: &'static str, first: &[f64], second: &[f64]) -> Self {
        let found = Self::in_own_unit(worth, first, second);
        Self { difference: 100.0 * found.difference, unit: Some("points"), ..found }
    }

    /// The same of rows that are worth any number, such as an error of a scale of its own.
    pub fn in_own_unit(worth: &'static str, first: &[f64], second: &[f64]) -> Self {
        let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
        let sum: f64 = differences.iter().sum();
        let apart: Vec<f64> = differences.iter().copied().filter(|of| *of != 0.0).collect();
        let mut coins = StdRng::seed_from_u64(42);
        let mut thrown = || apart.iter().map(|of| if coins.random::<bool>() { *of } else { -of }).sum::<f64>();
        // A sum in another order may be a little smaller.
        let as_great = (0..ROUNDS).filter(|_| thrown().abs() >= sum.abs() - 1e-9).count();
        Self {
            worth,
            difference: sum / differences.len().max(1) as f64,
            unit: None,
            first_better: differences.iter().filter(|of| **of > 0.0).count(),
            second_better: differences.iter().filter(|of| **of < 0.0).count(),
            p_value: (as_great + 1) as f64 / (ROUNDS + 1) as f64,
        }
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worth, difference, unit, first_better, second_better, p_value } = self;
        let word = if *difference < 0.0 { "worse" } else { "better" };
        let by = match unit {
            Some(unit) => format!("{:.2} {unit}", difference.abs()),
            None => format!("{:.4}", difference.abs()),
        };
        write!(
            f,
            "{worth}: the first is {word} by {by} in the mean; better on {first_better} rows, worse on {second_better}; a difference as great comes by chance with probability {p_value:.4}"
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

    /// Would catch: squared errors that are told in points, a small one that is told as none.
    #[test]
    fn what_is_no_share_has_no_points() {
        let told = |first: f64, second: f64| Paired::in_own_unit("x", &[first; 4], &[second; 4]).to_string();
        assert!(
            told(-0.5, -0.5012).starts_with("x: the first is better by 0.0012 in the mean; better on 4"),
            "{}",
            told(-0.5, -0.5012)
        );
        assert!(told(-9.0, -4.0).contains("worse by 5.0000 in the mean"), "{}", told(-9.0, -4.0));
        assert!(Paired::of("x", &[0.5; 4], &[0.25; 4]).to_string().contains("better by 25.00 points in the mean"));
    }
}
