//! One pass: packed rows `[total_tokens, hidden]` through the layers, attention sequence by sequence over its own cache.

use super::attention::{Buffers, Heads, alone, cached};
use super::blocks::{Blocks, Sequence};
use super::model::{Causal, Scratch};
use super::ops::{gelu_tanh, layer_norm_here, rms_norm, rms_norm_here, rotate, silu, times};
use super::panels::Panels;
use super::rows::Rows;
use super::spec::{Activation, LayerKind, Residual, Spec};
use crate::inference::ops::{add, gelu, relu};

/// A norm's weight, and its bias where it has one.
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

impl Norm {
    fn here(&self, x: &mut [f32], epsilon: f32) {
        match &self.bias {
            Some(bias) => layer_norm_here(x, &self.weight, bias, epsilon),
            None => rms_norm_here(x, &self.weight, epsilon),
        }
    }

    fn normalise(&self, x: &[f32], epsilon: f32, out: &mut Vec<f32>) {
        out.resize(x.len(), 0.0);
        if self.bias.is_none() {
            return rms_norm(x, &self.weight, epsilon, out);
        }
        out.copy_from_slice(x);
        self.here(out, epsilon);
    }

    pub(super) fn numbers(&self) -> usize {
        self.weight.len() + self.bias.as_ref().map_or(0, Vec::len)
    }
}

pub(super) struct Layer {
    pub(super) kind: LayerKind,
    pub(super) input_norm: Norm,
    pub(super) query_key_value: Panels,
    pub(super) query_norm: Option<Norm>,
    pub(super) key_norm: Option<Norm>,
    pub(super) attended: Panels,
    pub(super) attended_norm: Option<Norm>,
    /// `None` where the input's norm serves both parts.
    pub(super) feed_forward_norm: Option<Norm>,
    pub(super) up: Panels,
    pub(super) down: Panels,
    pub(super) down_norm: Option<Norm>,
}

impl Causal {
    /// All layers and the final norm over `scratch.x`; returns how many rows are left there.
    pub(super) fn run(&self, mut cache: Option<(&mut Blocks, &[&Sequence])>, scratch: &mut Scratch) -> usize {
        let epsilon = self.spec.epsilon;
        let Scratch { x, normed, wide, y, rows, buffers, .. } = scratch;
        rows.turn(&self.turns);
        for (index, layer) in self.layers.iter().enumerate() {
            layer.input_norm.normalise(x, epsilon, normed);
            layer.query_key_value.forward(normed, wide);
            self.attend(
                index,
                layer,
                cache.as_mut().map(|(blocks, sequences)| (&mut **blocks, *sequences)),
                wide,
                y,
                rows,
                buffers,
            );
            if index + 1 == self.layers.len() {
                // Nobody reads the other rows any more.
                rows.keep(x, self.spec.hidden);
                rows.keep(normed, self.spec.hidden);
                rows.keep(y, self.spec.heads * self.spec.head_size);
            }
            layer.attended.forward(y, wide);
            std::mem::swap(y, wide);
            if self.spec.residual == Residual::Sequential {
                if let Some(norm) = &layer.attended_norm {
                    norm.here(y, epsilon);
                }
                add(x, y);
            }
            if let Some(norm) = &layer.feed_forward_norm {
                norm.normalise(x, epsilon, normed);
            }
            if self.spec.residual != Residual::Sequential {
                add(x, y);
            }
            layer.up.forward(normed, wide);
            self.activate(wide, normed);
            layer.down.forward(normed, y);
            if let Some(norm) = &layer.down_norm {
                norm.here(y, epsilon);
            }
            add(x, y);
        }
        self.norm.here(x, epsilon);
        x.len() / self.spec.hidden
    }

    /// Norms and turns the heads in `qkv`, writes keys and values to the cache, and leaves the attention in `out`.
    #[expect(clippy::too_many_arguments, reason = "the buffers of one step, which are borrowed apart")]
    fn attend(
        &self,
        index: usize,
        layer: &Layer,
        mut cache: Option<(&mut Blocks, &[&Sequence])>,
        qkv: &mut [f32],
        out: &mut Vec<f32>,
        rows: &Rows,
        buffers: &mut Buffers,
    ) {
        let Spec { heads, kv_heads, head_size: size, epsilon, score_cap: cap, .. } = self.spec;
        let (width, queries, keys) = (self.spec.qkv_width(), heads * size, kv_heads * size);
        let sizes = Heads { heads, kv_heads, size, cap, window: layer.kind.window };
        for (row, qkv) in qkv.chunks_exact_mut(width).enumerate() {
            if let (Some(query), Some(key)) = (&layer.query_norm, &layer.key_norm) {
                query.here(&mut qkv[..queries], epsilon);
                key.here(&mut qkv[queries..queries + keys], epsilon);
            }
            if let Some((cosines, sines)) = rows.angle(layer.kind.rotary, row) {
                rotate(&mut qkv[..queries + keys], size, cosines, sines);
            }
        }
        out.resize(qkv.len() / width * queries, 0.0);
        for (segment, text) in rows.segments().iter().enumerate() {
            let range = text.start..text.start + text.len;
            let (qkv, out) = (&qkv[range.start * width..range.end * width], &mut out[range.start * queries..range.end * queries]);
            let Some((blocks, sequences)) = &mut cache else {
                alone(qkv, sizes, out, buffers);
                continue;
            };
            for (row, qkv) in qkv.chunks_exact(width).enumerate() {
                blocks.write(sequences[segment], index, text.position + row, &qkv[queries..]);
            }
            cached(qkv, text.position, sizes, (&**blocks, sequences[segment], index), out, buffers);
        }
    }

    /// The activation of the feed-forward part, gated where the network is, from `wide` into `out`.
    fn activate(&self, wide: &mut Vec<f32>, out: &mut Vec<f32>) {
        let activation: fn(&mut [f32]) = match self.spec.activation {
            Activation::Gelu => gelu,
            Activation::GeluTanh => gelu_tanh,
            Activation::Relu => relu,
            Activation::Silu => silu,
        };
        if !self.spec.gated {
            activation(wide);
            return std::mem::swap(wide, out);
        }
        out.clear();
        for row in wide.chunks_exact_mut(2 * self.spec.wide) {
            let (gate, up) = row.split_at_mut(self.spec.wide);
            activation(gate);
            times(gate, up);
            out.extend_from_slice(gate);
        }
    }
}
