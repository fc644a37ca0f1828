//! DeBERTa v2 and v3: scores are content against content, content against distance and distance against content, where distances
//! fall into buckets. Source of the maths: the networks' papers (He et al., 2020 and 2021) and their file in transformers.
//!
//! What a layer knows of distances does not depend on the text: both tables are multiplied out when the network is loaded, and the
//! scale of the scores is folded into the query and into the table that meets the key.

mod convolution;
mod distances;

use convolution::Convolution;
use distances::{distances, rows_of_distances, switched, terms};

use super::{Network, Part, Reader, Scratch, Sequence, check};
use crate::inference::InferenceError;
use crate::inference::attend::{Rows, mix, products, softmax_rows};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Linear, Norm, add, fit, room};
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;

struct Layer {
    query_key_value: Linear,
    /// What queries meet, `[2 * span, hidden]`: a key for each bucket.
    to_position: Option<Vec<f32>>,
    /// What keys meet, `[2 * span, hidden]`: a query for each bucket.
    from_position: Option<Vec<f32>>,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// The weights of one encoder.
pub struct Deberta {
    /// `[vocabulary, embedding]`
    words: WordTable,
    /// `[positions, embedding]`, empty where positions stand in the scores alone.
    positions: Vec<f32>,
    /// `[segments, embedding]`, empty where the network has none.
    types: Vec<f32>,
    /// From embedding to hidden width, where they differ.
    widen: Option<Linear>,
    norm: Norm,
    convolution: Option<Convolution>,
    layers: Vec<Layer>,
    /// The row of the tables for each distance from `-(longest - 1)` on.
    buckets: Vec<usize>,
    embedding: usize,
    hidden: usize,
    heads: usize,
    longest: usize,
    epsilon: f32,
    activation: Activation,
}

impl Deberta {
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let reader = Reader::below(tensors, "deberta.", "embeddings.word_embeddings.weight");
        let (hidden, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        if !hidden.is_multiple_of(heads) || config.count_or("attention_head_size", hidden / heads)? != hidden / heads {
            return Err(config.unsupported(format!("{heads} attention heads must divide hidden_size {hidden} evenly")));
        }
        let (longest, embedding) = (config.count("max_position_embeddings")?, config.count_or("embedding_size", hidden)?);
        let table = |name: &str, rows: usize| reader.f32(&format!("embeddings.{name}.weight"), &[rows, embedding]);
        let types = switched(config, "type_vocab_size")?;
        let widen = (embedding != hidden).then(|| reader.part_without_bias("embeddings.embed_proj", embedding, hidden));
        let biased = config.flag_or("position_biased_input", true)?;
        let relative = config.flag_or("relative_attention", false)?;
        let (span, buckets) = if relative { rows_of_distances(config, longest)? } else { (0, Vec::new()) };
        let distances = relative.then(|| distances(&reader, config, span)).transpose()?;
        let layers = (0..config.count("num_hidden_layers")?).map(|i| layer(&reader, config, i, distances.as_deref()));
        Ok(Self {
            words: reader.words("embeddings.word_embeddings.weight", [config.count("vocab_size")?, embedding])?,
            positions: if biased { table("position_embeddings", longest)? } else { Vec::new() },
            types: types.map_or(Ok(Vec::new()), |rows| table("token_type_embeddings", rows))?,
            widen: widen.transpose()?.map(|part| Linear::join(&[part], embedding)),
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            convolution: Convolution::load(&reader, config)?,
            layers: layers.collect::<Result<_, _>>()?,
            buckets,
            embedding,
            hidden,
            heads,
            longest,
            epsilon: config.number_or("layer_norm_eps", 1e-7)? as f32,
            activation: Activation::named(config, "hidden_act")?,
        })
    }

    /// Embeddings into `scratch.x`, `[total_tokens, hidden]`.
    fn look_up(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, self.longest, self.vocabulary())?;
        let Scratch { x, y, .. } = scratch;
        room(x, texts.iter().map(|text| text.ids.len()).sum::<usize>() * self.embedding);
        let row = |table: &'_ [f32], at: usize| at * self.embedding..((at + 1) * self.embedding).min(table.len());
        for text in texts {
            for (position, &id) in text.ids.iter().enumerate() {
                let start = x.len();
                self.words.push(id as usize, x);
                if !self.positions.is_empty() {
                    add(&mut x[start..], &self.positions[row(&self.positions, position)]);
                }
                let segment = text.types.get(position).copied().unwrap_or(0) as usize;
                if self.types.is_empty() {
                    continue;
                }
                if segment * self.embedding >= self.types.len() {
                    return Err(InferenceError::Poison(format!("the model has no segment {segment}")));
                }
                add(&mut x[start..], &self.types[row(&self.types, segment)]);
            }
        }
        if let Some(widen) = &self.widen {
            widen.forward(x, y);
            std::mem::swap(x, y);
        }
        self.norm.apply(x, self.epsilon);
        Ok(())
    }

    /// The rows of the tables that the distances of a text fall into, of each distance from `-(len - 1)` on.
    fn rows(&self, len: usize) -> &[usize] {
        let middle = self.longest - 1;
        if self.buckets.is_empty() { &[] } else { &self.buckets[middle + 1 - len..middle + len] }
    }

