//! ModernBERT: the norm stands before each part, positions are turned into queries and keys, the feed-forward part is gated, and most
//! layers see only their neighbourhood. Source of the maths: the network's paper (Warner et al., 2024) and its file in transformers.

use super::{Network, Reader, Scratch, Sequence, check};
use crate::inference::InferenceError;
use crate::inference::attend::{Rows, attend, most_scores};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::{Activation, Linear, Norm, add, room};
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;
use serde_json::Value;

struct Layer {
    /// The first layer has none: the embeddings are normalised already.
    attend_norm: Option<Norm>,
    query_key_value: Linear,
    attended: Linear,
    norm: Norm,
    /// What is activated and what it is multiplied with, side by side.
    up: Linear,
    down: Linear,
    local: bool,
}

/// The weights of one encoder.
pub struct ModernBert {
    words: WordTable,
    norm: Norm,
    layers: Vec<Layer>,
    last_norm: Norm,
    hidden: usize,
    heads: usize,
    wide: usize,
    longest: usize,
    epsilon: f32,
    activation: Activation,
    /// Tokens that a local layer sees to each side.
    half: usize,
    /// Rotary base of global layers, then of local ones.
    bases: [f32; 2],
}

/// Cosines and sines by position, `[longest, size / 2]` each.
struct Turns {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl ModernBert {
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let reader = Reader::below(tensors, "model.", "embeddings.tok_embeddings.weight");
        let (hidden, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
        if !hidden.is_multiple_of(heads) || !(hidden / heads).is_multiple_of(2) {
            return Err(config.unsupported(format!("{heads} heads do not divide hidden_size {hidden} into even parts")));
        }
        let local = local_layers(config, config.count("num_hidden_layers")?)?;
        let layers = local.into_iter().enumerate().map(|(index, local)| layer(&reader, config, index, local));
        Ok(Self {
            words: reader.words("embeddings.tok_embeddings.weight", [config.count("vocab_size")?, hidden])?,
            norm: norm(&reader, config, "embeddings.norm")?,
            layers: layers.collect::<Result<_, _>>()?,
            last_norm: norm(&reader, config, "final_norm")?,
            hidden,
            heads,
            wide: config.count("intermediate_size")?,
            longest: config.count("max_position_embeddings")?,
            epsilon: epsilon(config)?,
            activation: Activation::named(config, "hidden_activation")?,
            half: config.count("local_attention")? / 2,
            bases: bases(config)?,
        })
    }

    /// The angle of pair `i` at a position is `position * base^(-2i / size)`, in f32 as the network was trained.
    fn turns(&self, base: f32, longest: usize) -> Turns {
        let size = self.hidden / self.heads;
        let speeds: Vec<f32> = (0..size / 2).map(|i| 1.0 / base.powf((2 * i) as f32 / size as f32)).collect();
        let room = || Vec::with_capacity(longest * speeds.len());
        let (mut sin, mut cos) = (room(), room());
        for angle in (0..longest).flat_map(|position| speeds.iter().map(move |speed| position as f32 * speed)) {
            sin.push(angle.sin());
            cos.push(angle.cos());
        }
        Turns { cos, sin }
    }

    /// Turns the queries and keys of one text by position; `qkv` holds its rows alone.
    fn turn(&self, qkv: &mut [f32], turns: &Turns) {
        let half = self.hidden / self.heads / 2;
        let positions = turns.cos.chunks_exact(half).zip(turns.sin.chunks_exact(half));
        for (row, (cos, sin)) in qkv.chunks_exact_mut(3 * self.hidden).zip(positions) {
            for head in row[..2 * self.hidden].chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                }
            }
        }
    }

    /// Attention of each text, from `qkv` into `out`.
    fn attend(&self, texts: &[Sequence<'_>], half: Option<usize>, qkv: &[f32], out: &mut [f32], scores: &mut Vec<f32>) {
        let (hidden, size) = (self.hidden, self.hidden / self.heads);
        let mut start = 0;
        for text in texts {
            for head in 0..self.heads {
                let part = |n: usize| Rows::new(qkv, start * 3 * hidden + n * hidden + head * size, 3 * hidden);
                let at = (start * hidden + head * size, hidden);
                attend([part(0), part(1), part(2)], (text.ids.len(), size, half), out, at, scores);
            }
            start += text.ids.len();
        }
    }
}

/// Which layers are local: `layer_types` of transformers 5, `global_attn_every_n_layers` of transformers 4.
fn local_layers(config: &ModelConfig, count: usize) -> Result<Vec<bool>, InferenceError> {
    let Some(types) = config.get("layer_types") else {
        let every = config.count("global_attn_every_n_layers")?;
        return Ok((0..count).map(|index| index % every != 0).collect());
    };
    let local = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Some(true),
        Some("full_attention") => Some(false),
        _ => None,
    };
    let known: Option<Vec<bool>> = types.as_array().and_then(|kinds| kinds.iter().map(local).collect());
    known.filter(|known| known.len() == count).ok_or_else(|| {
        let cause =
            format!("layer_types is {types}; it must name full_attention or sliding_attention for each of {count} layers");
        config.unsupported(cause)
    })
}

