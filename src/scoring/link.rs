//! From a margin to a probability.

/// What the sum of a model means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Link {
    /// Log-odds: `1 / (1 + exp(-sigmoid * margin))`. `sigmoid` is 1 but for LightGBM models trained with another value.
    Logistic { sigmoid: f64 },
    /// The margin estimates a 0/1 target itself, as after squared error; the probability is the margin cut to 0..=1.
    Identity,
}

impl Link {
    pub fn probability(self, margin: f64) -> f64 {
        match self {
            Self::Logistic { sigmoid } => logistic(sigmoid * margin),
            Self::Identity => margin.clamp(0.0, 1.0),
        }
    }
}

/// Exact at both ends: no overflow, no 1 - x for small x.
pub fn logistic(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: overflow at the ends, a sigmoid parameter that is dropped, a regression that leaves 0..=1.
    #[test]
    fn probabilities_stay_in_range_and_keep_their_small_digits() {
        assert_eq!(logistic(0.0), 0.5);
        assert!((logistic(-40.0) / (-40.0f64).exp() - 1.0).abs() < 1e-12);
        assert_eq!((logistic(1e6), logistic(-1e6)), (1.0, 0.0));
        assert_eq!(Link::Logistic { sigmoid: 2.0 }.probability(0.5), logistic(1.0));
        assert_eq!([-0.5, 0.25, 7.0].map(|margin| Link::Identity.probability(margin)), [0.0, 0.25, 1.0]);
    }
}
