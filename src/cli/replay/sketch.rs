//! Quantiles of any number of values in little memory: each is counted in a bucket that is 1 % wide.

use std::collections::BTreeMap;

/// Not negative values.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    zeros: u64,
    buckets: BTreeMap<i32, u64>,
    count: u64,
    sum: f64,
    largest: f64,
}

const WIDTH: f64 = 1.01;

impl Sketch {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.largest = self.largest.max(value);
        if value > 0.0 {
            *self.buckets.entry((value.ln() / WIDTH.ln()).floor() as i32).or_default() += 1;
        } else {
            self.zeros += 1;
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    pub fn largest(&self) -> f64 {
        self.largest
    }

    /// The value below which that share lies, within 1 %.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut below = self.zeros;
        if below >= wanted || self.count == 0 {
            return 0.0;
        }
        for (bucket, count) in &self.buckets {
            below += count;
            if below >= wanted {
                return WIDTH.powf(f64::from(*bucket) + 0.5).min(self.largest);
            }
        }
        self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: zeros that are not counted, a quantile that is off by more than its bucket.
    #[test]
    fn quantiles_are_right_within_one_percent() {
        let mut sketch = Sketch::default();
        assert_eq!((sketch.quantile(0.5), sketch.mean()), (0.0, 0.0));
        for n in 1..=1_000 {
            sketch.add(f64::from(n) / 1_000.0);
        }
        for (share, value) in [(0.5, 0.5), (0.95, 0.95), (0.99, 0.99), (1.0, 1.0)] {
            let found = sketch.quantile(share);
            assert!((found - value).abs() <= 0.011 * value, "{share}: {found}");
        }
        assert!((sketch.mean() - 0.5005).abs() < 1e-9 && sketch.largest() == 1.0 && sketch.count() == 1_000);
        for _ in 0..9_000 {
            sketch.add(0.0);
        }
        assert_eq!(sketch.quantile(0.9), 0.0);
        assert!(sketch.quantile(0.95) > 0.49);
    }
}
