//! XLNet as an encoder: both directions, no memory of earlier texts. A score is content against content, content against distance,
//! and content against "of the same segment or not". Source of the maths: the network's paper (Yang et al., 2019) and its file in
//! transformers.
//!
//! Everything that a token brings to the scores is one product: queries with either bias, keys, values, and for each head the number
//! that a column of another segment adds. What columns of the same segment would add is the same for a whole row, so softmax does not
//! see it.

use super::{Network, Part, Reader, Scratch, Sequence, check};
use crate::inference::InferenceError;
use crate::inference::attend::{Rows, mix, products, softmax_rows};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Linear, Norm, fit, room};
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;

/// Tokens of a text at most. The network has no bound of its own; this one keeps a text's scores below 70 MB.
const LONGEST: usize = 4096;

struct Layer {
    /// `[hidden] -> 4 * hidden + heads`: query for content, query for distance, key, value, other segment.
    joined: Linear,
    /// From the vectors of distances to what queries meet.
    distance: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// The weights of one encoder.
pub struct XlNet {
    /// `[vocabulary, hidden]`
    words: WordTable,
    layers: Vec<Layer>,
    hidden: usize,
    heads: usize,
    /// Distances beyond it count as it.
    furthest: Option<usize>,
    epsilon: f32,
    activation: Activation,
}

impl XlNet {
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let reader = Reader::below(tensors, "transformer.", "word_embedding.weight");
        let (hidden, heads) = (config.count("d_model")?, config.count("n_head")?);
        if !hidden.is_multiple_of(2 * heads) || config.count_or("d_head", hidden / heads)? != hidden / heads {
            return Err(config.unsupported(format!("{heads} heads must divide d_model {hidden} into even parts, as d_head says")));
        }
        let kind = config.text_or("attn_type", "bi")?;
        if kind != "bi" {
            return Err(config.unsupported(format!("attn_type is `{kind}`; texts are encoded in both directions, `bi`")));
        }
        if config.flag_or("bi_data", false)? {
            return Err(config.unsupported("bi_data is true, which is meant for pretraining alone; it must be false".to_owned()));
        }
        let clamped = config.number_or("clamp_len", -1.0)? > 0.0;
        let activation = Activation::named(config, "ff_activation")?;
        Ok(Self {
            words: reader.words("word_embedding.weight", [config.count("vocab_size")?, hidden])?,
            layers: (0..config.count("n_layer")?).map(|i| layer(&reader, config, i)).collect::<Result<_, _>>()?,
            hidden,
            heads,
            furthest: clamped.then(|| config.count("clamp_len")).transpose()?,
            epsilon: config.number_or("layer_norm_eps", 1e-12)? as f32,
            activation,
        })
    }

    /// The vectors of the distances `-(longest - 1)..=longest - 1`: sines, then cosines, in f32 as in training.
    fn distances(&self, longest: usize) -> Vec<f32> {
        let speeds: Vec<f32> = (0..self.hidden / 2).map(|i| 1.0 / 10_000f32.powf((2 * i) as f32 / self.hidden as f32)).collect();
        let (far, most) = (longest as i64 - 1, self.furthest.map_or(i64::MAX, |n| n as i64));
        let row = |distance: i64| {
            let distance = distance.clamp(-most, most) as f32;
            let sines = speeds.iter().map(move |speed| (distance * speed).sin());
            sines.chain(speeds.iter().map(move |speed| (distance * speed).cos()))
        };
        let mut rows = Vec::with_capacity((2 * longest).saturating_sub(1) * self.hidden);
        (-far..=far).for_each(|distance| rows.extend(row(distance)));
        rows
    }

    /// Attention of `text`, whose first row is `start`, from `joined` into `out`. `distance` is what queries meet at the distances from
    /// `-(longest - 1)` on. `near` is scratch for the terms of distances.
    fn attend(
        &self,
        (text, start): (&Sequence<'_>, usize),
        (joined, distance): (&[f32], &[f32]),
        out: &mut [f32],
        [scores, near]: [&mut Vec<f32>; 2],
    ) {
        let (hidden, size, len) = (self.hidden, self.hidden / self.heads, text.ids.len());
        let wide = 4 * hidden + self.heads;
        let first = distance.len() / hidden / 2 + 1 - len;
        let width = 2 * len - 1;
        let segments = text.types.iter().any(|kind| *kind != text.types[0]);
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(joined, start * wide + n * hidden + head * size, wide);
            products(part(0), part(2), (len, len, size), scores);
            products(part(1), Rows::new(distance, first * hidden + head * size, hidden), (len, width, size), near);
            for (i, (row, near)) in scores.chunks_exact_mut(len).zip(near.chunks_exact(width)).enumerate() {
                // Column j is at the distance i - j, which stands at len - 1 + i - j.
                row.iter_mut().zip(near[..len + i].iter().rev()).for_each(|(v, term)| *v += term);
                if segments {
                    let other = joined[(start + i) * wide + 4 * hidden + head];
                    let columns = row.iter_mut().zip(text.types).filter(|(_, kind)| **kind != text.types[i]);
                    columns.for_each(|(v, _)| *v += other);
                }
            }
            softmax_rows(scores, len);
            mix(scores, part(3), (len, len, size), out, (start * hidden + head * size, hidden));
        }
    }
}

