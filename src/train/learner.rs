//! A network with the examples that it learns from and is measured on.

use super::batches::{Example, batches};
use super::checkpoint::accuracy;
use super::network::Network;
use super::trainable::Trainable;
use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;

/// A classifier of texts under training.
pub struct Learner<'a> {
    pub network: &'a Network,
    pub train: &'a [Example],
    pub dev: &'a [Example],
    pub seed: u64,
}

impl Trainable for Learner<'_> {
    fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.network.parameters
    }

    fn batches(&self, size: usize, epoch: usize) -> Vec<Vec<usize>> {
        batches(self.train, size, self.seed.wrapping_add(epoch as u64))
    }

    fn loss(&self, part: &[usize], _: u64) -> Result<Tensor> {
        let ids: Vec<u32> = part.iter().flat_map(|&i| self.train[i].ids.iter().copied()).collect();
        let labels: Vec<u32> = part.iter().map(|&i| self.train[i].label).collect();
        let logits = self.network.logits(&ids, part.len())?;
        Ok(candle_nn::loss::cross_entropy(&logits, &Tensor::from_vec(labels, part.len(), &Device::Cpu)?)?)
    }

    fn tokens(&self, example: usize) -> usize {
        self.train[example].ids.len()
    }

    fn measure(&self) -> Result<f64> {
        accuracy(self.network, self.dev)
    }

    fn said(&self, measure: f64) -> String {
        format!("accuracy {:.2}", 100.0 * measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::fit::{Fit, Plan};
    use crate::train::network::tests::tiny;
    use crate::train::trainable::Record;

    #[test]
    fn loss_falls_and_a_tiny_set_is_learnt() {
        let network = tiny();
        let examples: Vec<Example> =
            (0..24u32).map(|i| Example { ids: vec![1, 3 + i % 8, if i % 2 == 0 { 12 } else { 13 }, 2], label: i % 2 }).collect();
        let learner = Learner { network: &network, train: &examples, dev: &examples, seed: 1 };
        let all: Vec<usize> = (0..24).collect();
        let before = f64::from(learner.loss(&all, 0).unwrap().to_scalar::<f32>().unwrap());
        let plan = Plan { epochs: 60, rate: 1.5e-2, batch: 24, seed: 1, checks: 1, ..Plan::default() };
        let mut seen = Vec::new();
        let fitted = Fit::new(&learner, &plan).observed(&mut |record: &Record| seen.push(*record)).run().unwrap();
        assert!(fitted.last_loss < before - 0.2, "{before} to {}", fitted.last_loss);
        assert_eq!(fitted.best, 1.0);
        assert_eq!(learner.measure().unwrap(), 1.0);
        assert_eq!(seen, fitted.records);
        assert_eq!(seen.iter().filter(|record| matches!(record, Record::Check { .. })).count(), 60);
    }
}
