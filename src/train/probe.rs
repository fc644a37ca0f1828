//! Heads on a frozen encoder: multinomial logistic regression, and the nearest centroid.

use super::lbfgs::{Stop, minimise};
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

/// A linear head: `logits[label] = weight[label] · vector + bias[label]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[labels, dimensions]`, row-major.
    pub weight: Vec<f32>,
    /// `[labels]`
    pub bias: Vec<f32>,
}

impl Linear {
    /// `[labels]`
    pub fn logits(&self, vector: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(vector).map(|(w, v)| w * v).sum::<f32>();
        self.weight.chunks_exact(vector.len()).zip(&self.bias).map(|(row, bias)| dot(row) + bias).collect()
    }

    /// The same head with its logits divided by `temperature`.
    pub fn tempered(mut self, temperature: f64) -> Self {
        self.weight.iter_mut().chain(&mut self.bias).for_each(|v| *v = (f64::from(*v) / temperature) as f32);
        self
    }
}

/// Vectors of one width, and the label of each.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    /// `[rows][dimensions]`
    pub vectors: Vec<Vec<f32>>,
    pub labels: Vec<u32>,
}

impl Labelled {
    fn width(&self) -> Result<usize> {
        let width = self.vectors.first().map_or(0, Vec::len);
        ensure!(width > 0 && self.vectors.len() == self.labels.len(), "there is nothing to learn from");
        Ok(width)
    }
}

/// The head that is least for `0.5 |W|² + c Σ cross-entropy`, biases free of charge: scikit-learn's `LogisticRegression(C=c)`.
pub fn regression(data: &Labelled, labels: usize, c: f64) -> Result<Linear> {
    let (width, rows) = (data.width()?, data.vectors.len());
    let values: Vec<f64> = data.vectors.iter().flatten().map(|v| f64::from(*v)).collect();
    let x = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
    let transposed = x.t()?.contiguous()?;
    let value = |at: &[f64]| -> Result<(f64, Vec<f64>)> {
        let (weight, bias) = at.split_at(labels * width);
        let w = Tensor::from_slice(weight, (labels, width), &Device::Cpu)?;
        let mut logits = x.matmul(&w.t()?)?.flatten_all()?.to_vec1::<f64>()?;
        let (mut loss, mut of_bias) = (0.0, vec![0.0; labels]);
        for (row, &label) in logits.chunks_exact_mut(labels).zip(&data.labels) {
            row.iter_mut().zip(bias).for_each(|(v, b)| *v += b);
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
            loss += most + sum.ln() - row[label as usize];
            row.iter_mut().for_each(|v| *v = (*v - most).exp() / sum);
            row[label as usize] -= 1.0;
            of_bias.iter_mut().zip(&*row).for_each(|(b, v)| *b += c * v);
        }
        let errors = Tensor::from_vec(logits, (rows, labels), &Device::Cpu)?;
        let mut gradient = transposed.matmul(&errors)?.t()?.contiguous()?.flatten_all()?.to_vec1::<f64>()?;
        gradient.iter_mut().zip(weight).for_each(|(g, w)| *g = c * *g + w);
        gradient.extend(of_bias);
        Ok((c * loss + 0.5 * weight.iter().map(|w| w * w).sum::<f64>(), gradient))
    };
    let stop = Stop { iterations: 500, gradient: 1e-4 * c };
    let found: Vec<f32> = minimise(vec![0.0; labels * (width + 1)], stop, value)?.into_iter().map(|v| v as f32).collect();
    let (weight, bias) = found.split_at(labels * width);
    Ok(Linear { weight: weight.to_vec(), bias: bias.to_vec() })
}

