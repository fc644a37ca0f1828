//! How a run of the training loop goes.

use super::optimiser::Fall;

/// How long and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Passes over the data.
    pub epochs: usize,
    /// Learning rate at its highest.
    pub rate: f64,
    /// Examples of a batch.
    pub batch: usize,
    pub weight_decay: f64,
    /// How slowly the optimiser forgets how large gradients were, below 1.
    pub beta2: f64,
    /// How the rate falls after it has risen.
    pub fall: Fall,
    /// Share of the way on which the rate rises.
    pub warm_up: f64,
    /// Norm to which a longer gradient is shortened.
    pub clip: f64,
    pub seed: u64,
    /// Measurements an epoch.
    pub checks: usize,
    /// Falls to rate zero and ends by then, even where steps are left.
    pub minutes: Option<f64>,
    /// Ends early after so many steps; for measuring speed.
    pub max_steps: Option<usize>,
    /// Ends early after so many measurements without a better one.
    pub patience: Option<usize>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            epochs: 1,
            rate: 7e-5,
            batch: 32,
            weight_decay: 0.01,
            beta2: 0.999,
            fall: Fall::Linear,
            warm_up: 0.1,
            clip: 1.0,
            seed: 42,
            checks: 4,
            minutes: None,
            max_steps: None,
            patience: None,
        }
    }
}
