//! The parts that encoder and decoder are built from, and their names in a checkpoint.

use super::spec::{Buckets, Family, Spec};
use crate::inference::InferenceError;
use crate::inference::network::{Part, Reader};
use crate::inference::ops::{Activation, Linear, Norm, add};
use crate::inference::words::WordTable;

/// How a row is normalised.
pub enum RowNorm {
    Layer(Norm),
    /// By its root mean square, then weighed.
    Rms(Vec<f32>),
}

impl RowNorm {
    pub fn load(reader: &Reader<'_>, name: &str, spec: &Spec) -> Result<Self, InferenceError> {
        match spec.family {
            Family::T5 => Ok(Self::Rms(reader.f32(&format!("{name}.weight"), &[spec.hidden])?)),
            _ => Ok(Self::Layer(reader.norm(name, spec.hidden)?)),
        }
    }

    pub fn apply(&self, x: &mut [f32], epsilon: f32) {
        match self {
            Self::Layer(norm) => norm.apply(x, epsilon),
            Self::Rms(weight) => {
                for row in x.chunks_exact_mut(weight.len()) {
                    let mean = row.iter().map(|v| v * v).sum::<f32>() / weight.len() as f32;
                    let scale = 1.0 / (mean + epsilon).sqrt();
                    row.iter_mut().zip(weight).for_each(|(v, w)| *v *= scale * w);
                }
            }
        }
    }
}

/// A part of a layer with the stream around it: T5 normalises what goes in, the others what comes out.
pub struct Around {
    norm: RowNorm,
    before: bool,
    epsilon: f32,
}

impl Around {
    pub fn load(reader: &Reader<'_>, name: &str, spec: &Spec) -> Result<Self, InferenceError> {
        Ok(Self { norm: RowNorm::load(reader, name, spec)?, before: spec.family == Family::T5, epsilon: spec.epsilon })
    }

    /// `x` through `part`, which leaves its output in its second argument.
    pub fn run(&self, x: &mut [f32], part: impl FnOnce(&mut Vec<f32>, &mut Vec<f32>)) {
        let (mut input, mut out) = (x.to_vec(), Vec::new());
        if self.before {
            self.norm.apply(&mut input, self.epsilon);
        }
        part(&mut input, &mut out);
        add(x, &out);
        if !self.before {
            self.norm.apply(x, self.epsilon);
        }
    }
}

/// The four products of an attention. T5's have no biases; the scale of the others is folded into the query.
pub struct Attention {
    pub query: Part,
    pub key: Part,
    pub value: Part,
    pub out: Linear,
}

impl Attention {
    pub fn load(reader: &Reader<'_>, name: &str, spec: &Spec, heads: usize) -> Result<Self, InferenceError> {
        let t5 = spec.family == Family::T5;
        let names = if t5 { ["q", "k", "v", "o"] } else { ["q_proj", "k_proj", "v_proj", "out_proj"] };
        let part = |at: usize, inputs: usize, outputs: usize| {
            let name = format!("{name}.{}", names[at]);
            if t5 { reader.part_without_bias(&name, inputs, outputs) } else { reader.part(&name, inputs, outputs) }
        };
        let mut query = part(0, spec.hidden, spec.inner)?;
        if !t5 {
            let scale = 1.0 / ((spec.inner / heads) as f32).sqrt();
            query.0.iter_mut().chain(&mut query.1).for_each(|v| *v *= scale);
        }
        let (key, value) = (part(1, spec.hidden, spec.inner)?, part(2, spec.hidden, spec.inner)?);
        Ok(Self { query, key, value, out: Linear::join(&[part(3, spec.inner, spec.hidden)?], spec.inner) })
    }
}

/// Two products with an activation between.
pub struct FeedForward {
    up: Linear,
    down: Linear,
    activation: Activation,
    /// The width of what is activated, where it is multiplied with as much that is not.
    gate: Option<usize>,
}

