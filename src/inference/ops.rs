//! The arithmetic of the packed encoder, on plain row-major slices. Matrix products are gemm's (the kernels that candle uses),
//! on the calling thread; the rest is written so that the compiler vectorises it, for AVX2 where the processor has it.

use gemm::{Parallelism, gemm};

/// A matrix seen through strides: element `(r, c)` is `data[offset + r * row + c * col]`.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) offset: usize,
    pub(super) row: usize,
    pub(super) col: usize,
}

impl View {
    /// One past the last element that a matrix of this size touches.
    fn end(self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { self.offset } else { self.offset + (rows - 1) * self.row + (cols - 1) * self.col + 1 }
    }
}

/// `out[m, n] = out * keep + scale * a[m, k] · b[k, n]`, with `keep` 0 or 1.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product; a struct would only rename them")]
pub(super) fn multiply(
    (m, n, k): (usize, usize, usize),
    out: &mut [f32],
    o: View,
    keep: bool,
    a: &[f32],
    av: View,
    b: &[f32],
    bv: View,
    scale: f32,
) {
    assert!(o.end(m, n) <= out.len() && av.end(m, k) <= a.len() && bv.end(k, n) <= b.len(), "matrix out of bounds");
    let stride = |s: usize| s as isize;
    // SAFETY: the assertion above keeps every element that the strides reach inside the three slices, `out` is borrowed
    // mutably and so overlaps neither operand, and its strides address distinct elements.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(o.offset),
            stride(o.col),
            stride(o.row),
            keep,
            a.as_ptr().add(av.offset),
            stride(av.col),
            stride(av.row),
            b.as_ptr().add(bv.offset),
            stride(bv.col),
            stride(bv.row),
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A linear layer, stored for row-major products: `weight` is `[inputs, outputs]`, contiguous.
pub struct Linear {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
}

impl Linear {
    /// From checkpoint layout: each `weight` is `[outputs, inputs]`; several layers of the same input are joined side by side.
    pub fn join(parts: &[(Vec<f32>, Vec<f32>)], inputs: usize) -> Self {
        let bias: Vec<f32> = parts.iter().flat_map(|(_, bias)| bias.iter().copied()).collect();
        let outputs = bias.len();
        let mut weight = vec![0.0; inputs * outputs];
        let rows = parts.iter().flat_map(|(weight, _)| weight.chunks_exact(inputs));
        for (column, row) in rows.enumerate() {
            for (i, value) in row.iter().enumerate() {
                weight[i * outputs + column] = *value;
            }
        }
        Self { weight, bias, inputs }
    }

    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// `out[rows, outputs] = x[rows, inputs] · weight + bias`. `out` is resized.
    pub fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        let (rows, n) = (x.len() / self.inputs, self.outputs());
        out.clear();
        for _ in 0..rows {
            out.extend_from_slice(&self.bias);
        }
        let (o, a, b) = (row_major(0, n), row_major(0, self.inputs), row_major(0, n));
        multiply((rows, n, self.inputs), out, o, true, x, a, &self.weight, b, 1.0);
    }
}

pub(super) fn row_major(offset: usize, row: usize) -> View {
    View { offset, row, col: 1 }
}

/// Self-attention of one text that stands at rows `start..start + len` of the packed `qkv` `[tokens, 3 * hidden]`, written to
/// the same rows of `out` `[tokens, hidden]`. The scale is folded into the query weights. `scores` is scratch.
pub fn attention(qkv: &[f32], out: &mut [f32], (start, len): (usize, usize), hidden: usize, heads: usize, scores: &mut Vec<f32>) {
    let size = hidden / heads;
    scores.resize(len * len, 0.0);
    let base = start * 3 * hidden;
    for head in 0..heads {
        let at = base + head * size;
        let query = row_major(at, 3 * hidden);
        let key_transposed = View { offset: at + hidden, row: 1, col: 3 * hidden };
        let value = row_major(at + 2 * hidden, 3 * hidden);
        multiply((len, len, size), scores, row_major(0, len), false, qkv, query, qkv, key_transposed, 1.0);
        for row in scores.chunks_exact_mut(len) {
            softmax(row);
        }
        let o = row_major(start * hidden + head * size, hidden);
        multiply((len, size, len), out, o, false, scores, row_major(0, len), qkv, value, 1.0);
    }
}

