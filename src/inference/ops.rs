//! The arithmetic of the packed encoder, on plain row-major slices. Matrix products are gemm's (the kernels that candle uses),
//! on the calling thread; the rest is written so that the compiler vectorises it, for AVX2 where the processor has it.

use super::InferenceError;
use super::checkpoint::ModelConfig;
use super::dots::add_products;
use gemm::{Parallelism, gemm};

/// A matrix seen through strides: element `(r, c)` is `data[offset + r * row + c * col]`.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub(crate) offset: usize,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl View {
    /// One past the last element that a matrix of this size touches.
    fn end(self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { self.offset } else { self.offset + (rows - 1) * self.row + (cols - 1) * self.col + 1 }
    }
}

/// `out[m, n] = out * keep + scale * a[m, k] · b[k, n]`, with `keep` 0 or 1.
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product; a struct would only rename them")]
pub(crate) fn multiply(
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

/// Weight and bias of a layer norm.
pub struct Norm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Norm {
    /// `x = layer_norm(x + residual)`, row by row.
    pub fn add_and_apply(&self, x: &mut [f32], residual: &[f32], epsilon: f32) {
        add_layer_norm(x, residual, &self.weight, &self.bias, epsilon);
    }

    /// `x = layer_norm(x)`, row by row.
    pub fn apply(&self, x: &mut [f32], epsilon: f32) {
        layer_norm(x, &self.weight, &self.bias, epsilon);
    }
}

/// What stands between two linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// With the error function: `gelu` in a configuration.
    Gelu,
    /// With the hyperbolic tangent: `gelu_new` and its other names.
    GeluTanh,
    Silu,
    Relu,
    Tanh,
    None,
}

impl Activation {
    /// The activation that a key of `config.json` names; `gelu` where it is absent.
    pub fn named(config: &ModelConfig, key: &str) -> Result<Self, InferenceError> {
        match config.text_or(key, "gelu")? {
            "gelu" | "gelu_python" => Ok(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_accurate" => Ok(Self::GeluTanh),
            "silu" | "swish" => Ok(Self::Silu),
            "relu" => Ok(Self::Relu),
            "tanh" => Ok(Self::Tanh),
            other => {
                let known = "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, silu, relu, tanh";
                Err(config.unsupported(format!("{key} is `{other}`; known: {known}")))
            }
        }
    }

    pub fn apply(self, x: &mut [f32]) {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Silu => silu(x),
            Self::Relu => relu(x),
            Self::Tanh => x.iter_mut().for_each(|v| *v = v.tanh()),
            Self::None => {}
        }
    }
}

/// A linear layer, stored for row-major products: `weight` is `[inputs, outputs]`, contiguous.
pub struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
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

    /// `out[rows, outputs] = x[rows, inputs] · weight + bias`, each row with the same bits however many there are. `out` is resized.
    pub fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        let (rows, n) = (x.len() / self.inputs, self.outputs());
        if n <= SIDE {
            return self.forward_alike(x, out);
        }
        if rows == 1 {
            self.forward(&[x, x].concat(), out);
            return out.truncate(n);
        }
        biases(rows, &self.bias, out);
        let (o, a, b) = (row_major(0, n), row_major(0, self.inputs), row_major(0, n));
        multiply((rows, n, self.inputs), out, o, true, x, a, &self.weight, b, 1.0);
    }

    /// [`Linear::forward`] into the columns from `first` on of an `out` of `width`, whose other columns stay. What a row gets depends on whether it is
    /// alone.
    pub fn forward_beside(&self, x: &[f32], out: &mut [f32], (first, width): (usize, usize)) {
        let rows = x.len() / self.inputs;
        for row in out.chunks_exact_mut(width) {
            row[first..first + self.outputs()].copy_from_slice(&self.bias);
        }
        let (o, a, b) = (row_major(first, width), row_major(0, self.inputs), row_major(0, self.outputs()));
        multiply((rows, self.outputs(), self.inputs), out, o, true, x, a, &self.weight, b, 1.0);
    }

    /// A layer of some of the outputs.
    pub fn some_outputs(&self, outputs: std::ops::Range<usize>) -> Self {
        let rows = self.weight.chunks_exact(self.outputs());
        let weight = rows.flat_map(|row| &row[outputs.clone()]).copied().collect();
        Self { weight, bias: self.bias[outputs].to_vec(), inputs: self.inputs }
    }

    /// Multiplies some of the outputs with `factor`.
    pub fn multiply_outputs(&mut self, outputs: std::ops::Range<usize>, factor: f32) {
        let n = self.outputs();
        let weights = self.weight.chunks_exact_mut(n).flat_map(|row| &mut row[outputs.clone()]);
        weights.chain(&mut self.bias[outputs.clone()]).for_each(|v| *v *= factor);
    }

    /// [`Linear::forward`] for a few rows, in small pieces, whatever the number of outputs.
    pub fn forward_alike(&self, x: &[f32], out: &mut Vec<f32>) {
        let n = self.outputs();
        if x.len() == self.inputs {
            self.forward_alike(&[x, x].concat(), out);
            return out.truncate(n);
        }
        biases(x.len() / self.inputs, &self.bias, out);
        for first in (0..n).step_by(SIDE) {
            add_columns(x, self.inputs, first..(first + SIDE).min(n), (&self.weight, row_major(first, n)), (out, n));
        }
    }
}

