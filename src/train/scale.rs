//! Numbers that are learnt, brought to a mean of 0 and a deviation of 1: one learning rate then fits stars, percentages and prices. What is
//! written gives the numbers of the file again, since the scale goes into the last product.

use super::probe::Linear;
use anyhow::{Result, ensure};
use candle_core::Tensor;
use std::collections::HashMap;

const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";

/// Mean and standard deviation of the numbers to learn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    pub mean: f64,
    pub deviation: f64,
}

impl Scale {
    /// Of numbers that differ.
    pub fn of(values: &[f64]) -> Result<Self> {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        ensure!(deviation > 0.0, "all numbers to learn from are {mean}; there is nothing to tell apart");
        ensure!(deviation.is_finite(), "the numbers to learn from are too large");
        Ok(Self { mean, deviation })
    }

    /// A number of the file, as it is learnt.
    pub fn inward(&self, value: f64) -> f32 {
        ((value - self.mean) / self.deviation) as f32
    }

    /// What the network gives, as a number of the file.
    pub fn outward(&self, value: f64) -> f64 {
        value * self.deviation + self.mean
    }

    /// The values of a tensor as they are written: of the last product in numbers of the file, others as they are.
    pub fn written(&self, name: &str, values: &mut [f32]) {
        match name {
            WEIGHT => values.iter_mut().for_each(|value| *value = (f64::from(*value) * self.deviation) as f32),
            BIAS => values.iter_mut().for_each(|value| *value = self.outward(f64::from(*value)) as f32),
            _ => {}
        }
    }

    /// A head that gives the numbers of the file.
    pub fn head(&self, mut head: Linear) -> Linear {
        self.written(WEIGHT, &mut head.weight);
        self.written(BIAS, &mut head.bias);
        head
    }

    /// The other way: of a base model that gives such numbers already the last product as it goes on learning.
    pub fn taken(&self, weights: &mut HashMap<String, Tensor>) -> Result<()> {
        for (name, shift) in [(WEIGHT, 0.0), (BIAS, self.mean)] {
            if let Some(tensor) = weights.get_mut(name) {
                *tensor = tensor.affine(1.0 / self.deviation, -shift / self.deviation)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Would catch: a scale that goes in and does not come out again.
    #[test]
    fn what_is_written_gives_the_numbers_of_the_file() {
        let scale = Scale::of(&[1.0, 5.0]).unwrap();
        assert_eq!(scale, Scale { mean: 3.0, deviation: 2.0 });
        assert_eq!((scale.inward(5.0), scale.outward(1.0)), (1.0, 5.0));
        let head = Linear { weight: vec![0.5, -1.0], bias: vec![0.25] };
        let (vector, learnt) = ([2.0, 3.0], head.clone());
        let written = scale.head(head);
        assert!((f64::from(written.logits(&vector)[0]) - scale.outward(f64::from(learnt.logits(&vector)[0]))).abs() < 1e-6);
        let tensor = |values: &[f32], dims: &[usize]| Tensor::from_slice(values, dims, &Device::Cpu).unwrap();
        let mut weights = HashMap::from([
            (WEIGHT.to_owned(), tensor(&written.weight, &[1, 2])),
            (BIAS.to_owned(), tensor(&written.bias, &[1])),
        ]);
        scale.taken(&mut weights).unwrap();
        let back = |name: &str| weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((back(WEIGHT), back(BIAS)), (learnt.weight, learnt.bias));
        assert!(Scale::of(&[2.0, 2.0]).is_err() && Scale::of(&[]).is_err() && Scale::of(&[1e300, -1e300]).is_err());
    }
}