/// Defines a function with a body that is compiled twice, for AVX2 and for any processor, and picked at run time.
macro_rules! vectorised {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $body:block) => {
        $(#[$doc])*
        pub fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) { body($($arg),*) }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, checked on the line above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(super) use vectorised;

vectorised! {
    /// GELU with the error function, in place; its error is below 2e-7 relative to |x|.
    gelu(x: &mut [f32]) {
        for v in x {
            let z = v.abs() * std::f32::consts::FRAC_1_SQRT_2;
            // Abramowitz and Stegun 7.1.26: erfc(z) to 1.5e-7.
            let t = 1.0 / (1.0 + 0.327_591_1 * z);
            let poly = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
            let tail = 0.5 * poly * exp(-z * z);
            *v *= if *v < 0.0 { tail } else { 1.0 - tail };
        }
    }
}

vectorised! {
    /// `max(x, 0)`, in place. A value that is not a number stays one.
    relu(x: &mut [f32]) {
        for v in x {
            *v = if *v < 0.0 { 0.0 } else { *v };
        }
    }
}

vectorised! {
    /// Softmax of one row, in place, with the maximum subtracted.
    softmax(row: &mut [f32]) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        for v in row.iter_mut() {
            *v = exp(*v - max);
        }
        let scale = 1.0 / sum(row);
        for v in row {
            *v *= scale;
        }
    }
}

vectorised! {
    /// `x = layer_norm(x + residual)`, row by row of `weight.len()`, with the variance in a second pass.
    add_layer_norm(x: &mut [f32], residual: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let width = weight.len();
        for (row, old) in x.chunks_exact_mut(width).zip(residual.chunks_exact(width)) {
            for (v, r) in row.iter_mut().zip(old) {
                *v += r;
            }
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

vectorised! {
    /// `total += row`.
    add(total: &mut [f32], row: &[f32]) {
        for (t, v) in total.iter_mut().zip(row) {
            *t += v;
        }
    }
}

const LANES: usize = 16;

#[inline(always)]
pub(super) fn sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[inline(always)]
pub(super) fn square_sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|v| v * v).sum::<f32>()
}

/// `e^x` for `x <= 0`, to two units in the last place; below -87 it is that of -87 (about 1e-38). Without branches and calls.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    // ln 2 in two parts, so that the remainder is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let poly = ((((1.987_569_1e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 1.666_666_5e-1) * r + 0.5;
    (poly * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_follows_the_library() {
        for i in 0..870_000 {
            let x = i as f32 * -1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2.5e-7 * exact, "exp({x})");
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn gelu_follows_candles() {
        let x: Vec<f32> = (-8000..8000).map(|i| i as f32 * 1e-3).collect();
        let mut ours = x.clone();
        gelu(&mut ours);
        let theirs = candle_core::Tensor::new(x.as_slice(), &candle_core::Device::Cpu).unwrap().gelu_erf().unwrap();
        for ((x, a), b) in x.iter().zip(&ours).zip(theirs.to_vec1::<f32>().unwrap()) {
            assert!((a - b).abs() <= 3e-7 * x.abs().max(1.0), "gelu({x}) = {a}, candle says {b}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let mut row = [f32::NAN, 1.0];
        gelu(&mut row);
        assert!(row[0].is_nan());
        let mut row = [f32::NAN, 1.0];
        softmax(&mut row);
        assert!(row.iter().all(|v| v.is_nan()));
    }
}