impl FeedForward {
    /// Below `at`: T5 names the parts by what they are, the others by their order.
    pub fn load(reader: &Reader<'_>, at: &str, spec: &Spec, wide: usize) -> Result<Self, InferenceError> {
        let t5 = |name: &str, inputs: usize, outputs: usize| {
            reader.part_without_bias(&format!("{at}.DenseReluDense.{name}"), inputs, outputs)
        };
        let (up, down) = match (spec.family, spec.gated) {
            (Family::T5, true) => {
                (vec![t5("wi_0", spec.hidden, wide)?, t5("wi_1", spec.hidden, wide)?], t5("wo", wide, spec.hidden)?)
            }
            (Family::T5, false) => (vec![t5("wi", spec.hidden, wide)?], t5("wo", wide, spec.hidden)?),
            _ => {
                let up = reader.part(&format!("{at}.fc1"), spec.hidden, wide)?;
                (vec![up], reader.part(&format!("{at}.fc2"), wide, spec.hidden)?)
            }
        };
        Ok(Self {
            up: Linear::join(&up, spec.hidden),
            down: Linear::join(&[down], wide),
            activation: spec.activation,
            gate: spec.gated.then_some(wide),
        })
    }

    pub fn run(&self, x: &mut Vec<f32>, out: &mut Vec<f32>) {
        self.up.forward(x, out);
        let Some(wide) = self.gate else {
            self.activation.apply(out);
            std::mem::swap(x, out);
            return self.down.forward(x, out);
        };
        x.clear();
        x.reserve_exact(out.len() / 2);
        out.chunks_exact(2 * wide).for_each(|row| x.extend_from_slice(&row[..wide]));
        self.activation.apply(x);
        for (row, both) in x.chunks_exact_mut(wide).zip(out.chunks_exact(2 * wide)) {
            row.iter_mut().zip(&both[wide..]).for_each(|(v, gate)| *v *= gate);
        }
        self.down.forward(x, out);
    }
}

/// What distances add to the scores, by distance up to the furthest that differs.
pub struct DistanceBias {
    /// `[furthest + 1, heads]` each: keys at or before the query, keys behind it (encoders only).
    before: Vec<f32>,
    behind: Vec<f32>,
    heads: usize,
}

impl DistanceBias {
    pub fn load(reader: &Reader<'_>, name: &str, buckets: Buckets, heads: usize, both: bool) -> Result<Self, InferenceError> {
        let table = reader.f32(&format!("{name}.relative_attention_bias.weight"), &[buckets.count, heads])?;
        let count = if both { buckets.count / 2 } else { buckets.count };
        let rows = |first: usize| {
            let at = (0..=buckets.furthest).map(|distance| first + bucket(distance, count, buckets.furthest));
            at.flat_map(|row| &table[row * heads..(row + 1) * heads]).copied().collect()
        };
        let behind = if both { rows(count) } else { Vec::new() };
        Ok(Self { before: rows(0), behind, heads })
    }

    /// For a key `behind` tokens behind the query, or before it where that is negative.
    pub fn at(&self, behind: isize, head: usize) -> f32 {
        let table = if behind > 0 { &self.behind } else { &self.before };
        let row = behind.unsigned_abs().min(table.len() / self.heads - 1);
        table[row * self.heads + head]
    }
}

/// Half of the buckets are single distances, the rest grow with the logarithm; in f32, as in training.
fn bucket(distance: usize, count: usize, furthest: usize) -> usize {
    let exact = count / 2;
    if distance < exact {
        return distance;
    }
    let share = (distance as f32 / exact as f32).ln() / (furthest as f64 / exact as f64).ln() as f32;
    (exact + (share * (count - exact) as f32) as usize).min(count - 1)
}

/// The word table of a side, as `f32`: each word that is written takes a product with all of it.
pub fn words(reader: &Reader<'_>, spec: &Spec, side: &str, count: usize) -> Result<WordTable, InferenceError> {
    Ok(WordTable::of(reader.f32(&word_table(reader, spec, side), &[count, spec.hidden])?, spec.hidden))
}

/// The name under which a file has the word table of a side. Where both sides share it, files hold it under any of three names.
fn word_table(reader: &Reader<'_>, spec: &Spec, side: &str) -> String {
    let base = if spec.family == Family::T5 { "" } else { "model." };
    let own = format!("{base}{side}.embed_tokens.weight");
    let names = [format!("{base}shared.weight"), own.clone()].into_iter();
    let mut all = names.chain(["encoder", "decoder"].map(|side| format!("{base}{side}.embed_tokens.weight")));
    match spec.shared_words {
        true => all.find(|name| reader.has(name)).unwrap_or(own),
        false => own,
    }
}
