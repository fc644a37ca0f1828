//! A run whose numbers are no longer finite: its weights are lost, and the next step would not bring them back.

/// What is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Of {
    #[error("the loss")]
    Loss,
    #[error("the gradient")]
    Gradient,
    #[error("what the network says of the examples to measure on")]
    Measure,
}

/// Ends a run. The weights are as the last step left them, and good for nothing.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "{of} is no longer finite at step {step} of {steps}: the run has diverged, and no model is written. --lr was {rate}; try {:.1e}, a third of it, \
     and where that diverges too {:.1e}, a tenth",
    .rate / 3.0,
    .rate / 10.0
)]
pub struct Diverged {
    pub of: Of,
    /// Counted from 1.
    pub step: usize,
    /// Of the whole run.
    pub steps: usize,
    /// The peak of the learning rate.
    pub rate: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_where_and_what_to_try() {
        let said = Diverged { of: Of::Loss, step: 7, steps: 300, rate: 0.3 }.to_string();
        for part in ["the loss", "step 7 of 300", "--lr was 0.3", "1.0e-1", "3.0e-2"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
