//! A stack of layers as BERT has them: attention, then two products, a norm behind each of the two. Every linear layer sees
//! `[total_tokens, hidden]`, attention runs text by text, so nothing is padded and nothing masked. Query, key and value are one
//! product; the attention scale is folded into the query. Where a head reads first tokens alone, the last layer works for those.

use super::projection::{Plan, Projection};
use super::{Reader, Scratch, Sequence, firsts};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Distances, Linear, Norm, Stretch, attention, fit};

/// What a family calls the parts of a layer.
pub struct Names {
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attended: &'static str,
    pub attended_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub down_norm: &'static str,
}

/// BERT's names, which most families have kept.
pub const BERT: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attended: "attention.output.dense",
    attended_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    down_norm: "output.LayerNorm",
};

/// The sizes that all layers share.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub hidden: usize,
    pub heads: usize,
    /// Between the two products.
    pub wide: usize,
    pub epsilon: f32,
    pub activation: Activation,
}

impl Sizes {
    /// From BERT's keys.
    pub fn read(config: &ModelConfig) -> Result<Self, InferenceError> {
        Self {
            hidden: config.count("hidden_size")?,
            heads: config.count("num_attention_heads")?,
            wide: config.count("intermediate_size")?,
            epsilon: config.number_or("layer_norm_eps", 1e-12)? as f32,
            activation: Activation::named(config, "hidden_act")?,
        }
        .checked(config)
    }

    /// Of the scores.
    fn scale(&self) -> f32 {
        1.0 / ((self.hidden / self.heads) as f32).sqrt()
    }

    /// Refuses heads that do not divide the width.
    pub fn checked(self, config: &ModelConfig) -> Result<Self, InferenceError> {
        match self.hidden.is_multiple_of(self.heads) {
            true => Ok(self),
            false => Err(config.unsupported(format!("{} attention heads do not divide {} numbers", self.heads, self.hidden))),
        }
    }
}

struct Layer {
    query_key_value: Projection,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

impl Layer {
    /// Reads the layer whose parts begin with `at`.
    fn load(reader: &Reader<'_>, at: &str, names: &Names, sizes: &Sizes) -> Result<Self, InferenceError> {
        let Sizes { hidden, wide, .. } = *sizes;
        let at = |name: &str| format!("{at}.{name}");
        let mut query = reader.part(&at(names.query), hidden, hidden)?;
        let scale = sizes.scale();
        query.0.iter_mut().chain(&mut query.1).for_each(|v| *v *= scale);
        let key = reader.part(&at(names.key), hidden, hidden)?;
        let value = reader.part(&at(names.value), hidden, hidden)?;
        Ok(Self {
            query_key_value: Projection::new(Linear::join(&[query, key, value], hidden)),
            attended: reader.linear(&at(names.attended), hidden, hidden)?,
            attended_norm: reader.norm(&at(names.attended_norm), hidden)?,
            up: reader.linear(&at(names.up), hidden, wide)?,
            down: reader.linear(&at(names.down), wide, hidden)?,
            down_norm: reader.norm(&at(names.down_norm), hidden)?,
        })
    }
}

/// Whose vectors are read in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    All,
    /// The first token's of each text.
    Firsts,
}

/// The layers of one encoder.
pub struct Stack {
    layers: Vec<Layer>,
    /// The layers in the order in which they run; ALBERT runs one many times.
    order: Vec<usize>,
    sizes: Sizes,
    distances: Option<Distances>,
}

impl Stack {
    /// Reads the layers that begin with `places`, and runs them in this order.
    pub fn load(
        reader: &Reader<'_>,
        places: impl Iterator<Item = String>,
        names: &Names,
        sizes: Sizes,
    ) -> Result<Self, InferenceError> {
        let layers: Vec<Layer> =
            places.map(|at| Layer::load(reader, &at, names, &sizes)).collect::<Result<_, InferenceError>>()?;
        Ok(Self { order: (0..layers.len()).collect(), layers, sizes, distances: None })
    }

    /// The same layers in another order; each number is below the number of layers.
    pub fn in_order(self, order: Vec<usize>) -> Self {
        Self { order, ..self }
    }

    /// With terms for the distance of two tokens in every layer.
    pub fn with_distances(self, distances: Distances) -> Self {
        Self { distances: Some(distances), ..self }
    }

    /// Worked out by another plan, for those who want to see what the usual one brings.
    pub fn planned(self, plan: Plan) -> Self {
        let scale = self.sizes.scale();
        let of = |layer: Layer| Layer { query_key_value: layer.query_key_value.planned(plan, scale), ..layer };
        Self { layers: self.layers.into_iter().map(of).collect(), ..self }
    }

    pub fn hidden(&self) -> usize {
        self.sizes.hidden
    }

    /// Bytes of the buffers at most, where words have vectors of `width`: three of them take turns, so that each becomes as wide as the
    /// widest, and the scores are those of one head of one text.
    pub fn activations(&self, tokens: usize, longest: usize, width: usize) -> usize {
        let widest = (3 * self.sizes.hidden).max(self.sizes.wide).max(width);
        size_of::<f32>() * (3 * tokens * widest + longest * longest)
    }

    /// From `[total_tokens, hidden]` in `scratch.x` to the last layer's output for those that are wanted, there too.
    pub fn run(&self, texts: &[Sequence<'_>], wanted: Wanted, scratch: &mut Scratch) {
        let Sizes { hidden, heads, epsilon, activation, .. } = self.sizes;
        let Scratch { x, y, wide, scores, .. } = scratch;
        for (place, layer) in self.order.iter().filter_map(|&layer| self.layers.get(layer)).enumerate() {
            let last = wanted == Wanted::Firsts && place + 1 == self.order.len();
            layer.query_key_value.forward(x, wide);
            fit(y, x.len());
            let mut start = 0;
            for text in texts {
                let len = text.ids.len();
                let queries = if last { first_queries(len) } else { len };
                attention(wide, y, Stretch { start, len, queries }, (hidden, heads), self.distances.as_ref(), scores);
                start += len;
            }
            if last {
                firsts(texts, hidden, x);
                firsts(texts, hidden, y);
            }
            layer.attended.forward(y, wide);
            layer.attended_norm.add_and_apply(wide, x, epsilon);
            std::mem::swap(x, wide);
            layer.up.forward(x, wide);
            activation.apply(wide);
            layer.down.forward(wide, y);
            layer.down_norm.add_and_apply(y, x, epsilon);
            std::mem::swap(x, y);
        }
    }
}

/// How many queries of a text of `len` tokens are worked out where the first alone is wanted. A product takes its sums in another order for a
/// single row, for up to 256 scores, and, over more than 512 keys, for up to 64 rows; then the first token's vector would have other bits
/// than among all.
fn first_queries(len: usize) -> usize {
    let least = if len > 512 { 65 } else { 2 };
    (256 / len.max(1) + 1).max(least).min(len)
}
