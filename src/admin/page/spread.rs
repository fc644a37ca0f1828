//! The distribution of scores: bars for the last ten minutes, an outline for the reference, which is from before the worker started, or its own scores
//! before those ten minutes. Scores of functions that have no scale of their own are told in a sentence.

use super::words;
use crate::telemetry::Spread;
use std::fmt::Write;
use std::time::Duration;

/// Bars of a drawing, from 0 to 1.
const BARS: usize = 20;
/// Scores under which two distributions are not compared.
const ENOUGH: u64 = 100;
/// How long a worker must be up before the last ten minutes are compared with its own scores before them.
const SETTLED: Duration = Duration::from_secs(20 * 60);
/// A bar with so great a share leaves nothing to compare.
const ONE_BAR: f64 = 0.95;
/// Share of the scores outside 0 to 1 above which they are no shares, such as logits.
const OUTSIDE: f64 = 0.01;
/// Functions whose scores are shares unless an option says otherwise.
const OF_SHARES: [&str; 7] = ["answer", "classify", "fill", "reply", "rerank", "risk", "sentiment"];

/// A pipeline's scores, as its page shows them.
pub struct Scores<'a> {
    /// Since the worker started.
    pub all: &'a Spread,
    /// Of the last ten minutes.
    pub late: &'a Spread,
    /// From before it started, where these are known.
    pub past: Option<&'a Spread>,
    pub up: Duration,
}

/// What late scores are compared with.
struct Reference {
    scores: Spread,
    words: String,
    /// It holds what was scored while the worker came up.
    is_own: bool,
}

impl Scores<'_> {
    /// With too few from before, those since the start serve.
    fn reference(&self) -> Reference {
        match self.past.filter(|past| past.total() >= ENOUGH) {
            Some(past) => {
                let words = format!("the {} scores before this worker started", words::count(past.total()));
                Reference { scores: past.clone(), words, is_own: false }
            }
            None => Reference {
                scores: self.all.since(self.late),
                words: "all before, since this worker started".into(),
                is_own: true,
            },
        }
    }

    pub fn drawn(&self, function: &str) -> String {
        let outside = Steps::of(self.all).outside as f64 / self.all.total().max(1) as f64;
        let reference = self.reference();
        if !OF_SHARES.contains(&function) || outside > OUTSIDE {
            return self.sentence(&reference);
        }
        let (now, before) = (Steps::of(self.late), Steps::of(&reference.scores));
        let at = |share: f64| words::or_dash(self.late.quantile(share).map(|score| format!("{score:.2}")));
        let beside = match now.outside {
            0 => String::new(),
            more => format!(" {} are below 0 or above 1 and in no bar.", words::count(more)),
        };
        let compared = match reference.is_own && self.up < SETTLED {
            true => format!("compared with what was before once it is up for {}", words::seconds(SETTLED.as_secs_f64())),
            false => now.compared(&before),
        };
        format!(
            "<p class=\"about\">Bars: the last 10 minutes. Outline, the reference: {}.</p>{}\
             <p class=\"about\">0 to 1. Median {}, 95 % are below {}; {compared}.{beside}</p>",
            reference.words,
            now.drawing(&before),
            at(0.5),
            at(0.95)
        )
    }

    fn sentence(&self, reference: &Reference) -> String {
        let figure = |known: Option<f64>| words::or_dash(known.map(|score| format!("{score:.3}")));
        let (least, most) = self.all.ends().unzip();
        format!(
            "<p class=\"about\">Not from 0 to 1, so without a drawing. Mean of the last 10 minutes {}; the reference, {}: {}. \
             Since this worker started: least {}, greatest {}.</p>",
            figure(self.late.mean()),
            reference.words,
            figure(reference.scores.mean()),
            figure(least),
            figure(most)
        )
    }
}

/// Shares by equal steps, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
struct Steps {
    shares: [f64; BARS],
    /// Scores within.
    total: u64,
    /// Scores below 0 or above 1.
    outside: u64,
}

impl Steps {
    fn of(spread: &Spread) -> Self {
        let is_within = |bound: Option<f64>| bound.is_some_and(|bound| (0.0..=1.0).contains(&bound));
        let total = spread.parts().filter(|(bound, _)| is_within(*bound)).map(|(_, count)| count).sum();
        let mut shares = [0.0; BARS];
        for (bound, count) in spread.parts() {
            if let Some(bound) = bound.filter(|bound| is_within(Some(*bound))) {
                // A bound belongs to the step that it ends.
                let step = (bound * BARS as f64 - 1e-9).ceil().max(1.0) as usize;
                shares[step.min(BARS) - 1] += count as f64 / u64::max(total, 1) as f64;
            }
        }
        Self { shares, total, outside: spread.total() - total }
    }

    /// What a reader may conclude of both.
    fn compared(&self, reference: &Self) -> String {
        let in_one_bar = |steps: &Self| steps.shares.iter().any(|share| *share >= ONE_BAR);
        if self.total < ENOUGH || reference.total < ENOUGH {
            return "too few scores to compare".to_owned();
        }
        if in_one_bar(self) || in_one_bar(reference) {
            return "nearly all are in one bar, so that nothing is compared".to_owned();
        }
        format!("stability index {:.3} (below 0.1 reads as stable)", self.shift(reference))
    }

    /// The population stability index against another: 0 where both are alike.
    fn shift(&self, reference: &Self) -> f64 {
        let floor = 0.000_1;
        let each = |(now, then): (&f64, &f64)| (now.max(floor) - then.max(floor)) * (now.max(floor) / then.max(floor)).ln();
        self.shares.iter().zip(&reference.shares).map(each).sum()
    }

