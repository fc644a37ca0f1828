//! The decoder: one step writes one token for each of several hypotheses, of one text or of many.

use super::encode::{Encoder, Positions};
use super::layers::{Around, Attention, DistanceBias, FeedForward, RowNorm, words};
use super::spec::{Family, Spec};
use crate::inference::InferenceError;
use crate::inference::attend::{Rows, mix, products, softmax_rows};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::network::Reader;
use crate::inference::ops::{Linear, softmax};
use crate::inference::words::WordTable;
use std::sync::Arc;

struct Layer {
    query_key_value: Linear,
    out: Linear,
    attention: Around,
    across_query: Linear,
    across_key_value: Linear,
    across_out: Linear,
    across: Around,
    feed_forward: FeedForward,
    after: Around,
}

/// Keys and values of what a hypothesis has written, `[tokens, 2 * inner]` a layer.
#[derive(Clone)]
pub struct Past {
    layers: Vec<Vec<f32>>,
    tokens: usize,
}

/// Keys and values of the sources, worked out once: `[total_tokens, 2 * inner]` a layer.
pub struct Sources {
    layers: Vec<Vec<f32>>,
    /// First row and rows of each text.
    places: Vec<(usize, usize)>,
}

#[cfg(test)]
impl Sources {
    /// How many are held.
    pub fn numbers(&self) -> usize {
        self.layers.iter().map(Vec::capacity).sum()
    }
}

/// A hypothesis in a step: the token it has written last, and which source it reads.
pub struct Row<'a> {
    pub token: u32,
    pub past: &'a mut Past,
    pub source: usize,
}

/// The weights of the decoder and of the product that ends in words.
pub struct Decoder {
    /// `[target_vocabulary, hidden]`
    words: Arc<WordTable>,
    /// What outputs meet, where that is not the word table.
    head: Option<WordTable>,
    head_bias: Vec<f32>,
    positions: Positions,
    layers: Vec<Layer>,
    last: Option<RowNorm>,
    bias: Option<DistanceBias>,
    hidden: usize,
    inner: usize,
    heads: usize,
    epsilon: f32,
    logit_scale: f32,
}

impl Decoder {
    /// `writes`: with the head that ends in words.
    pub fn load(
        config: &ModelConfig,
        reader: &Reader<'_>,
        spec: &Spec,
        encoder: &Encoder,
        writes: bool,
    ) -> Result<Self, InferenceError> {
        let t5 = spec.family == Family::T5;
        let shape = [spec.target_vocabulary, spec.hidden];
        let words = match spec.shared_words {
            true => Arc::clone(&encoder.words),
            false => Arc::new(words(reader, spec, "decoder", spec.target_vocabulary)?),
        };
        // Files of old versions have a head that is the word table once more; it is not held twice.
        let head = match writes && (reader.has("lm_head.weight") || !config.flag_or("tie_word_embeddings", true)?) {
            true => {
                let head = reader.f32("lm_head.weight", &shape)?;
                (!words.equals(&head)).then(|| WordTable::of(head, spec.hidden))
            }
            false => None,
        };
        let bias = match reader.has("final_logits_bias") {
            true => reader.f32("final_logits_bias", &[1, shape[0]])?,
            false => vec![0.0; shape[0]],
        };
        let distances = "decoder.block.0.layer.0.SelfAttention";
        let heads = spec.decoder.heads;
        Ok(Self {
            words,
            head,
            head_bias: bias,
            positions: Positions::load(reader, "decoder", spec)?,
            layers: (0..spec.decoder.layers).map(|index| layer(reader, spec, index)).collect::<Result<_, _>>()?,
            last: t5.then(|| RowNorm::load(reader, "decoder.final_layer_norm", spec)).transpose()?,
            bias: spec.buckets.map(|buckets| DistanceBias::load(reader, distances, buckets, heads, false)).transpose()?,
            hidden: spec.hidden,
            inner: spec.inner,
            heads,
            epsilon: spec.epsilon,
            logit_scale: spec.logit_scale,
        })
    }

    pub fn vocabulary(&self) -> usize {
        self.head_bias.len()
    }

    /// A hypothesis that has written nothing.
    pub fn past(&self) -> Past {
        Past { layers: vec![Vec::new(); self.layers.len()], tokens: 0 }
    }

