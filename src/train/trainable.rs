//! What the training loop needs of a network and its data.

use super::journal::Point;
use anyhow::Result;
use candle_core::{Tensor, Var};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A network with the data it is trained and measured on. An example is a number that [`Trainable::batches`] gives out.
pub trait Trainable: Sync {
    /// What is trained, by name. Names ending in `.weight`, but those of norms, are decayed.
    fn parameters(&self) -> &BTreeMap<String, Var>;

    /// The batches of one pass over the data; what they are follows from `epoch` and a seed alone.
    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>>;

    /// The mean loss of a part of a batch, as a number with a gradient. Examples count by their [`Trainable::weight`]. What is drawn at
    /// random, such as dropout, follows from `draw` alone.
    fn loss(&self, part: &[usize], draw: u64) -> Result<Tensor>;

    /// How much an example counts in the loss of its batch: the number of things that are guessed in it.
    fn weight(&self, example: usize) -> f64 {
        let _ = example;
        1.0
    }

    /// Whether the loss of a batch follows from a parameter. One that it does not follow from stays as it is in that step.
    fn reaches(&self, batch: &[usize], parameter: &str) -> bool {
        let _ = (batch, parameter);
        true
    }

    /// Tokens of an example, to tell the speed.
    fn tokens(&self, example: usize) -> usize;

    /// How good the network is now, on what it is not trained on. Higher is better; no number where what it says is none.
    fn measure(&self) -> Result<f64>;

    /// The measure, and the figures behind it where several things are trained.
    fn measures(&self) -> Result<(f64, Vec<f64>)> {
        Ok((self.measure()?, Vec::new()))
    }

    /// A measure for people, such as `accuracy 91.20`.
    fn said(&self, measure: f64) -> String;

    /// The same with the figures behind it.
    fn said_with(&self, measure: f64, figures: &[f64]) -> String {
        let _ = figures;
        self.said(measure)
    }
}

/// What happened in a run, in order.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
    Check {
        step: usize,
        measure: f64,
        /// Those behind the measure, where several things are trained.
        #[serde(default)]
        figures: Vec<f64>,
        seconds: f64,
    },
}

impl Record {
    /// The figures behind the highest measure of a run, where several things were trained.
    pub fn best(records: &[Self]) -> &[f64] {
        let best = records.iter().fold((f64::MIN, &[][..]), |best, record| match record {
            Self::Check { measure, figures, .. } if *measure > best.0 => (*measure, figures),
            _ => best,
        });
        best.1
    }

    /// As a journal takes it down; `measured` names the measure.
    pub fn points(&self, measured: impl Into<Cow<'static, str>>) -> Vec<Point> {
        match *self {
            Self::Step { step, loss, rate, norm, .. } => vec![
                Point::new(step, "train/loss", loss),
                Point::new(step, "train/learning_rate", rate),
                Point::new(step, "train/gradient_norm", norm),
            ],
            Self::Check { step, measure, .. } => vec![Point::new(step, measured, measure)],
        }
    }
}
