//! A BERT encoder over packed texts: every linear layer sees `[total_tokens, hidden]`, attention runs text by text, so nothing is
//! padded and nothing masked. Query, key and value are one product; the attention scale is folded into the query.

use super::{Network, Reader, Scratch, Sequence, check};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Linear, Norm, add, attention};
use crate::inference::weights::Tensors;

struct Layer {
    query_key_value: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// The weights of one encoder.
pub struct Bert {
    /// `[vocabulary, hidden]`
    words: Vec<f32>,
    /// `[positions, hidden]`
    positions: Vec<f32>,
    /// `[segments, hidden]`
    types: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    hidden: usize,
    heads: usize,
    epsilon: f32,
    activation: Activation,
}

impl Bert {
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let absolute = config.text_or("position_embedding_type", "absolute")?;
        if absolute != "absolute" {
            return Err(config.unsupported(format!("position_embedding_type is `{absolute}`; this encoder runs `absolute`")));
        }
        let reader = Reader::below(tensors, "bert.", "embeddings.word_embeddings.weight");
        let (hidden, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        if !hidden.is_multiple_of(heads) {
            return Err(config.unsupported(format!("{heads} attention heads do not divide hidden_size {hidden}")));
        }
        let segments = reader.rows("embeddings.token_type_embeddings.weight")?;
        Ok(Self {
            words: reader.f32("embeddings.word_embeddings.weight", &[config.count("vocab_size")?, hidden])?,
            positions: reader
                .f32("embeddings.position_embeddings.weight", &[config.count("max_position_embeddings")?, hidden])?,
            types: reader.f32("embeddings.token_type_embeddings.weight", &[segments.max(1), hidden])?,
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            layers: (0..config.count("num_hidden_layers")?).map(|i| layer(&reader, i, config)).collect::<Result<_, _>>()?,
            hidden,
            heads,
            epsilon: config.number_or("layer_norm_eps", 1e-12)? as f32,
            activation: Activation::named(config, "hidden_act")?,
        })
    }

    /// Word vectors into `scratch.x`, those of position and segment into `scratch.y`.
    fn look_up(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, self.max_tokens(), self.vocabulary())?;
        let Scratch { x, y, .. } = scratch;
        (x.clear(), y.clear());
        let row = |table: &[f32], at: usize| -> std::ops::Range<usize> {
            let start = (at * self.hidden).min(table.len());
            start..(start + self.hidden).min(table.len())
        };
        for text in texts {
            for (position, &id) in text.ids.iter().enumerate() {
                x.extend_from_slice(&self.words[row(&self.words, id as usize)]);
                let segment = text.types.get(position).copied().unwrap_or(0) as usize;
                if segment * self.hidden >= self.types.len() {
                    return Err(InferenceError::Poison(format!("the model has no segment {segment}")));
                }
                let start = y.len();
                y.extend_from_slice(&self.positions[row(&self.positions, position)]);
                add(&mut y[start..], &self.types[row(&self.types, segment)]);
            }
        }
        Ok(())
    }
}

fn layer(reader: &Reader<'_>, index: usize, config: &ModelConfig) -> Result<Layer, InferenceError> {
    let (hidden, wide) = (config.count("hidden_size")?, config.count("intermediate_size")?);
    let at = |name: &str| format!("encoder.layer.{index}.{name}");
    let mut query = reader.part(&at("attention.self.query"), hidden, hidden)?;
    let scale = 1.0 / ((hidden / config.count("num_attention_heads")?) as f32).sqrt();
    query.0.iter_mut().chain(&mut query.1).for_each(|v| *v *= scale);
    let key = reader.part(&at("attention.self.key"), hidden, hidden)?;
    let value = reader.part(&at("attention.self.value"), hidden, hidden)?;
    Ok(Layer {
        query_key_value: Linear::join(&[query, key, value], hidden),
        attended: reader.linear(&at("attention.output.dense"), hidden, hidden)?,
        attended_norm: reader.norm(&at("attention.output.LayerNorm"), hidden)?,
        up: reader.linear(&at("intermediate.dense"), hidden, wide)?,
        down: reader.linear(&at("output.dense"), wide, hidden)?,
        down_norm: reader.norm(&at("output.LayerNorm"), hidden)?,
    })
}

impl Network for Bert {
    fn hidden(&self) -> usize {
        self.hidden
    }

    fn max_tokens(&self) -> usize {
        self.positions.len() / self.hidden
    }

    fn vocabulary(&self) -> usize {
        self.words.len() / self.hidden
    }

    fn words(&self) -> &[f32] {
        &self.words
    }

    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.look_up(texts, scratch)?;
        let Scratch { x, y, wide, scores } = scratch;
        self.norm.add_and_apply(x, y, self.epsilon);
        for layer in &self.layers {
            layer.query_key_value.forward(x, wide);
            y.resize(x.len(), 0.0);
            let mut start = 0;
            for text in texts {
                attention(wide, y, (start, text.ids.len()), self.hidden, self.heads, scores);
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
