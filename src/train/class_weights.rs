//! Labels that count more or less in the loss: a rare one is else not worth a mistake with a common one.

use super::batches::{Example, Target};
use anyhow::{Result, bail, ensure};
use candle_core::{D, Device, Tensor};
use candle_nn::ops::log_softmax;
use std::fmt;
use std::str::FromStr;

/// What somebody wants labels to count.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// All labels as much together: `n / (k · n_c)` for a label with `n_c` of `n` rows, of `k` labels (scikit-learn's `balanced`).
    Balanced,
    /// Labels by name; the others count 1.
    Named(Vec<(String, f64)>),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let form = || "it is balanced, or LABEL=WEIGHT with a weight above 0, several with commas between".to_owned();
        let one = |part: &str| {
            let (label, weight) = part.rsplit_once('=').ok_or_else(form)?;
            let weight = weight.trim().parse::<f64>().ok().filter(|weight| weight.is_finite() && *weight > 0.0);
            Ok((label.trim().to_owned(), weight.ok_or_else(form)?))
        };
        text.split(',').map(one).collect::<Result<_, String>>().map(Self::Named)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Named(all) = self else { return out.write_str("balanced") };
        let all: Vec<String> = all.iter().map(|(label, weight)| format!("{label}={weight}")).collect();
        out.write_str(&all.join(","))
    }
}

/// How much a row of each label counts, in the order of the head's outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassWeights(Vec<f32>);

impl ClassWeights {
    /// For the labels `names`, of which the file has so many rows each.
    pub fn new(wanted: &Wanted, names: &[String], counts: &[usize]) -> Result<Self> {
        let (all, labels) = (counts.iter().sum::<usize>() as f64, names.len() as f64);
        let weights = match wanted {
            Wanted::Balanced => counts.iter().map(|&count| all / (labels * count.max(1) as f64)).collect(),
            Wanted::Named(named) => {
                let mut weights = vec![1.0; names.len()];
                for (label, weight) in named {
                    let Some(place) = names.iter().position(|name| name == label) else {
                        bail!("--class-weights names {label}, but the labels are {}", names.join(", "));
                    };
                    weights[place] = *weight;
                }
                weights
            }
        };
        Ok(Self(weights.into_iter().map(|weight: f64| weight as f32).collect()))
    }

    /// Of each label.
    pub fn all(&self) -> &[f32] {
        &self.0
    }

    /// How much an example counts.
    pub fn of(&self, example: &Example) -> Result<f32> {
        let Target::Label(label) = example.target else { bail!("only examples with one label have weights") };
        ensure!((label as usize) < self.0.len(), "label {label} of {}", self.0.len());
        Ok(self.0[label as usize])
    }

    /// The cross-entropy of logits `[examples, labels]`, each example by its weight, divided by the sum of weights (as torch's
    /// `CrossEntropyLoss(weight)`).
    pub fn loss(&self, logits: &Tensor, examples: &[&Example]) -> Result<Tensor> {
        let weights: Vec<f32> = examples.iter().map(|example| self.of(example)).collect::<Result<_>>()?;
        let labels: Vec<u32> =
            examples.iter().map(|example| if let Target::Label(label) = example.target { label } else { 0 }).collect();
        let (count, whole) = (examples.len(), weights.iter().map(|weight| f64::from(*weight)).sum::<f64>());
        let labels = Tensor::from_vec(labels, (count, 1), &Device::Cpu)?;
        let likely = log_softmax(logits, D::Minus1)?.gather(&labels, 1)?.squeeze(1)?;
        let weights = Tensor::from_vec(weights, count, &Device::Cpu)?;
        Ok(likely.mul(&weights)?.sum_all()?.affine(-1.0 / whole.max(f64::MIN_POSITIVE), 0.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::ops::tests::check_shape;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn example(label: u32) -> Example {
        Example { ids: vec![1], types: vec![], target: Target::Label(label) }
    }

    #[test]
    fn weights_are_balanced_or_named() {
        let names = names(&["a", "b=c", "d"]);
        let of = |text: &str| ClassWeights::new(&text.parse().unwrap(), &names, &[6, 3, 1]);
        assert_eq!(of("balanced").unwrap().all(), [10.0 / 18.0, 10.0 / 9.0, 10.0 / 3.0]);
        assert_eq!(of("b=c=2.5, d = 4").unwrap().all(), [1.0, 2.5, 4.0]);
        assert_eq!("b=c=2.5, d = 4".parse::<Wanted>().unwrap().to_string(), "b=c=2.5,d=4");
        assert!(of("e=2").unwrap_err().to_string().contains("a, b=c, d"));
        for wrong in ["", "a", "a=0", "a=-1", "a=x", "a=inf", "a=1,b"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }

    /// Torch 2.15: `CrossEntropyLoss(weight=tensor([1., 3.]))(tensor([[2., 0.], [1., 0.5]]), tensor([0, 1]))`, and its gradient.
    #[test]
    fn the_loss_is_the_weighted_mean() {
        let weights = ClassWeights(vec![1.0, 3.0]);
        let examples = [example(0), example(1)];
        let examples: Vec<&Example> = examples.iter().collect();
        let logits = Tensor::new(&[[2f32, 0.0], [1.0, 0.5]], &Device::Cpu).unwrap();
        let got = weights.loss(&logits, &examples).unwrap().to_scalar::<f32>().unwrap();
        assert!((got - 0.762_289_76).abs() < 1e-6, "{got}");
        let more: Vec<Example> = (0..6).map(|i| example(u32::from(i % 3 == 0))).collect();
        let more: Vec<&Example> = more.iter().collect();
        check_shape(&[6, 2], |x| weights.loss(x, &more).unwrap().broadcast_as((6, 2)).unwrap());
        assert!(weights.loss(&logits, &[&example(2), &example(0)]).is_err());
    }
}