    /// Attention of the text at rows `start..start + len`, from `qkv` into `out`. `near` is scratch for the relative terms.
    fn attend(&self, layer: &Layer, (start, len): (usize, usize), qkv: &[f32], out: &mut [f32], buffers: [&mut Vec<f32>; 2]) {
        let (hidden, size) = (self.hidden, self.hidden / self.heads);
        let [scores, near] = buffers;
        let rows = self.rows(len);
        let (first, last) = (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0));
        let width = last + 1 - first;
        for head in 0..self.heads {
            let part = |n: usize| Rows::new(qkv, start * 3 * hidden + n * hidden + head * size, 3 * hidden);
            let at = first * hidden + head * size;
            products(part(0), part(1), (len, len, size), scores);
            if let Some(table) = &layer.to_position {
                products(part(0), Rows::new(table, at, hidden), (len, width, size), near);
                for (i, (row, near)) in scores.chunks_exact_mut(len).zip(near.chunks_exact(width)).enumerate() {
                    // Column j is at the distance i - j.
                    row.iter_mut().enumerate().for_each(|(j, v)| *v += near[rows[len - 1 + i - j] - first]);
                }
            }
            if let Some(table) = &layer.from_position {
                products(part(1), Rows::new(table, at, hidden), (len, width, size), near);
                for (i, row) in scores.chunks_exact_mut(len).enumerate() {
                    row.iter_mut().enumerate().for_each(|(j, v)| *v += near[j * width + rows[len - 1 + i - j] - first]);
                }
            }
            softmax_rows(scores, len);
            mix(scores, part(2), (len, len, size), out, (start * hidden + head * size, hidden));
        }
    }
}

fn layer(reader: &Reader<'_>, config: &ModelConfig, index: usize, distances: Option<&[f32]>) -> Result<Layer, InferenceError> {
    let (hidden, wide) = (config.count("hidden_size")?, config.count("intermediate_size")?);
    let at = |name: &str| format!("encoder.layer.{index}.{name}");
    let own = |name: &str| reader.part(&at(&format!("attention.self.{name}")), hidden, hidden);
    let terms = terms(config)?;
    let parts = 1 + usize::from(terms.to_position) + usize::from(terms.from_position);
    let scale = 1.0 / ((hidden / config.count("num_attention_heads")? * parts) as f32).sqrt();
    let scaled = |mut part: Part| {
        part.0.iter_mut().chain(&mut part.1).for_each(|v| *v *= scale);
        part
    };
    let (query, key) = (scaled(own("query_proj")?), own("key_proj")?);
    let (mut to_position, mut from_position) = (None, None);
    if let Some(distances) = distances {
        let shared = config.flag_or("share_att_key", false)?;
        let table = |part: Part| {
            let mut out = Vec::new();
            Linear::join(&[part], hidden).forward(distances, &mut out);
            out
        };
        if terms.to_position {
            to_position = Some(table(if shared { key.clone() } else { own("pos_key_proj")? }));
        }
        if terms.from_position {
            from_position = Some(table(if shared { query.clone() } else { scaled(own("pos_query_proj")?) }));
        }
    }
    Ok(Layer {
        query_key_value: Linear::join(&[query, key, own("value_proj")?], hidden),
        to_position,
        from_position,
        attended: reader.linear(&at("attention.output.dense"), hidden, hidden)?,
        attended_norm: reader.norm(&at("attention.output.LayerNorm"), hidden)?,
        up: reader.linear(&at("intermediate.dense"), hidden, wide)?,
        down: reader.linear(&at("output.dense"), wide, hidden)?,
        down_norm: reader.norm(&at("output.LayerNorm"), hidden)?,
    })
}

impl Network for Deberta {
    fn hidden(&self) -> usize {
        self.hidden
    }

    fn max_tokens(&self) -> usize {
        self.longest
    }

    fn vocabulary(&self) -> usize {
        self.words.words()
    }

    fn words(&self) -> &WordTable {
        &self.words
    }

    fn activations(&self, tokens: usize, longest: usize) -> Option<usize> {
        let wide = self.layers.iter().map(|layer| layer.up.outputs()).max().unwrap_or(0);
        let widest = (3 * self.hidden).max(wide).max(self.embedding);
        let rows = self.rows(longest.min(self.longest));
        let near = rows.last().zip(rows.first()).map_or(0, |(last, first)| longest * (last + 1 - first));
        let beside = self.convolution.as_ref().map_or(0, |of| tokens * self.hidden + of.numbers(longest));
        Some(size_of::<f32>() * (3 * tokens * widest + longest * longest + near + beside))
    }

    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.look_up(texts, scratch)?;
        let Scratch { x, y, wide, scores, near } = scratch;
        let embeddings = self.convolution.as_ref().map(|_| x.clone());
        for (index, layer) in self.layers.iter().enumerate() {
            layer.query_key_value.forward(x, wide);
            fit(y, x.len());
            let mut start = 0;
            for text in texts {
                self.attend(layer, (start, text.ids.len()), wide, y, [scores, near]);
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
            if let (0, Some(convolution), Some(embeddings)) = (index, &self.convolution, &embeddings) {
                convolution.apply(texts, embeddings, x, self.epsilon);
            }
        }
        Ok(())
    }
}
