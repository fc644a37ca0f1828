//! Products with the matrices of a layer and with their adapters, there and back.

use super::super::adapter::{Adapter, Part};
use super::held::Gradients;
use super::{Pass, sized};
use crate::inference::ops::{View, multiply, row_major};
use anyhow::Result;

/// What goes through the narrow middle of an adapter, `[rows, rank]`, and its gradient.
#[derive(Default)]
pub struct Narrow {
    there: Vec<f32>,
    back: Vec<f32>,
}

fn turned(row: usize) -> View {
    View { offset: 0, row: 1, col: row }
}

impl Pass<'_> {
    fn adapters(&self, layer: usize, part: Part) -> impl Iterator<Item = &Adapter> {
        self.network.adapters.iter().filter(move |adapter| (adapter.layer, adapter.matrix.part()) == (layer, part))
    }

    /// `out = x · W` with what adapters add, or `out += ` where it is to be kept.
    pub fn product(
        &self,
        (layer, part): (usize, Part),
        x: &[f32],
        out: &mut [f32],
        keep: bool,
        narrow: &mut Narrow,
    ) -> Result<()> {
        let (inputs, outputs) = part.dims(&self.network.spec);
        let (rows, whole) = (x.len() / inputs, row_major(0, outputs));
        let weight = self.held.get(&part.name(layer))?;
        multiply((rows, outputs, inputs), out, whole, keep, x, row_major(0, inputs), weight, whole, 1.0);
        for adapter in self.adapters(layer, part) {
            let (first, count) = adapter.matrix.columns(&self.network.spec);
            let (a, b) = (self.held.get(&adapter.down())?, self.held.get(&adapter.up())?);
            let rank = a.len() / inputs;
            let (thin, there) = (row_major(0, rank), sized(&mut narrow.there, rows * rank));
            multiply((rows, rank, inputs), there, thin, false, x, row_major(0, inputs), a, thin, 1.0);
            let target = row_major(first, outputs);
            multiply((rows, count, rank), out, target, true, there, thin, b, row_major(0, count), adapter.scale as f32);
        }
        Ok(())
    }

    /// From the gradient of [`Self::product`] that of `x` to `of_x`, and those of what is trained.
    pub fn product_back(
        &self,
        (layer, part): (usize, Part),
        (x, gradient): (&[f32], &[f32]),
        of_x: &mut [f32],
        gradients: &mut Gradients,
        narrow: &mut Narrow,
    ) -> Result<()> {
        let (inputs, outputs) = part.dims(&self.network.spec);
        let (rows, whole, of_rows) = (x.len() / inputs, row_major(0, outputs), row_major(0, inputs));
        let name = part.name(layer);
        multiply((rows, inputs, outputs), of_x, of_rows, false, gradient, whole, self.held.get(&name)?, turned(outputs), 1.0);
        if let Some(of_weight) = gradients.of(&name) {
            multiply((inputs, outputs, rows), of_weight, whole, true, x, turned(inputs), gradient, whole, 1.0);
        }
        for adapter in self.adapters(layer, part) {
            let (first, count) = adapter.matrix.columns(&self.network.spec);
            let (a, b) = (self.held.get(&adapter.down())?, self.held.get(&adapter.up())?);
            let (rank, scale, columns) = (a.len() / inputs, adapter.scale as f32, row_major(first, outputs));
            let (thin, wide) = (row_major(0, rank), row_major(0, count));
            let (there, back) = (sized(&mut narrow.there, rows * rank), sized(&mut narrow.back, rows * rank));
            multiply((rows, rank, inputs), there, thin, false, x, of_rows, a, thin, 1.0);
            multiply((rows, rank, count), back, thin, false, gradient, columns, b, turned(count), scale);
            if let Some(of_b) = gradients.of(&adapter.up()) {
                multiply((rank, count, rows), of_b, wide, true, there, turned(rank), gradient, columns, scale);
            }
            if let Some(of_a) = gradients.of(&adapter.down()) {
                multiply((inputs, rank, rows), of_a, thin, true, x, turned(inputs), back, thin, 1.0);
            }
            multiply((rows, inputs, rank), of_x, of_rows, true, back, thin, a, turned(rank), 1.0);
        }
        Ok(())
    }
}