/// A weight `[inputs, outputs]` as a layer `[outputs, inputs]`.
fn turned(weight: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = weight.len() / inputs;
    (0..outputs).flat_map(|o| (0..inputs).map(move |i| weight[i * outputs + o])).collect()
}

fn layer(reader: &Reader<'_>, config: &ModelConfig, index: usize) -> Result<Layer, InferenceError> {
    let (hidden, heads, wide) = (config.count("d_model")?, config.count("n_head")?, config.count("d_inner")?);
    let size = hidden / heads;
    let at = |name: &str| format!("layer.{index}.{name}");
    let weight = |name: &str| reader.f32(&at(&format!("rel_attn.{name}")), &[hidden, heads, size]);
    let bias = |name: &str| reader.f32(&at(&format!("rel_attn.{name}")), &[heads, size]);
    let scale = 1.0 / (size as f32).sqrt();
    let query: Vec<f32> = turned(&weight("q")?, hidden).into_iter().map(|v| v * scale).collect();
    let [content, distance, segment] = ["r_w_bias", "r_r_bias", "r_s_bias"]
        .map(|name| bias(name).map(|bias| bias.into_iter().map(|v| v * scale).collect::<Vec<f32>>()));
    let segments = reader.f32(&at("rel_attn.seg_embed"), &[2, heads, size])?;
    let (same, other) = segments.split_at(hidden);
    let differs: Vec<f32> = other.iter().zip(same).map(|(other, same)| other - same).collect();
    let part = |weight: Vec<f32>| -> Part { (turned(&weight, hidden), vec![0.0; hidden]) };
    let parts = [
        (query.clone(), content?),
        (query.clone(), distance?),
        part(weight("k")?),
        part(weight("v")?),
        segment_part(&query, &segment?, &differs, size),
    ];
    Ok(Layer {
        joined: Linear::join(&parts, hidden),
        distance: Linear::join(&[part(weight("r")?)], hidden),
        // Stored [hidden, heads, size]: outputs come first here.
        attended: Linear::join(&[(weight("o")?, vec![0.0; hidden])], hidden),
        attended_norm: reader.norm(&at("rel_attn.layer_norm"), hidden)?,
        up: reader.linear(&at("ff.layer_1"), hidden, wide)?,
        down: reader.linear(&at("ff.layer_2"), wide, hidden)?,
        down_norm: reader.norm(&at("ff.layer_norm"), hidden)?,
    })
}

/// For each head, the product of query and the difference of the two segment vectors, as a layer of its own.
fn segment_part(query: &[f32], bias: &[f32], differs: &[f32], size: usize) -> Part {
    let hidden = bias.len();
    let mut part = (Vec::with_capacity(hidden / size * hidden), Vec::new());
    for head in 0..hidden / size {
        let rows = head * size..(head + 1) * size;
        let mut weight = vec![0.0; hidden];
        for at in rows.clone() {
            let row = &query[at * hidden..(at + 1) * hidden];
            weight.iter_mut().zip(row).for_each(|(w, q)| *w += q * differs[at]);
        }
        part.0.extend(weight);
        part.1.push(rows.map(|at| bias[at] * differs[at]).sum());
    }
    part
}

impl Network for XlNet {
    fn hidden(&self) -> usize {
        self.hidden
    }

    fn max_tokens(&self) -> usize {
        LONGEST
    }

    fn vocabulary(&self) -> usize {
        self.words.words()
    }

    fn words(&self) -> &WordTable {
        &self.words
    }

    fn activations(&self, tokens: usize, longest: usize) -> Option<usize> {
        let widths = self.layers.iter().map(|layer| layer.joined.outputs().max(layer.up.outputs()));
        let (widest, distances) = (widths.max().unwrap_or(0).max(self.hidden), (2 * longest).saturating_sub(1));
        // The vectors of distances, and what queries meet of them.
        let beside = 2 * distances * self.hidden;
        Some(size_of::<f32>() * (3 * tokens * widest + longest * longest + longest * distances + beside))
    }

    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, LONGEST, self.vocabulary())?;
        let Scratch { x, y, wide, scores, near } = scratch;
        room(x, texts.iter().map(|text| text.ids.len()).sum::<usize>() * self.hidden);
        for &id in texts.iter().flat_map(|text| text.ids) {
            self.words.push(id as usize, x);
        }
        let distances = self.distances(texts.iter().map(|text| text.ids.len()).max().unwrap_or(0));
        let mut distance = Vec::new();
        for layer in &self.layers {
            layer.joined.forward(x, wide);
            layer.distance.forward(&distances, &mut distance);
            fit(y, x.len());
            let mut start = 0;
            for text in texts {
                self.attend((text, start), (wide, &distance), y, [scores, near]);
                start += text.ids.len();
            }
            layer.attended.forward(y, wide);
            layer.attended_norm.add_and_apply(wide, x, self.epsilon);
            std::mem::swap(x, wide);
            layer.up.forward(x, wide);
            self.activation.apply(wide);
            layer.down.forward(wide, y);
            layer.down_norm.add_and_apply(y, x, self.epsilon);
            std::mem::swap(x, y);
        }
        Ok(())
    }
}
