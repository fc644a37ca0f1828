//! Linear layers in panels of columns. A panel lies together in memory, so that the few rows of a decoding step stream through the
//! weights; rows go in groups, so that the bits of a row do not depend on how many there are.

use crate::inference::ops::{View, multiply, room, row_major};

/// Columns of a panel, and rows of a group at most. Up to this size gemm cuts the sum over the inputs in the same places whatever the
/// other sizes are; only a single row goes another way, so that it goes twice.
const SIDE: usize = 64;

/// A linear layer.
pub(super) struct Panels {
    /// Panel after panel, each `[inputs, columns]` with 64 columns, the last with the rest.
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Panels {
    /// From checkpoint layout: each weight is `[outputs, inputs]`; several layers of the same input are joined side by side.
    pub(super) fn join(parts: &[(Vec<f32>, Vec<f32>)], inputs: usize) -> Self {
        let bias: Vec<f32> = parts.iter().flat_map(|(_, bias)| bias.iter().copied()).collect();
        let rows: Vec<&[f32]> = parts.iter().flat_map(|(weight, _)| weight.chunks_exact(inputs)).collect();
        let mut weight = Vec::with_capacity(inputs * bias.len());
        for panel in rows.chunks(SIDE) {
            for input in 0..inputs {
                weight.extend(panel.iter().map(|row| row[input]));
            }
        }
        Self { weight, bias, inputs }
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Numbers in memory.
    pub(super) fn numbers(&self) -> usize {
        self.weight.len() + self.bias.len()
    }

    /// The weights of one output, `[inputs]`.
    pub(super) fn column(&self, output: usize) -> impl Iterator<Item = f32> {
        let panel = output / SIDE;
        let (start, width) = (panel * SIDE * self.inputs, SIDE.min(self.outputs() - panel * SIDE));
        self.weight[start..start + width * self.inputs].iter().skip(output % SIDE).step_by(width).copied()
    }

    /// `out[rows, outputs] = x[rows, inputs] · weight + bias`. `out` is resized.
    pub(super) fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        let (rows, outputs) = (x.len() / self.inputs, self.outputs());
        if rows == 1 {
            self.forward(&[x, x].concat(), out);
            return out.truncate(outputs);
        }
        room(out, rows * outputs);
        for _ in 0..rows {
            out.extend_from_slice(&self.bias);
        }
        // Groups of nearly the same size, so that none is a single row.
        let groups = rows.div_ceil(SIDE);
        for first in (0..outputs).step_by(SIDE) {
            let width = SIDE.min(outputs - first);
            for group in 0..groups {
                let (from, to) = (group * rows / groups, (group + 1) * rows / groups);
                let to_view = View { offset: from * outputs + first, row: outputs, col: 1 };
                let x_view = row_major(from * self.inputs, self.inputs);
                let panel = row_major(first * self.inputs, width);
                multiply((to - from, width, self.inputs), out, to_view, true, x, x_view, &self.weight, panel, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(i: usize) -> f32 {
        ((i * 7919 % 1009) as f32 - 504.0) * 1e-3
    }

    fn part(inputs: usize, outputs: usize) -> (Vec<f32>, Vec<f32>) {
        ((0..inputs * outputs).map(number).collect(), (0..outputs).map(|i| number(i + 5)).collect())
    }

    #[test]
    fn joined_parts_stand_side_by_side() {
        let (inputs, first, second) = (7, part(7, 70), part(7, 61));
        let panels = Panels::join(&[first.clone(), second.clone()], inputs);
        assert_eq!((panels.outputs(), panels.numbers()), (131, 131 * 8));
        let x: Vec<f32> = (0..3 * inputs).map(|i| number(i + 3)).collect();
        let mut out = Vec::new();
        panels.forward(&x, &mut out);
        let (weight, bias) = ([first.0, second.0].concat(), [first.1, second.1].concat());
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            for output in 0..131 {
                let weight = &weight[output * inputs..(output + 1) * inputs];
                assert!(panels.column(output).eq(weight.iter().copied()));
                let exact: f64 = weight.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                assert!((f64::from(out[row * 131 + output]) - exact - f64::from(bias[output])).abs() < 1e-5);
            }
        }
    }

    /// Would catch: a product whose rounding depends on how many rows go together, so that a text would depend on its neighbours.
    #[test]
    fn rows_have_the_same_bits_however_many_there_are() {
        for (inputs, outputs) in [(600, 200), (1536, 65), (2100, 3), (40, 96)] {
            let panels = Panels::join(&[part(inputs, outputs)], inputs);
            let rows: Vec<f32> = (0..200 * inputs).map(|i| number(i + 13)).collect();
            let mut alone = Vec::new();
            panels.forward(&rows[..inputs], &mut alone);
            for count in [2, 3, 4, 7, 8, 16, 17, 64, 65, 130, 200] {
                let mut together = Vec::new();
                panels.forward(&rows[..count * inputs], &mut together);
                assert_eq!(together[..outputs], alone, "{count} rows of {inputs} by {outputs}");
            }
        }
    }
}
