//! The encoder, over packed texts.

use super::layers::{Around, Attention, DistanceBias, FeedForward, RowNorm, words};
use super::spec::{Family, Spec};
use crate::inference::InferenceError;
use crate::inference::attend::{Rows, mix, products, softmax_rows};
use crate::inference::network::Reader;
use crate::inference::ops::{Linear, Norm, add};
use crate::inference::words::WordTable;
use std::sync::Arc;

/// How a stack begins: word vectors, scaled, with those of positions.
pub struct Positions {
    /// `[longest, hidden]`; empty where distances stand in the scores.
    table: Vec<f32>,
    norm: Option<Norm>,
    scale: f32,
    hidden: usize,
}

impl Positions {
    pub fn load(reader: &Reader<'_>, side: &str, spec: &Spec) -> Result<Self, InferenceError> {
        let (hidden, longest) = (spec.hidden, spec.longest);
        let (table, norm) = match spec.family {
            Family::T5 => (Vec::new(), None),
            Family::Marian => (sinusoids(longest, hidden), None),
            Family::Bart => {
                // The first two rows stand for padding, which never is looked up here.
                let table = reader.f32(&format!("model.{side}.embed_positions.weight"), &[longest + 2, hidden])?;
                (table[2 * hidden..].to_vec(), Some(reader.norm(&format!("model.{side}.layernorm_embedding"), hidden)?))
            }
        };
        Ok(Self { table, norm, scale: spec.embedding_scale, hidden })
    }

    /// Appends the vector of a word at a position; both are inside their tables.
    pub fn push(&self, x: &mut Vec<f32>, words: &WordTable, id: u32, position: usize) {
        let start = x.len();
        words.push(id as usize, x);
        x[start..].iter_mut().for_each(|v| *v *= self.scale);
        if !self.table.is_empty() {
            add(&mut x[start..], &self.table[position * self.hidden..(position + 1) * self.hidden]);
        }
    }

    pub fn finish(&self, x: &mut [f32], epsilon: f32) {
        if let Some(norm) = &self.norm {
            norm.apply(x, epsilon);
        }
    }
}

/// Marian's positions: sines in the first half of a vector, cosines in the second. They are not stored.
fn sinusoids(longest: usize, hidden: usize) -> Vec<f32> {
    let row = |position: usize| {
        let angle = move |i: usize| position as f64 / 10_000f64.powf((2 * i) as f64 / hidden as f64);
        (0..hidden / 2).map(move |i| angle(i).sin() as f32).chain((0..hidden / 2).map(move |i| angle(i).cos() as f32))
    };
    (0..longest).flat_map(row).collect()
}

struct Layer {
    query_key_value: Linear,
    out: Linear,
    attention: Around,
    feed_forward: FeedForward,
    after: Around,
}

/// The weights of the encoder.
pub struct Encoder {
    /// `[vocabulary, hidden]`; the decoder holds the same where they share it.
    pub words: Arc<WordTable>,
    positions: Positions,
    layers: Vec<Layer>,
    last: Option<RowNorm>,
    bias: Option<DistanceBias>,
    hidden: usize,
    inner: usize,
    heads: usize,
    epsilon: f32,
}

impl Encoder {
    pub fn load(reader: &Reader<'_>, spec: &Spec) -> Result<Self, InferenceError> {
        let t5 = spec.family == Family::T5;
        let heads = spec.encoder.heads;
        let own = "encoder.block.0.layer.0.SelfAttention";
        let bias = spec.buckets.map(|buckets| DistanceBias::load(reader, own, buckets, heads, true)).transpose()?;
        Ok(Self {
            words: Arc::new(words(reader, spec, "encoder", spec.vocabulary)?),
            positions: Positions::load(reader, "encoder", spec)?,
            layers: (0..spec.encoder.layers).map(|index| layer(reader, spec, index)).collect::<Result<_, _>>()?,
            last: t5.then(|| RowNorm::load(reader, "encoder.final_layer_norm", spec)).transpose()?,
            bias,
            hidden: spec.hidden,
            inner: spec.inner,
            heads,
            epsilon: spec.epsilon,
        })
    }

    /// `[total_tokens, hidden]` of texts whose ids stand one after the other.
    pub fn encode<'a>(&self, ids: impl Iterator<Item = &'a u32>, lengths: &[usize]) -> Vec<f32> {
        let mut x = Vec::with_capacity(lengths.iter().sum::<usize>() * self.hidden);
        let positions = lengths.iter().flat_map(|&length| 0..length);
        ids.zip(positions).for_each(|(&id, position)| self.positions.push(&mut x, &self.words, id, position));
        self.positions.finish(&mut x, self.epsilon);
        let mut scores = Vec::new();
        for layer in &self.layers {
            layer.attention.run(&mut x, |input, out| {
                let (mut joined, mut mixed) = (Vec::new(), vec![0.0; input.len() / self.hidden * self.inner]);
                layer.query_key_value.forward(input, &mut joined);
                let mut start = 0;
                for &length in lengths {
                    self.attend((start, length), &joined, &mut mixed, &mut scores);
                    start += length;
                }
                layer.out.forward(&mixed, out);
            });
            layer.after.run(&mut x, |input, out| layer.feed_forward.run(input, out));
        }
        if let Some(last) = &self.last {
            last.apply(&mut x, self.epsilon);
        }
        x
    }

    fn attend(&self, (start, len): (usize, usize), joined: &[f32], out: &mut [f32], scores: &mut Vec<f32>) {
        let (inner, size) = (self.inner, self.inner / self.heads);
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(joined, start * 3 * inner + n * inner + head * size, 3 * inner);
            products(part(0), part(1), (len, len, size), scores);
            if let Some(bias) = &self.bias {
                for (i, row) in scores.chunks_exact_mut(len).enumerate() {
                    row.iter_mut().enumerate().for_each(|(j, v)| *v += bias.at(j as isize - i as isize, head));
                }
            }
            softmax_rows(scores, len);
            mix(scores, part(2), (len, len, size), out, (start * inner + head * size, inner));
        }
    }
}

fn layer(reader: &Reader<'_>, spec: &Spec, index: usize) -> Result<Layer, InferenceError> {
    let (at, names) = match spec.family {
        Family::T5 => {
            (format!("encoder.block.{index}"), ["layer.0.SelfAttention", "layer.0.layer_norm", "layer.1.layer_norm", "layer.1"])
        }
        _ => (format!("model.encoder.layers.{index}"), ["self_attn", "self_attn_layer_norm", "final_layer_norm", ""]),
    };
    let name = |n: usize| format!("{at}.{}", names[n]).trim_end_matches('.').to_owned();
    let attention = Attention::load(reader, &name(0), spec, spec.encoder.heads)?;
    Ok(Layer {
        query_key_value: Linear::join(&[attention.query, attention.key, attention.value], spec.hidden),
        out: attention.out,
        attention: Around::load(reader, &name(1), spec)?,
        feed_forward: FeedForward::load(reader, &name(3), spec, spec.encoder.wide)?,
        after: Around::load(reader, &name(2), spec)?,
    })
}
