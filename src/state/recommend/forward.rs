//! Decayed sums that need no touch to fade (forward decay), and the arithmetic behind them: the same bits on every machine.

use std::cmp::Ordering;
use std::f64::consts::{FRAC_1_SQRT_2, LN_2, SQRT_2};

/// A number `mantissa * 2^exponent`, the mantissa from 1 to below 2; or zero. It is a sum of weights, each multiplied by
/// `2^(time / half-life)` at its own time: events may come in any order, and of two sums the larger stays the larger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forward {
    exponent: i32,
    mantissa: f64,
}

impl Default for Forward {
    fn default() -> Self {
        Self { exponent: i32::MIN, mantissa: 0.0 }
    }
}

impl Eq for Forward {}

impl PartialOrd for Forward {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Forward {
    fn cmp(&self, other: &Self) -> Ordering {
        self.exponent.cmp(&other.exponent).then(self.mantissa.total_cmp(&other.mantissa))
    }
}

impl Forward {
    /// What a weight of 1 counts at a time; without a half-life always 1.
    pub fn growth(time_ms: i64, half_life_ms: Option<i64>) -> Self {
        let Some(half_life_ms) = half_life_ms else { return Self { exponent: 0, mantissa: 1.0 } };
        let fraction = time_ms.rem_euclid(half_life_ms) as f64 / half_life_ms as f64;
        // A half-life is a minute at least and a time is before 2100: this fits.
        Self::normal(exp2_fraction(fraction), time_ms.div_euclid(half_life_ms) as i32)
    }

    /// A plain number, positive or zero.
    pub fn of(value: f64) -> Self {
        Self::normal(value, 0)
    }

    pub fn from_parts(exponent: i32, mantissa: f64) -> Option<Self> {
        let zero = mantissa == 0.0 && exponent == i32::MIN;
        (zero || (1.0..2.0).contains(&mantissa)).then_some(Self { exponent, mantissa })
    }

    pub fn parts(self) -> (i32, f64) {
        (self.exponent, self.mantissa)
    }

    pub fn is_zero(self) -> bool {
        self.mantissa == 0.0
    }

    /// Adds a weight at the time of `growth`.
    pub fn add(&mut self, weight: f64, growth: Self) {
        let other = Self::normal(weight * growth.mantissa, growth.exponent);
        let (large, small) = if *self >= other { (*self, other) } else { (other, *self) };
        if small.is_zero() {
            *self = large;
            return;
        }
        *self = Self::normal(
            large.mantissa + small.mantissa * power_of_two(small.exponent.saturating_sub(large.exponent)),
            large.exponent,
        );
    }

    /// The decayed sum as it stands at the time of `growth`.
    pub fn at(self, growth: Self) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        self.mantissa / growth.mantissa * power_of_two(self.exponent.saturating_sub(growth.exponent))
    }

    fn normal(value: f64, exponent: i32) -> Self {
        if value <= 0.0 {
            return Self::default();
        }
        let (mantissa, shift) = split(value);
        Self { exponent: exponent + shift, mantissa }
    }
}

/// `value = mantissa * 2^shift`, for positive values; those too small to be normal are far below any weight.
fn split(value: f64) -> (f64, i32) {
    let bits = value.to_bits();
    let shift = (bits >> 52) as i32 - 1023;
    (f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52)), shift)
}

/// Zero below what a normal number can hold, infinity above.
pub fn power_of_two(exponent: i32) -> f64 {
    match exponent {
        ..-1022 => 0.0,
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        1024.. => f64::INFINITY,
    }
}

/// `2^x` for x from 0 to below 1, by its series around the middle.
fn exp2_fraction(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let y = (x - 0.5) * LN_2;
    let mut sum = 1.0;
    for n in (1..=16).rev() {
        sum = 1.0 + sum * y / f64::from(n);
    }
    sum * SQRT_2
}

pub fn exp2(x: f64) -> f64 {
    exp2_fraction(x - x.floor()) * power_of_two(x.floor() as i32)
}

/// Natural logarithm of a positive number.
pub fn ln(x: f64) -> f64 {
    let (mut mantissa, mut shift) = split(x);
    if mantissa > SQRT_2 {
        (mantissa, shift) = (mantissa * 0.5, shift + 1);
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    debug_assert!((FRAC_1_SQRT_2 - 1e-9..=SQRT_2 + 1e-9).contains(&mantissa));
    let mut sum = 0.0;
    for n in (0..=11).rev() {
        sum = sum * z * z + 1.0 / f64::from(2 * n + 1);
    }
    f64::from(shift) * LN_2 + 2.0 * z * sum
}

/// `x^power` for a positive x; exact where the power is 0, a half or 1.
pub fn pow(x: f64, power: f64) -> f64 {
    match power {
        0.0 => 1.0,
        0.5 => x.sqrt(),
        1.0 => x,
        _ => exp2(ln(x) / LN_2 * power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a wrong series or a lost power of two.
    #[test]
    fn the_arithmetic_agrees_with_the_library() {
        for step in 1..4000 {
            let x = f64::from(step) * 0.37;
            assert!((ln(x) - x.ln()).abs() < 1e-14 * x.ln().abs().max(1.0), "ln {x}");
            assert!((exp2(x / 50.0 - 9.0) / (x / 50.0 - 9.0).exp2() - 1.0).abs() < 1e-15 * 4.0, "exp2 {x}");
            assert!((pow(x, 0.3) / x.powf(0.3) - 1.0).abs() < 1e-13, "pow {x}");
        }
    }

    /// Would catch a half-life that is another time constant, and decay that depends on when it is looked at.
    #[test]
    fn a_weight_counts_half_after_its_half_life() {
        let growth = |time_ms| Forward::growth(time_ms, Some(60_000));
        let mut sum = Forward::default();
        sum.add(8.0, growth(1_700_000_000_000));
        assert_eq!(sum.at(growth(1_700_000_060_000)), 4.0);
        sum.add(1.0, growth(1_700_000_090_000));
        let expected = 8.0 / 4.0 + 0.5f64.sqrt();
        assert!((sum.at(growth(1_700_000_120_000)) - expected).abs() < 1e-14);
        assert_eq!(sum.at(growth(1_900_000_000_000)), 0.0);
    }

    /// Would catch a sum that a late event changes in another way than an early one.
    #[test]
    fn order_does_not_matter_beyond_rounding() {
        let events: Vec<(f64, i64)> = (0..200).map(|n| (1.0 + f64::from(n % 7), 5_000 * i64::from(n * 37 % 200))).collect();
        let total = |events: &mut dyn Iterator<Item = &(f64, i64)>| {
            let mut sum = Forward::default();
            events.for_each(|(weight, at)| sum.add(*weight, Forward::growth(*at, Some(60_000))));
            sum.at(Forward::growth(1_000_000, Some(60_000)))
        };
        let (ahead, back) = (total(&mut events.iter()), total(&mut events.iter().rev()));
        assert!((ahead / back - 1.0).abs() < 1e-12, "{ahead} {back}");
    }
}
