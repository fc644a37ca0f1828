//! A network that tells of each run, for tests.

use super::{Network, Scratch, Sequence};
use crate::inference::InferenceError;
use crate::inference::words::WordTable;

/// The network, and what is asked before each run; its error is the run's.
pub struct Watching<F>(pub Box<dyn Network>, pub F);

impl<F: Fn(&[Sequence<'_>]) -> Result<(), InferenceError> + Send + Sync> Network for Watching<F> {
    fn hidden(&self) -> usize {
        self.0.hidden()
    }

    fn max_tokens(&self) -> usize {
        self.0.max_tokens()
    }

    fn vocabulary(&self) -> usize {
        self.0.vocabulary()
    }

    fn words(&self) -> &WordTable {
        self.0.words()
    }

    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        (self.1)(texts)?;
        self.0.encode(texts, scratch)
    }
}
