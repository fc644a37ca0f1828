//! The way back: from the softmax of logits to the gradients of all that is trained.

use super::super::adapter::Part;
use super::super::kernels;
use super::{Few, Gradients, IGNORED, Pass, Workspace, gain, sized};
use crate::inference::ops::{View, multiply, row_major};
use anyhow::Result;

/// Gradients on their way, named after what they are gradients of.
#[derive(Default)]
pub struct Buffers {
    picked: Vec<f32>,
    /// Of what goes along all layers.
    x: Vec<f32>,
    /// The same with what was left out.
    fresh: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    gate_up: Vec<f32>,
    wide: Vec<f32>,
}

impl Pass<'_> {
    /// After [`Self::losses`]; each target counts `share`.
    pub fn backward(&self, few: &Few<'_>, share: f32, space: &mut Workspace, gradients: &mut Gradients) -> Result<()> {
        let (spec, rows) = (&self.network.spec, few.ids.len());
        self.head_back(few, share, space, gradients)?;
        let columns = rows * spec.hidden;
        let Workspace { between, layers, attention, narrow, back, .. } = space;
        let Buffers { x: along, fresh, normed, qkv, mixed, gate_up, wide, .. } = back;
        let norm = self.held.get("norm.gain")?;
        kernels::rms_norm_back(&between[layers.len()], norm, spec.epsilon, along, gradients.of_norm("norm.gain", spec.hidden));
        for (layer, kept) in layers.iter().enumerate().rev() {
            let out = self.undropped(few, 2 * layer + 2, along, fresh);
            let of_wide = sized(wide, rows * spec.wide);
            self.product_back((layer, Part::Down), (&kept.wide, out), of_wide, gradients, narrow)?;
            let of_gates = sized(gate_up, rows * 2 * spec.wide);
            kernels::gated_back(&kept.gate_up, spec.wide, of_wide, of_gates);
            let of_normed = sized(normed, columns);
            self.product_back((layer, Part::GateUp), (&kept.renormed, of_gates), of_normed, gradients, narrow)?;
            self.norm_back(&gain("feed", layer), &kept.middle, of_normed, along, gradients)?;

            let out = self.undropped(few, 2 * layer + 1, along, fresh);
            let of_mixed = sized(mixed, kept.mixed.len());
            self.product_back((layer, Part::Out), (&kept.mixed, out), of_mixed, gradients, narrow)?;
            let of_qkv = sized(qkv, kept.qkv.len());
            self.attention(few).backward(&kept.qkv, (&kept.mixed, of_mixed), of_qkv, attention);
            self.product_back((layer, Part::Qkv), (&kept.normed, of_qkv), of_normed, gradients, narrow)?;
            self.norm_back(&gain("attention", layer), &between[layer], of_normed, along, gradients)?;
        }
        if let Some(of_table) = gradients.of("embed.weight") {
            let out = self.undropped(few, 0, along, fresh);
            for (row, id) in out.chunks_exact(spec.hidden).zip(few.ids) {
                kernels::add(&mut of_table[*id as usize * spec.hidden..][..spec.hidden], row);
            }
        }
        Ok(())
    }

    /// From the softmax of logits to hidden states, whose gradient is left in [`Buffers::x`].
    fn head_back(&self, few: &Few<'_>, share: f32, space: &mut Workspace, gradients: &mut Gradients) -> Result<()> {
        let (width, vocabulary) = (self.network.spec.hidden, self.network.spec.vocabulary);
        let Workspace { picked, logits, back, .. } = space;
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(few.guessed()) {
            row[target as usize] -= 1.0;
            row.iter_mut().for_each(|v| *v *= share);
        }
        let (rows, of_picked) = (picked.len() / width, sized(&mut back.picked, picked.len()));
        let (long, short) = (row_major(0, vocabulary), row_major(0, width));
        multiply((rows, width, vocabulary), of_picked, short, false, logits, long, self.held.get(self.head())?, short, 1.0);
        if let Some(of_table) = gradients.of(self.head()) {
            let columns = View { offset: 0, row: 1, col: vocabulary };
            multiply((vocabulary, width, rows), of_table, short, true, logits, columns, picked, short, 1.0);
        }
        let mut from = back.picked.chunks_exact(width);
        for (row, target) in sized(&mut back.x, few.ids.len() * width).chunks_exact_mut(width).zip(few.targets) {
            match (*target != IGNORED).then(|| from.next()).flatten() {
                Some(gradient) => row.copy_from_slice(gradient),
                None => row.fill(0.0),
            }
        }
        Ok(())
    }

    /// The gradient of what was added at a place, where some of it was left out.
    fn undropped<'b>(&self, few: &Few<'_>, place: usize, along: &'b [f32], fresh: &'b mut Vec<f32>) -> &'b [f32] {
        let Some((seed, share)) = self.dropped(few, place) else { return along };
        fresh.clear();
        fresh.extend_from_slice(along);
        kernels::drop_out(fresh, seed, share);
        fresh
    }

    /// Through a norm of `x`, whose gradient is added to that of what goes along.
    fn norm_back(
        &self,
        name: &str,
        x: &[f32],
        of_normed: &mut [f32],
        along: &mut [f32],
        gradients: &mut Gradients,
    ) -> Result<()> {
        let gain = self.held.get(name)?;
        kernels::rms_norm_back(x, gain, self.network.spec.epsilon, of_normed, gradients.of_norm(name, gain.len()));
        kernels::add(along, of_normed);
        Ok(())
    }
}