    /// Bars, and the outline of the reference where there is one.
    fn drawing(&self, reference: &Self) -> String {
        let most = self.shares.iter().chain(&reference.shares).copied().fold(0.01, f64::max);
        let height = |share: f64| share / most * 58.0;
        let (mut bars, mut outline) = (String::new(), "M0 60".to_owned());
        for (step, (now, then)) in self.shares.iter().zip(&reference.shares).enumerate() {
            let (left, high) = (step * 10, height(*now));
            // Writing into a text cannot fail.
            write!(bars, "M{} 60v-{high:.1}h8v{high:.1}z", left + 1).ok();
            write!(outline, "V{:.1}H{}", 60.0 - height(*then), left + 10).ok();
        }
        let outline = if reference.total == 0 { String::new() } else { format!("<path class=\"outline\" d=\"{outline}V60\"/>") };
        format!(
            "<svg viewBox=\"0 0 200 60\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">\
             <path class=\"bars\" d=\"{bars}\"/>{outline}</svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn scores(function: &str, all: &Spread, late: &Spread, past: Option<&Spread>, up: Duration) -> String {
        Scores { all, late, past, up }.drawn(function)
    }

    fn of(parts: &[(f64, u64)]) -> Spread {
        let mut spread = Spread::of_scores();
        parts.iter().for_each(|(score, times)| spread.record(*score, *times));
        spread
    }

    /// Would catch: a score on a step's edge that is drawn in the next, one outside that is drawn in the last or the first.
    #[test]
    fn scores_are_drawn_in_equal_steps() {
        let steps = Steps::of(&of(&[(0.03, 50), (0.05, 50), (0.97, 60), (1.0, 40), (-1.0, 3), (730.0, 4)]));
        assert_eq!((steps.shares[0], steps.shares[19], steps.shares[1]), (0.5, 0.5, 0.0));
        assert_eq!((steps.total, steps.outside), (200, 7));
        assert!(steps.shift(&steps).abs() < 1e-9 && Steps::of(&of(&[(0.5, 200)])).shift(&steps) > 1.0);
    }

    /// Would catch: one odd score that changes the scale for ever, scores without a scale that are drawn as if they had one.
    #[test]
    fn what_has_no_scale_is_told_and_not_drawn() {
        let shares = of(&[(0.2, 5_000), (0.8, 5_000), (740.0, 1)]);
        let drawn = scores("sentiment", &shares, &shares, None, LONG);
        assert!(drawn.contains("<svg") && drawn.contains("0 to 1") && drawn.contains("1 are below 0 or above 1"), "{drawn}");
        let logits = of(&[(-3.0, 50), (2.5, 50)]);
        for (function, spread) in [("classify", &logits), ("recommend", &shares), ("copy", &shares), ("own:risk", &shares)] {
            let told = scores(function, spread, spread, None, LONG);
            assert!(!told.contains("<svg") && !told.contains("stab"), "{function}: {told}");
        }
        let told = scores("copy", &logits, &logits, None, LONG);
        assert!(told.contains("minutes -0.250;") && told.contains("least -3.000, greatest 2.500"), "{told}");
    }

    /// Would catch: the last ten minutes that are compared with themselves, an index of 0 out of one bar.
    #[test]
    fn the_reference_is_what_was_before() {
        let late = of(&[(0.2, 500), (0.8, 500)]);
        let all = of(&[(0.2, 500), (0.8, 500), (0.4, 5_000), (0.6, 5_000)]);
        let told = |all: &Spread, late: &Spread, up: Duration| scores("risk", all, late, None, up);
        let moved = told(&all, &late, LONG);
        let index: f64 = moved.split("stability index ").nth(1).and_then(|text| text.split(' ').next()).unwrap().parse().unwrap();
        assert!(index > 1.0, "{moved}");
        assert!(!told(&all, &late, Duration::from_secs(600)).contains("stability"));
        let young = told(&late, &late, Duration::from_secs(60));
        assert!(!young.contains("outline\"") && young.contains("once it is up for 20 min"), "{young}");
        let one_bar = told(&of(&[(0.97, 2_000)]), &of(&[(0.97, 1_000)]), LONG);
        assert!(one_bar.contains("in one bar") && !one_bar.contains("stability"), "{one_bar}");
        assert!(told(&all, &of(&[(0.2, 5)]), LONG).contains("too few"));
    }

    /// Would catch: a worker that has just started and compares with itself though it knows what was before; a handful of old scores that is a reference.
    #[test]
    fn what_was_before_the_start_is_the_reference() {
        let (low, high) = (of(&[(0.1, 300), (0.3, 300)]), of(&[(0.7, 300), (0.9, 300)]));
        let told = |past: &Spread| scores("risk", &high, &high, Some(past), Duration::from_secs(60));
        let moved = told(&low);
        assert!(moved.contains("the 600 scores before this worker started") && moved.contains("stability index 17.0"), "{moved}");
        assert!(moved.contains("outline\""), "{moved}");
        assert!(told(&high).contains("stability index 0.000"));
        let few = told(&of(&[(0.1, ENOUGH - 1)]));
        assert!(few.contains("since this worker started") && !few.contains("stability"), "{few}");
        let told = scores("copy", &high, &high, Some(&low), LONG);
        assert!(told.contains("minutes 0.800; the reference, the 600 scores before this worker started: 0.200."), "{told}");
    }
}
