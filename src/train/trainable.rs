//! What the training loop needs of a network and its data.

use anyhow::Result;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// A network with the data it is trained and measured on. An example is a number that [`Trainable::batches`] gives out.
pub trait Trainable: Sync {
    /// What is trained, by name. Names ending in `.weight`, but those of norms, are decayed.
    fn parameters(&self) -> &BTreeMap<String, Var>;

    /// The batches of one pass over the data, each once; their order follows from `epoch` and a seed alone.
    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>>;

    /// The mean loss of a part of a batch, as a number with a gradient. Examples count by their [`Trainable::weight`]. What is drawn at
    /// random, such as dropout, follows from `draw` alone.
    fn loss(&self, part: &[usize], draw: u64) -> Result<Tensor>;

    /// How much an example counts in the loss of its batch: the number of things that are guessed in it.
    fn weight(&self, example: usize) -> f64 {
        let _ = example;
        1.0
    }

    /// Tokens of an example, to tell the speed.
    fn tokens(&self, example: usize) -> usize;

    /// How good the network is now, on what it is not trained on. Higher is better.
    fn measure(&self) -> Result<f64>;

    /// A measure for people, such as `accuracy 91.20`.
    fn said(&self, measure: f64) -> String;
}

/// What happened in a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// Every few steps, and the last one.
    Step {
        /// Counted from 1.
        step: usize,
        /// Smoothed over about fifty steps.
        loss: f64,
        rate: f64,
        /// Of the gradient, before it was clipped.
        norm: f64,
        tokens_per_second: f64,
        /// Since the run began.
        seconds: f64,
    },
    /// A measurement.
    Check { step: usize, measure: f64, seconds: f64 },
}