    /// Keys and values of what the encoder made of texts of these lengths.
    pub fn sources(&self, encoded: &[f32], lengths: &[usize]) -> Sources {
        let of_layer = |layer: &Layer| {
            let mut out = Vec::new();
            layer.across_key_value.forward(encoded, &mut out);
            out
        };
        let mut start = 0;
        let place = |&length: &usize| {
            start += length;
            (start - length, length)
        };
        Sources { layers: self.layers.iter().map(of_layer).collect(), places: lengths.iter().map(place).collect() }
    }

    /// The logits behind each row's token, `[rows, vocabulary]`, and the token goes into the row's past. The caller has seen to it
    /// that tokens stand in the vocabulary and pasts are shorter than the network's longest text.
    pub fn step(&self, rows: &mut [Row<'_>], sources: &Sources) -> Vec<f32> {
        let mut x = Vec::with_capacity(rows.len() * self.hidden);
        rows.iter().for_each(|row| self.positions.push(&mut x, &self.words, row.token, row.past.tokens));
        self.positions.finish(&mut x, self.epsilon);
        let mut scores = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            layer.attention.run(&mut x, |input, out| {
                let (mut joined, mut mixed) = (Vec::new(), vec![0.0; rows.len() * self.inner]);
                layer.query_key_value.forward(input, &mut joined);
                let one = joined.chunks_exact(3 * self.inner).zip(mixed.chunks_exact_mut(self.inner));
                for (row, (new, out)) in rows.iter_mut().zip(one) {
                    row.past.layers[index].extend_from_slice(&new[self.inner..]);
                    self.look_back(new, &row.past.layers[index], out, &mut scores);
                }
                layer.out.forward(&mixed, out);
            });
            layer.across.run(&mut x, |input, out| {
                let (mut query, mut mixed) = (Vec::new(), vec![0.0; rows.len() * self.inner]);
                layer.across_query.forward(input, &mut query);
                let mut first = 0;
                // Hypotheses of one text stand together and read the same source.
                for same in rows.chunk_by(|a, b| a.source == b.source) {
                    let place = sources.places[same[0].source];
                    self.look_across((first, same.len()), place, &query, &sources.layers[index], (&mut mixed, &mut scores));
                    first += same.len();
                }
                layer.across_out.forward(&mixed, out);
            });
            layer.after.run(&mut x, |input, out| layer.feed_forward.run(input, out));
        }
        rows.iter_mut().for_each(|row| row.past.tokens += 1);
        if let Some(last) = &self.last {
            last.apply(&mut x, self.epsilon);
        }
        x.iter_mut().for_each(|v| *v *= self.logit_scale);
        let mut logits = Vec::new();
        self.head.as_ref().unwrap_or(&self.words).project(&x, &self.head_bias, &mut logits);
        logits
    }