/// The head whose rows are the labels' mean vectors, of length 1: logits are cosines, biases 0.
pub fn centroids(data: &Labelled, labels: usize) -> Result<Linear> {
    let width = data.width()?;
    let mut weight = vec![0.0; labels * width];
    for (vector, &label) in data.vectors.iter().zip(&data.labels) {
        weight[label as usize * width..][..width].iter_mut().zip(vector).for_each(|(w, v)| *w += v);
    }
    for row in weight.chunks_exact_mut(width) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Ok(Linear { weight, bias: vec![0.0; labels] })
}

/// The temperature that makes the probabilities of `logits` fit `labels` best (least cross-entropy; Guo et al. 2017, temperature
/// scaling), by golden-section search over its logarithm between 1/32 and 32.
pub fn temperature(logits: &[Vec<f32>], labels: &[u32]) -> f64 {
    let loss = |log: f64| -> f64 {
        let scale = (-log).exp();
        let one = |(row, &label): (&Vec<f32>, &u32)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|v| (f64::from(v - most) * scale).exp()).sum();
            sum.ln() - f64::from(row[label as usize] - most) * scale
        };
        logits.iter().zip(labels).map(one).sum()
    };
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-(32f64.ln()), 32f64.ln());
    for _ in 0..60 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if loss(a) <= loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corners() -> Labelled {
        let mut data = Labelled::default();
        for i in 0..90u32 {
            let (a, b) = ((i % 7) as f32 * 0.02, (i % 5) as f32 * 0.03);
            data.vectors.push(match i % 3 {
                0 => vec![1.0 - a, b],
                1 => vec![a, 1.0 - b],
                _ => vec![-0.8 + a, -0.7 + b],
            });
            data.labels.push(i % 3);
        }
        data
    }

    fn best(row: &[f32]) -> u32 {
        (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
    }

    /// The figures are scikit-learn 1.9.1's LogisticRegression(C=2, tol=1e-10) on the same rows.
    #[test]
    fn regression_is_that_of_scikit_learn() {
        let data = Labelled {
            vectors: vec![vec![0.0, 1.0], vec![1.0, 0.5], vec![2.0, -1.0], vec![0.5, 0.5], vec![1.5, 2.0], vec![-1.0, 0.2]],
            labels: vec![0, 1, 2, 0, 1, 0],
        };
        let head = regression(&data, 3, 2.0).unwrap();
        for (found, expected) in head.weight.iter().zip(SKLEARN.0) {
            assert!((found - expected).abs() < 2e-3, "{:?}", head.weight);
        }
        // Biases are determined up to a constant.
        let mean = head.bias.iter().sum::<f32>() / 3.0;
        for (found, expected) in head.bias.iter().zip(SKLEARN.1) {
            assert!((found - mean - expected).abs() < 2e-3, "{:?}", head.bias);
        }
    }

    const SKLEARN: ([f32; 6], [f32; 3]) = (
        [-1.221_433_6, 0.094_816_13, 0.552_266_1, 0.783_899_9, 0.669_167_5, -0.878_716_1],
        [1.534_276_9, -0.512_822_5, -1.021_454_4],
    );

    #[test]
    fn both_heads_learn_three_corners() {
        let data = corners();
        for head in [regression(&data, 3, 10.0).unwrap(), centroids(&data, 3).unwrap()] {
            let right = data.vectors.iter().zip(&data.labels).filter(|(v, l)| best(&head.logits(v)) == **l).count();
            assert_eq!(right, 90);
        }
    }

    /// Would catch: a search in the wrong direction, logits multiplied instead of divided.
    #[test]
    fn a_temperature_undoes_a_scale() {
        let logits: Vec<Vec<f32>> = (0..100).map(|_| vec![3f32.ln() * 7.0, 0.0]).collect();
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i % 4 == 0)).collect();
        // Three of four are right, so the best logit is ln 3.
        assert!((temperature(&logits, &labels) - 7.0).abs() < 1e-3);
        let head = Linear { weight: vec![14.0, 0.0], bias: vec![7.0, 0.0] }.tempered(7.0);
        assert_eq!(head.logits(&[1.0]), [3.0, 0.0]);
    }
}
