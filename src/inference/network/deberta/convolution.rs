//! The layer of neighbours that some DeBERTa checkpoints have beside their first layer.

use super::super::{Reader, Sequence};
use super::distances::switched;
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Linear, Norm, room};

/// Beside the first layer: each token's neighbours, weighed, activated and added.
pub(super) struct Convolution {
    /// `[kernel * hidden] -> hidden`
    linear: Linear,
    kernel: usize,
    norm: Norm,
    activation: Activation,
}

impl Convolution {
    /// `None` for a checkpoint without it.
    pub(super) fn load(reader: &Reader<'_>, config: &ModelConfig) -> Result<Option<Self>, InferenceError> {
        let Some(kernel) = switched(config, "conv_kernel_size")? else { return Ok(None) };
        if kernel.is_multiple_of(2) || kernel > 63 || config.count_or("conv_groups", 1)? != 1 {
            let cause = format!("conv_kernel_size is {kernel}; an odd kernel up to 63 in one group (conv_groups 1) runs");
            return Err(config.unsupported(cause));
        }
        let hidden = config.count("hidden_size")?;
        let stored = reader.f32("encoder.conv.conv.weight", &[hidden, hidden, kernel])?;
        let bias = reader.f32("encoder.conv.conv.bias", &[hidden])?;
        // Stored [outputs, inputs, kernel]; neighbours stand one after the other here: [outputs, kernel, inputs].
        let mut weight = Vec::with_capacity(stored.len());
        for row in stored.chunks_exact(hidden * kernel) {
            weight.extend((0..kernel).flat_map(|k| (0..hidden).map(move |i| row[i * kernel + k])));
        }
        let activation = if config.get("conv_act").is_none() { Activation::Tanh } else { Activation::named(config, "conv_act")? };
        let norm = reader.norm("encoder.conv.LayerNorm", hidden)?;
        Ok(Some(Self { linear: Linear::join(&[(weight, bias)], kernel * hidden), kernel, norm, activation }))
    }

    /// Numbers that it needs for a text of `len` tokens: the text between zeros, the windows, what comes out.
    pub(super) fn numbers(&self, len: usize) -> usize {
        let hidden = self.norm.weight.len();
        hidden * ((len + self.kernel - 1) + len * self.kernel + len)
    }

    /// `x = norm(x + activated(convolved(embeddings)))`. Beyond the ends of a text stand zeros.
    pub(super) fn apply(&self, texts: &[Sequence<'_>], embeddings: &[f32], x: &mut [f32], epsilon: f32) {
        let hidden = self.norm.weight.len();
        let (mut rest, mut after) = (embeddings, x);
        let (mut neighbours, mut windows, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let (rows, next) = rest.split_at(text.ids.len() * hidden);
            let (target, next_target) = std::mem::take(&mut after).split_at_mut(rows.len());
            (rest, after) = (next, next_target);
            room(&mut neighbours, rows.len() + (self.kernel - 1) * hidden);
            neighbours.resize(self.kernel / 2 * hidden, 0.0);
            neighbours.extend_from_slice(rows);
            neighbours.resize(neighbours.len() + self.kernel / 2 * hidden, 0.0);
            // Rows of kernel * hidden that begin one token apart.
            room(&mut windows, rows.len() * self.kernel);
            (0..text.ids.len()).for_each(|i| windows.extend_from_slice(&neighbours[i * hidden..(i + self.kernel) * hidden]));
            self.linear.forward(&windows, &mut out);
            self.activation.apply(&mut out);
            self.norm.add_and_apply(target, &out, epsilon);
        }
    }
}