    /// The last layer for whole targets, `[total_tokens, hidden]`: each target has the length of its source, and a token sees those up to
    /// itself. For heads that read what the decoder makes of a given text.
    pub fn whole<'a>(&self, ids: impl Iterator<Item = &'a u32>, sources: &Sources) -> Vec<f32> {
        let tokens: usize = sources.places.iter().map(|&(_, len)| len).sum();
        let (mut x, mut scores) = (Vec::with_capacity(tokens * self.hidden), Vec::new());
        let positions = sources.places.iter().flat_map(|&(_, len)| 0..len);
        ids.zip(positions).for_each(|(&id, position)| self.positions.push(&mut x, &self.words, id, position));
        self.positions.finish(&mut x, self.epsilon);
        let rows = x.len() / self.hidden;
        for (layer, source) in self.layers.iter().zip(&sources.layers) {
            layer.attention.run(&mut x, |input, out| {
                let (mut joined, mut mixed) = (Vec::new(), vec![0.0; rows * self.inner]);
                layer.query_key_value.forward(input, &mut joined);
                sources.places.iter().for_each(|&place| self.look_up_to(place, &joined, &mut mixed, &mut scores));
                layer.out.forward(&mixed, out);
            });
            layer.across.run(&mut x, |input, out| {
                let (mut query, mut mixed) = (Vec::new(), vec![0.0; rows * self.inner]);
                layer.across_query.forward(input, &mut query);
                for &place in &sources.places {
                    self.look_across(place, place, &query, source, (&mut mixed, &mut scores));
                }
                layer.across_out.forward(&mixed, out);
            });
            layer.after.run(&mut x, |input, out| layer.feed_forward.run(input, out));
        }
        if let Some(last) = &self.last {
            last.apply(&mut x, self.epsilon);
        }
        x
    }

    /// Attention of each token of a text over those up to itself.
    fn look_up_to(&self, (start, len): (usize, usize), joined: &[f32], out: &mut [f32], scores: &mut Vec<f32>) {
        let (inner, size) = (self.inner, self.inner / self.heads);
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(joined, start * 3 * inner + n * inner + head * size, 3 * inner);
            products(part(0), part(1), (len, len, size), scores);
            for (i, row) in scores.chunks_exact_mut(len).enumerate() {
                if let Some(bias) = &self.bias {
                    row[..=i].iter_mut().enumerate().for_each(|(j, v)| *v += bias.at(j as isize - i as isize, head));
                }
                softmax(&mut row[..=i]);
                row[i + 1..].fill(0.0);
            }
            mix(scores, part(2), (len, len, size), out, (start * inner + head * size, inner));
        }
    }

    /// Attention of the newest token of a hypothesis over all it has written, itself included.
    fn look_back(&self, query: &[f32], past: &[f32], out: &mut [f32], scores: &mut Vec<f32>) {
        let (inner, size) = (self.inner, self.inner / self.heads);
        let len = past.len() / (2 * inner);
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(past, n * inner + head * size, 2 * inner);
            products(Rows::new(query, head * size, inner), part(0), (1, len, size), scores);
            if let Some(bias) = &self.bias {
                scores.iter_mut().enumerate().for_each(|(j, v)| *v += bias.at(j as isize - (len as isize - 1), head));
            }
            softmax_rows(scores, len);
            mix(scores, part(1), (1, len, size), out, (head * size, inner));
        }
    }

    /// Attention of `count` rows from `first` on over their source.
    fn look_across(
        &self,
        (first, count): (usize, usize),
        (start, len): (usize, usize),
        query: &[f32],
        source: &[f32],
        (out, scores): (&mut [f32], &mut Vec<f32>),
    ) {
        let (inner, size) = (self.inner, self.inner / self.heads);
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(source, start * 2 * inner + n * inner + head * size, 2 * inner);
            let at = first * inner + head * size;
            products(Rows::new(query, at, inner), part(0), (count, len, size), scores);
            softmax_rows(scores, len);
            mix(scores, part(1), (count, len, size), out, (at, inner));
        }
    }
}

fn layer(reader: &Reader<'_>, spec: &Spec, index: usize) -> Result<Layer, InferenceError> {
    let (at, names) = match spec.family {
        Family::T5 => (
            format!("decoder.block.{index}"),
            [
                "layer.0.SelfAttention",
                "layer.0.layer_norm",
                "layer.1.EncDecAttention",
                "layer.1.layer_norm",
                "layer.2.layer_norm",
                "layer.2",
            ],
        ),
        _ => (
            format!("model.decoder.layers.{index}"),
            ["self_attn", "self_attn_layer_norm", "encoder_attn", "encoder_attn_layer_norm", "final_layer_norm", ""],
        ),
    };
    let name = |n: usize| format!("{at}.{}", names[n]).trim_end_matches('.').to_owned();
    let attention = Attention::load(reader, &name(0), spec, spec.decoder.heads)?;
    let across = Attention::load(reader, &name(2), spec, spec.decoder.heads)?;
    Ok(Layer {
        query_key_value: Linear::join(&[attention.query, attention.key, attention.value], spec.hidden),
        out: attention.out,
        attention: Around::load(reader, &name(1), spec)?,
        across_query: Linear::join(&[across.query], spec.hidden),
        across_key_value: Linear::join(&[across.key, across.value], spec.hidden),
        across_out: across.out,
        across: Around::load(reader, &name(3), spec)?,
        feed_forward: FeedForward::load(reader, &name(5), spec, spec.decoder.wide)?,
        after: Around::load(reader, &name(4), spec)?,
    })
}