/// Makes a buffer `len` long. Where it has to grow it grows to exactly that, so that the memory of a batch can be told before it runs.
pub fn fit(buffer: &mut Vec<f32>, len: usize) {
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    buffer.resize(len, 0.0);
}

/// Empties a buffer that is then filled to `len`; the same of its growth.
pub fn room(buffer: &mut Vec<f32>, len: usize) {
    buffer.clear();
    buffer.reserve_exact(len);
}

/// `rows` times the bias.
fn biases(rows: usize, bias: &[f32], out: &mut Vec<f32>) {
    room(out, rows * bias.len());
    for _ in 0..rows {
        out.extend_from_slice(bias);
    }
}

/// `out[rows, columns] += x[rows, inputs] · weight` for at most [`SIDE`] columns of an `out` of `n`; in groups of rows of nearly the same
/// size, so that none is a single row.
fn add_columns(
    x: &[f32],
    inputs: usize,
    columns: std::ops::Range<usize>,
    (weight, view): (&[f32], View),
    (out, n): (&mut [f32], usize),
) {
    let rows = x.len() / inputs;
    let groups = rows.div_ceil(SIDE);
    for group in 0..groups {
        let (from, to) = (group * rows / groups, (group + 1) * rows / groups);
        let target = View { offset: from * n + columns.start, row: n, col: 1 };
        let part = row_major(from * inputs, inputs);
        multiply((to - from, columns.len(), inputs), out, target, true, x, part, weight, view, 1.0);
    }
}

/// Rows and columns that [`Linear::forward_alike`] multiplies together at most. Up to so many of both, gemm cuts the sum over the inputs
/// in the same places whatever the sizes are; and so it does, in others, wherever there are more columns than that. Only a single row
/// goes another way, so that it goes twice.
const SIDE: usize = 64;

/// `out[rows, outputs] = x[rows, inputs] · tableᵀ + bias`, with a `table` `[outputs, inputs]` that belongs to somebody else; each row with
/// the same bits however many there are. `out` is resized.
pub fn project(x: &[f32], table: &[f32], bias: &[f32], out: &mut Vec<f32>) {
    let inputs = table.len() / bias.len().max(1);
    biases(x.len() / inputs.max(1), bias, out);
    let n = bias.len();
    if !add_products(x, table, inputs, (out, 0, n)) {
        project_by_gemm(x, table, bias, out);
    }
}

/// The same where [`add_products`] does not run.
fn project_by_gemm(x: &[f32], table: &[f32], bias: &[f32], out: &mut Vec<f32>) {
    let (n, inputs) = (bias.len(), table.len() / bias.len().max(1));
    if inputs > 0 && x.len() == inputs {
        project_by_gemm(&[x, x].concat(), table, bias, out);
        return out.truncate(n);
    }
    biases(x.len() / inputs.max(1), bias, out);
    if n > FEW {
        let (a, turned) = (row_major(0, inputs), View { offset: 0, row: 1, col: inputs });
        return multiply((x.len() / inputs, n, inputs), out, row_major(0, n), true, x, a, table, turned, 1.0);
    }
    for first in (0..n).step_by(SIDE) {
        let columns = first..(first + SIDE).min(n);
        let width = columns.len();
        let mut turned = vec![0.0; inputs * width];
        for (column, row) in table[first * inputs..columns.end * inputs].chunks_exact(inputs).enumerate() {
            row.iter().enumerate().for_each(|(i, value)| turned[i * width + column] = *value);
        }
        add_columns(x, inputs, columns, (&turned, row_major(0, width)), (out, n));
    }
}

