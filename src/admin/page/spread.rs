//! The distribution of scores, drawn: bars for the last ten minutes, an outline for the time since the worker started.

use crate::telemetry::Spread;
use std::fmt::Write;

/// Bars of a drawing.
const BARS: usize = 20;
/// Scores under which two distributions are not compared.
const ENOUGH: u64 = 100;

/// Shares by equal steps, from 0 to `top`.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// 1 or 1,000.
    pub top: f64,
    shares: [f64; BARS],
    total: u64,
}

/// Whether any score is above 1, so that they are points.
pub fn in_points(spread: &Spread) -> bool {
    spread.parts().any(|(bound, count)| count > 0 && bound.is_none_or(|bound| bound > 1.0))
}

impl Steps {
    pub fn of(spread: &Spread, points: bool) -> Self {
        let (top, total) = (if points { 1000.0 } else { 1.0 }, spread.total());
        let mut shares = [0.0; BARS];
        for (bound, count) in spread.parts() {
            // A bound belongs to the step that it ends; what is above all of them goes with the last.
            let step = bound.map_or(BARS, |bound| (bound / top * BARS as f64 - 1e-9).ceil().max(1.0) as usize);
            shares[step.min(BARS) - 1] += count as f64 / total.max(1) as f64;
        }
        Self { top, shares, total }
    }

    /// The population stability index against another: 0 where both are alike. `None` where either has too few scores.
    pub fn shift(&self, reference: &Self) -> Option<f64> {
        let floor = 0.000_1;
        let each = |(now, then): (&f64, &f64)| (now.max(floor) - then.max(floor)) * (now.max(floor) / then.max(floor)).ln();
        let enough = self.total >= ENOUGH && reference.total >= ENOUGH;
        enough.then(|| self.shares.iter().zip(&reference.shares).map(each).sum())
    }

    /// Bars, and the outline of the reference.
    pub fn drawing(&self, reference: &Self) -> String {
        let most = self.shares.iter().chain(&reference.shares).copied().fold(0.01, f64::max);
        let height = |share: f64| share / most * 58.0;
        let (mut bars, mut outline) = (String::new(), "M0 60".to_owned());
        for (step, (now, then)) in self.shares.iter().zip(&reference.shares).enumerate() {
            let (left, high) = (step * 10, height(*now));
            // Writing into a text cannot fail.
            write!(bars, "M{} 60v-{high:.1}h8v{high:.1}z", left + 1).ok();
            write!(outline, "V{:.1}H{}", 60.0 - height(*then), left + 10).ok();
        }
        format!(
            "<svg viewBox=\"0 0 200 60\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">\
             <path class=\"bars\" d=\"{bars}\"/><path class=\"outline\" d=\"{outline}V60\"/></svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a score on a step's edge that is drawn in the next, points that are drawn as shares, a shift that nobody would see.
    #[test]
    fn scores_are_drawn_in_equal_steps() {
        let mut spread = Spread::of_scores();
        for (score, times) in [(0.03, 50), (0.05, 50), (0.97, 60), (1.0, 40)] {
            spread.record(score, times);
        }
        assert!(!in_points(&spread));
        let steps = Steps::of(&spread, false);
        assert_eq!((steps.shares[0], steps.shares[19], steps.shares[1]), (0.5, 0.5, 0.0));
        assert!(steps.shift(&steps).unwrap().abs() < 1e-9);
        let mut moved = Spread::of_scores();
        moved.record(0.5, 200);
        assert!(Steps::of(&moved, false).shift(&steps).unwrap() > 1.0);
        moved.record(730.0, 1);
        moved.record(2_000.0, 1);
        assert!(in_points(&moved));
        let points = Steps::of(&moved, true);
        assert!(points.shares[14] > 0.0 && points.shares[19] > 0.0 && points.shares[0] > 0.9, "{points:?}");
        assert_eq!(Steps::of(&Spread::of_scores(), false).shift(&steps), None);
    }
}
