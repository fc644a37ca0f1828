//! Kernels of the causal layers, in the manner of the encoder's: plain row-major slices, compiled for AVX2 too.

use crate::inference::ops::{Linear, exp, square_sum, sum, vectorised};

/// `out[rows, outputs] = x[rows, inputs] · weight + bias`, each row with the same bits however many there are: the product of a single
/// row is made another way and rounds otherwise, so that such a row goes twice. (gemm sums the inputs in parts whose size follows from
/// their number alone, but where there are at most 64 outputs of more than 512 inputs, which no network here has.)
pub(super) fn forward(linear: &Linear, x: &[f32], out: &mut Vec<f32>) {
    if x.len() != linear.inputs {
        return linear.forward(x, out);
    }
    linear.forward(&[x, x].concat(), out);
    out.truncate(linear.outputs());
}

/// A matrix `[rows, cols]` turned round, in tiles that stay in the cache.
pub(super) fn turned(matrix: &[f32], cols: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let rows = matrix.len() / cols;
    let mut out = vec![0.0; matrix.len()];
    for first in (0..rows).step_by(TILE) {
        for start in (0..cols).step_by(TILE) {
            for row in first..(first + TILE).min(rows) {
                for col in start..(start + TILE).min(cols) {
                    out[col * rows + row] = matrix[row * cols + col];
                }
            }
        }
    }
    out
}

vectorised! {
    /// `out = x / rms(x) * weight`, row by row of `weight.len()`.
    rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let width = weight.len();
        for (row, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let scale = 1.0 / (square_sum(row) / width as f32 + epsilon).sqrt();
            for ((o, v), w) in out.iter_mut().zip(row).zip(weight) {
                *o = v * scale * w;
            }
        }
    }
}

vectorised! {
    /// The same in place.
    rms_norm_here(x: &mut [f32], weight: &[f32], epsilon: f32) {
        let width = weight.len();
        for row in x.chunks_exact_mut(width) {
            let scale = 1.0 / (square_sum(row) / width as f32 + epsilon).sqrt();
            for (v, w) in row.iter_mut().zip(weight) {
                *v = *v * scale * w;
            }
        }
    }
}

vectorised! {
    /// Layer norm in place, row by row of `weight.len()`, with the variance in a second pass.
    layer_norm_here(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let width = weight.len();
        for row in x.chunks_exact_mut(width) {
            let mean = sum(row) / width as f32;
            for v in row.iter_mut() {
                *v -= mean;
            }
            let scale = 1.0 / (square_sum(row) / width as f32 + epsilon).sqrt();
            for ((v, w), b) in row.iter_mut().zip(weight).zip(bias) {
                *v = *v * scale * w + b;
            }
        }
    }
}

/// `1 / (1 + e^-x)`, without overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let large = 1.0 / (1.0 + e);
    if x < 0.0 { e * large } else { large }
}

vectorised! {
    /// `x * sigmoid(x)`, in place.
    silu(x: &mut [f32]) {
        for v in x {
            *v *= sigmoid(*v);
        }
    }
}

vectorised! {
    /// GELU with the hyperbolic tangent, in place: `x / 2 * (1 + tanh(u))` is `x * sigmoid(2 u)`.
    gelu_tanh(x: &mut [f32]) {
        for v in x {
            let u = 0.797_884_6 * (*v + 0.044_715 * *v * *v * *v);
            *v *= sigmoid(2.0 * u);
        }
    }
}

vectorised! {
    /// `a *= b`.
    times(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a *= b;
        }
    }
}

vectorised! {
    /// `cap * tanh(x / cap)`, in place.
    soft_cap(x: &mut [f32], cap: f32) {
        for v in x {
            // tanh(z) is 2 sigmoid(2z) - 1, which loses the small ones; those are their own tanh up to a third power.
            let z = *v / cap;
            let square = z * z;
            let near = z * (1.0 - square * (0.333_333_34 - square * (0.133_333_34 - square * 0.053_968_254)));
            *v = cap * if square < 0.01 { near } else { 2.0 * sigmoid(2.0 * z) - 1.0 };
        }
    }
}