/// Two rows and so many columns make 256 numbers. Up to those gemm goes another way where both operands lie as a table does, with sums
/// in another order; a table of so few columns is turned first.
const FEW: usize = 128;

pub(crate) fn row_major(offset: usize, row: usize) -> View {
    View { offset, row, col: 1 }
}

/// What attention adds for the distance from a query to a key, one row a head.
pub struct Distances {
    /// `[heads, 2 * reach - 1]`; the column `reach - 1` is for the query's own place, those behind it for keys that come later.
    pub table: Vec<f32>,
    /// One more than the greatest distance.
    pub reach: usize,
}

impl Distances {
    /// For each key of a text of `len` tokens, seen from `query`. `query` and `len` stay below `reach`.
    fn row(&self, head: usize, query: usize, len: usize) -> &[f32] {
        let first = head * (2 * self.reach - 1) + self.reach - 1 - query;
        &self.table[first..first + len]
    }
}

/// Where a text stands among packed ones, and how many of its tokens look at all of them, from the first on.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    pub start: usize,
    pub len: usize,
    pub queries: usize,
}

/// Self-attention of one text that stands at rows `start..start + len` of the packed `qkv` `[tokens, 3 * hidden]`, written to
/// the rows of its queries in `out` `[tokens, hidden]`. The scale is folded into the query weights; `distances` are added to the scaled
/// scores. `scores` is scratch.
pub fn attention(
    qkv: &[f32],
    out: &mut [f32],
    Stretch { start, len, queries }: Stretch,
    (hidden, heads): (usize, usize),
    distances: Option<&Distances>,
    scores: &mut Vec<f32>,
) {
    let size = hidden / heads;
    fit(scores, queries * len);
    let base = start * 3 * hidden;
    for head in 0..heads {
        let at = base + head * size;
        let query = row_major(at, 3 * hidden);
        let key_transposed = View { offset: at + hidden, row: 1, col: 3 * hidden };
        let value = row_major(at + 2 * hidden, 3 * hidden);
        multiply((queries, len, size), scores, row_major(0, len), false, qkv, query, qkv, key_transposed, 1.0);
        for (query, row) in scores.chunks_exact_mut(len).enumerate() {
            if let Some(distances) = distances {
                add(row, distances.row(head, query, len));
            }
            softmax(row);
        }
        let o = row_major(start * hidden + head * size, hidden);
        multiply((queries, size, len), out, o, false, scores, row_major(0, len), qkv, value, 1.0);
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
pub(crate) use vectorised;

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
    /// GELU with the hyperbolic tangent, in place: `x * sigmoid(2 u)` with `u = sqrt(2 / pi) * (x + 0.044715 x^3)`.
    gelu_tanh(x: &mut [f32]) {
        for v in x {
            *v *= sigmoid(1.595_769 * (*v + 0.044_715 * *v * *v * *v));
        }
    }
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
            normalise(row, weight, bias, epsilon);
        }
    }
}

