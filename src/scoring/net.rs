//! A small multi-layer perceptron with its scaler. Features, scaler and hidden layers are `f32`, as in training; the last sum is
//! `f64`, so that its order does not matter.

use super::error::Fault;
use super::linear::Scaler;

/// What follows each layer but the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Relu,
    Tanh,
    Sigmoid,
}

impl Activation {
    pub fn of(name: &str) -> Result<Self, Fault> {
        match name {
            "relu" => Ok(Self::Relu),
            "tanh" => Ok(Self::Tanh),
            "sigmoid" => Ok(Self::Sigmoid),
            other => {
                let cause = format!("the activation {other:?} is not known");
                Err(Fault::unsupported("metadata", cause, "use relu, tanh or sigmoid"))
            }
        }
    }

    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Relu => values.iter_mut().for_each(|value| *value = value.max(0.0)),
            Self::Tanh => values.iter_mut().for_each(|value| *value = value.tanh()),
            Self::Sigmoid => values.iter_mut().for_each(|value| *value = 1.0 / (1.0 + (-*value).exp())),
        }
    }
}

/// `y = W x + b`. The weights of one input lie side by side, so that the inner loop runs over outputs.
#[derive(Debug, Clone)]
pub struct Layer {
    by_input: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// `weight` as PyTorch has it: `[outputs, inputs]`, row by row.
    pub fn new(weight: &[f32], bias: Vec<f32>, inputs: usize) -> Self {
        let outputs = bias.len();
        let by_input = (0..inputs).flat_map(|input| (0..outputs).map(move |output| weight[output * inputs + input])).collect();
        Self { by_input, bias }
    }

    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn apply(&self, from: &[f32], into: &mut Vec<f32>) {
        if let [bias] = self.bias[..] {
            into.clear();
            into.push((f64::from(bias) + dot(from, &self.by_input)) as f32);
            return;
        }
        into.clone_from(&self.bias);
        for (x, weights) in from.iter().zip(self.by_input.chunks_exact(self.bias.len())) {
            for (sum, weight) in into.iter_mut().zip(weights) {
                *sum += x * weight;
            }
        }
    }
}

/// In lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f64; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a * b);
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(a * b)).sum::<f64>()
}

#[derive(Debug, Clone)]
pub struct Net {
    mean: Vec<f32>,
    scale: Vec<f32>,
    layers: Vec<Layer>,
    activation: Activation,
}

impl Net {
    /// Layers that fit each other, the last with one output.
    pub fn new(scaler: Scaler, layers: Vec<Layer>, activation: Activation) -> Self {
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        Self { mean: narrow(scaler.mean), scale: narrow(scaler.scale), layers, activation }
    }

    /// Numbers that were trained, the scaler apart.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.by_input.len() + layer.bias.len()).sum()
    }

    pub fn margin(&self, row: &[f64]) -> f64 {
        let scaled = row.iter().zip(&self.mean).zip(&self.scale).map(|((x, mean), scale)| (*x as f32 - mean) / scale);
        let mut values: Vec<f32> = scaled.collect();
        let mut next = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            if number > 0 {
                self.activation.apply(&mut values);
            }
            layer.apply(&values, &mut next);
            std::mem::swap(&mut values, &mut next);
        }
        values.first().map_or(f64::NAN, |value| f64::from(*value))
    }
}
