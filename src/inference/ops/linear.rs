//! Linear layers: products of rows with weights, in which a row has the same bits however many go together.

use super::{View, multiply, room, row_major};
use crate::inference::dots::add_products;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