vectorised! {
    /// `x = layer_norm(x)`, row by row of `weight.len()`.
    layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        for row in x.chunks_exact_mut(weight.len()) {
            normalise(row, weight, bias, epsilon);
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

/// One row to mean 0 and variance 1, then scaled and moved.
#[inline(always)]
fn normalise(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum(row) / width;
    for v in row.iter_mut() {
        *v -= mean;
    }
    let scale = 1.0 / (square_sum(row) / width + epsilon).sqrt();
    for ((v, w), b) in row.iter_mut().zip(weight).zip(bias) {
        *v = *v * scale * w + b;
    }
}

/// `1 / (1 + e^-x)`, by the side on which the exponential is small.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp(-x.abs());
    (if x < 0.0 { small } else { 1.0 }) / (1.0 + small)
}

const LANES: usize = 16;

#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f32 {
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
pub(crate) fn square_sum(row: &[f32]) -> f32 {
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
pub(crate) fn exp(x: f32) -> f32 {
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
    fn other_activations_follow_candles() {
        let x: Vec<f32> = (-12_000..12_000).map(|i| i as f32 * 1e-3).collect();
        let theirs = candle_core::Tensor::new(x.as_slice(), &candle_core::Device::Cpu).unwrap();
        for (name, ours, theirs) in
            [("gelu_tanh", gelu_tanh as fn(&mut [f32]), theirs.gelu().unwrap()), ("silu", silu, theirs.silu().unwrap())]
        {
            let mut y = x.clone();
            ours(&mut y);
            for ((x, a), b) in x.iter().zip(&y).zip(theirs.to_vec1::<f32>().unwrap()) {
                assert!((a - b).abs() <= 1e-6 * x.abs().max(1.0), "{name}({x}) = {a}, candle says {b}");
            }
        }
    }

    /// Would catch: a product whose rounding depends on how many rows go together, so that a text would depend on its batch mates.
    #[test]
    fn rows_have_the_same_bits_however_many_there_are() {
        let numbers = |count: usize| (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3).collect::<Vec<f32>>();
        for (inputs, outputs) in [(384, 1152), (1536, 384), (2100, 70), (700, 20), (16, 48), (40, 1)] {
            let linear = Linear::join(&[(numbers(inputs * outputs), numbers(outputs))], inputs);
            let rows = numbers(300 * inputs);
            let (mut alone, mut together) = (Vec::new(), Vec::new());
            linear.forward(&rows[..inputs], &mut alone);
            for count in [2, 3, 7, 8, 9, 16, 31, 64, 65, 130, 300] {
                linear.forward(&rows[..count * inputs], &mut together);
                assert_eq!(together[..outputs], alone, "{count} rows of {inputs} by {outputs}");
            }
        }
    }

    /// The same for products with a table, whatever its size, and on processors of either kind.
    #[test]
    fn projected_rows_have_the_same_bits_however_many_there_are() {
        let numbers = |count: usize| (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3).collect::<Vec<f32>>();
        for (inputs, outputs) in [(700, 20), (40, 96), (3, 7), (32, 128), (37, 130), (600, 301), (64, 1000), (2100, 200)] {
            let (table, bias, rows) = (numbers(inputs * outputs), numbers(outputs), numbers(130 * inputs));
            for project in [project, project_by_gemm] {
                let (mut alone, mut together) = (Vec::new(), Vec::new());
                project(&rows[..inputs], &table, &bias, &mut alone);
                project(&[], &table, &bias, &mut together);
                assert!(together.is_empty());
                project(&rows, &table, &bias, &mut together);
                for (row, found) in rows.chunks_exact(inputs).zip(together.chunks_exact(outputs)) {
                    for ((found, weights), bias) in found.iter().zip(table.chunks_exact(inputs)).zip(&bias) {
                        let exact: f64 = weights.iter().zip(row).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                        assert!((f64::from(*found) - exact - f64::from(*bias)).abs() < 1e-4, "{inputs} by {outputs}");
                    }
                }
                for count in [2, 3, 5, 8, 16, 47, 48, 49, 64, 65, 130] {
                    project(&rows[(130 - count) * inputs..], &table, &bias, &mut together);
                    let mut last = Vec::new();
                    project(&rows[129 * inputs..], &table, &bias, &mut last);
                    assert_eq!(together[(count - 1) * outputs..], last, "{count} rows of {inputs} by {outputs}");
                    project(&rows[..count * inputs], &table, &bias, &mut together);
                    assert_eq!(together[..outputs], alone, "{count} rows of {inputs} by {outputs}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu, Activation::Tanh] {
            let mut row = [f32::NAN, 1.0];
            activation.apply(&mut row);
            assert!(row[0].is_nan() && row[1].is_finite(), "{activation:?}");
        }
        let mut row = [f32::NAN, 1.0];
        gelu(&mut row);
        assert!(row[0].is_nan());
        let mut row = [f32::NAN, 1.0];
        softmax(&mut row);
        assert!(row.iter().all(|v| v.is_nan()));
    }
}