vectorised! {
    /// Turns the first `2 * cosines.len()` numbers of each head of `size`: number `i` with number `i + cosines.len()`.
    rotate(heads: &mut [f32], size: usize, cosines: &[f32], sines: &[f32]) {
        let half = cosines.len();
        for head in heads.chunks_exact_mut(size) {
            let (first, rest) = head.split_at_mut(half);
            for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

vectorised! {
    /// `scores[i] = query · keys[i]` over rows of the query's length.
    dots(query: &[f32], keys: &[f32], scores: &mut [f32]) {
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(query.len())) {
            *score = dot(query, key);
        }
    }
}

vectorised! {
    /// `out += weights[i] * values[i]` over rows of `out`'s length.
    add_weighted(out: &mut [f32], weights: &[f32], values: &[f32]) {
        for (weight, value) in weights.iter().zip(values.chunks_exact(out.len())) {
            for (o, v) in out.iter_mut().zip(value) {
                *o += weight * v;
            }
        }
    }
}

const LANES: usize = 16;

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

vectorised! {
    /// `out[0] = ln(Σ e^x)`; what is not a number in `x` makes it one that is not either.
    log_sum_exp(x: &[f32], out: &mut [f32; 1]) {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        let mut lanes = [0.0f32; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += exp(*v - max);
            }
        }
        let total = lanes.iter().sum::<f32>() + rest.iter().map(|v| exp(*v - max)).sum::<f32>();
        out[0] = max + total.ln();
    }
}

/// The natural logarithm of the probability that a softmax over `logits` gives to `id`.
///
/// # Panics
/// When `id` is outside the logits.
pub fn log_probability(logits: &[f32], id: usize) -> f32 {
    let mut total = [0.0];
    log_sum_exp(logits, &mut total);
    logits[id] - total[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f32, b: f64, tolerance: f64, what: &str) {
        assert!((f64::from(a) - b).abs() <= tolerance, "{what}: {a} and {b}");
    }

    #[test]
    fn activations_follow_their_formulas() {
        for i in -3000..3000 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x);
            let mut row = [x; 3];
            silu(&mut row);
            close(row[0], exact / (1.0 + (-exact).exp()), 3e-7 * exact.abs().max(1.0), "silu");
            let mut row = [x; 3];
            gelu_tanh(&mut row);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (exact + 0.044715 * exact.powi(3));
            close(row[0], 0.5 * exact * (1.0 + u.tanh()), 1e-6 * exact.abs().max(1.0), "gelu_tanh");
            let mut row = [x; 3];
            soft_cap(&mut row, 7.0);
            close(row[0], 7.0 * (exact / 7.0).tanh(), 3e-6, "soft_cap");
        }
    }

    /// Would catch: a product whose rounding depends on how many rows go together, so that a text would depend on its neighbours.
    #[test]
    fn rows_have_the_same_bits_however_many_there_are() {
        for (inputs, outputs) in [(576, 80), (512, 64), (40, 96), (48, 3)] {
            let number = |i: usize| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3;
            let weight: Vec<f32> = (0..inputs * outputs).map(number).collect();
            let linear = Linear { weight: turned(&weight, inputs), bias: vec![0.5; outputs], inputs };
            let rows: Vec<f32> = (0..300 * inputs).map(|i| number(i + 13)).collect();
            let mut alone = Vec::new();
            forward(&linear, &rows[..inputs], &mut alone);
            for count in [2, 3, 4, 7, 8, 16, 17, 64, 300] {
                let mut together = Vec::new();
                forward(&linear, &rows[..count * inputs], &mut together);
                assert_eq!(together[..outputs], alone, "{count} rows of {inputs} by {outputs}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let mut row = [f32::NAN, 1.0];
        silu(&mut row);
        assert!(row[0].is_nan());
        let mut row = [f32::NAN, 1.0];
        gelu_tanh(&mut row);
        assert!(row[0].is_nan());
        let mut row = [f32::NAN, 1.0];
        soft_cap(&mut row, 3.0);
        assert!(row[0].is_nan());
        assert!(log_probability(&[f32::NAN, 1.0], 1).is_nan());
    }

    #[test]
    fn log_probabilities_are_those_of_a_softmax() {
        let logits: Vec<f32> = (0..37).map(|i| (i * 7 % 11) as f32 - 40.0).collect();
        let total: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
        for (id, logit) in logits.iter().enumerate() {
            close(log_probability(&logits, id), f64::from(*logit) - total.ln(), 1e-5, "log_probability");
        }
    }
}