/// The rotary bases of global and local layers: `rope_parameters` of transformers 5, two keys of transformers 4. They have no default:
/// a wrong one shows only in the answers.
fn bases(config: &ModelConfig) -> Result<[f32; 2], InferenceError> {
    let positive = |found: Option<&Value>, what: &str| {
        let base = found.and_then(Value::as_f64).filter(|base| base.is_finite() && *base >= 1.0);
        base.map(|base| base as f32).ok_or_else(|| config.unsupported(format!("{what} is missing or no number of at least 1")))
    };
    let Some(parameters) = config.get("rope_parameters") else {
        if let Some(scaling) = config.get("rope_scaling") {
            return Err(config.unsupported(format!("rope_scaling is {scaling}; this network runs plain rotary positions")));
        }
        let global = positive(config.get("global_rope_theta"), "global_rope_theta")?;
        // null: as in global layers.
        let local = config.get("local_rope_theta").map_or(Ok(global), |base| positive(Some(base), "local_rope_theta"))?;
        return Ok([global, local]);
    };
    let of = |kind: &str| {
        let found = parameters.get(kind);
        let rope = found.and_then(|p| p.get("rope_type")).and_then(Value::as_str).unwrap_or("default");
        if rope != "default" {
            return Err(config.unsupported(format!("rope_parameters.{kind}.rope_type is `{rope}`; this network runs `default`")));
        }
        positive(found.and_then(|p| p.get("rope_theta")), &format!("rope_parameters.{kind}.rope_theta"))
    };
    Ok([of("full_attention")?, of("sliding_attention")?])
}

/// Its name in transformers 5, then in older files.
pub fn epsilon(config: &ModelConfig) -> Result<f32, InferenceError> {
    Ok(config.number_or("norm_eps", config.number_or("layer_norm_eps", 1e-5)?)? as f32)
}

/// A norm of the network or of its head, without a bias unless the configuration says so.
pub fn norm(reader: &Reader<'_>, config: &ModelConfig, name: &str) -> Result<Norm, InferenceError> {
    let hidden = config.count("hidden_size")?;
    let weight = reader.f32(&format!("{name}.weight"), &[hidden])?;
    let bias = match config.flag_or("norm_bias", false)? {
        true => reader.f32(&format!("{name}.bias"), &[hidden])?,
        false => vec![0.0; hidden],
    };
    Ok(Norm { weight, bias })
}

fn layer(reader: &Reader<'_>, config: &ModelConfig, index: usize, local: bool) -> Result<Layer, InferenceError> {
    let (hidden, wide) = (config.count("hidden_size")?, config.count("intermediate_size")?);
    let part = |name: &str, bias: &str, inputs: usize, outputs: usize| {
        let name = format!("layers.{index}.{name}");
        match config.flag_or(bias, false)? {
            true => reader.part(&name, inputs, outputs),
            false => reader.part_without_bias(&name, inputs, outputs),
        }
    };
    let mut query_key_value = part("attn.Wqkv", "attention_bias", hidden, 3 * hidden)?;
    let scale = 1.0 / ((hidden / config.count("num_attention_heads")?) as f32).sqrt();
    query_key_value.0[..hidden * hidden].iter_mut().for_each(|v| *v *= scale);
    query_key_value.1[..hidden].iter_mut().for_each(|v| *v *= scale);
    let attend_norm = (index > 0).then(|| norm(reader, config, &format!("layers.{index}.attn_norm"))).transpose()?;
    Ok(Layer {
        attend_norm,
        query_key_value: Linear::join(&[query_key_value], hidden),
        attended: Linear::join(&[part("attn.Wo", "attention_bias", hidden, hidden)?], hidden),
        norm: norm(reader, config, &format!("layers.{index}.mlp_norm"))?,
        up: Linear::join(&[part("mlp.Wi", "mlp_bias", hidden, 2 * wide)?], hidden),
        down: Linear::join(&[part("mlp.Wo", "mlp_bias", wide, hidden)?], wide),
        local,
    })
}

impl Network for ModernBert {
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
        let widths = self.hidden + self.hidden.max(self.wide) + (3 * self.hidden).max(2 * self.wide);
        let scores = most_scores(longest, None).max(most_scores(longest, Some(self.half)));
        // Cosines and sines of both bases.
        let turns = 2 * longest * (self.hidden / self.heads);
        Some(size_of::<f32>() * (tokens * widths + scores + turns))
    }

    /// The family has no segments; those of a pair are not looked at.
    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        check(texts, self.longest, self.vocabulary())?;
        let hidden = self.hidden;
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let turns = self.bases.map(|base| self.turns(base, longest));
        let Scratch { x, y, wide, scores, .. } = scratch;
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        room(x, tokens * hidden);
        room(y, tokens * hidden.max(self.wide));
        for &id in texts.iter().flat_map(|text| text.ids) {
            self.words.push(id as usize, x);
        }
        self.norm.apply(x, self.epsilon);
        for layer in &self.layers {
            y.clone_from(x);
            if let Some(norm) = &layer.attend_norm {
                norm.apply(y, self.epsilon);
            }
            layer.query_key_value.forward(y, wide);
            let mut rest = wide.as_mut_slice();
            for text in texts {
                let (rows, after) = rest.split_at_mut(text.ids.len() * 3 * hidden);
                self.turn(rows, &turns[usize::from(layer.local)]);
                rest = after;
            }
            self.attend(texts, layer.local.then_some(self.half), wide, y, scores);
            layer.attended.forward(y, wide);
            add(x, wide);

            y.clone_from(x);
            layer.norm.apply(y, self.epsilon);
            layer.up.forward(y, wide);
            y.clear();
            wide.chunks_exact(2 * self.wide).for_each(|row| y.extend_from_slice(&row[..self.wide]));
            self.activation.apply(y);
            for (row, both) in y.chunks_exact_mut(self.wide).zip(wide.chunks_exact(2 * self.wide)) {
                row.iter_mut().zip(&both[self.wide..]).for_each(|(v, gate)| *v *= gate);
            }
            layer.down.forward(y, wide);
            add(x, wide);
        }
        self.last_norm.apply(x, self.epsilon);
        Ok(())
    }
}
