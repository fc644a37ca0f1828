//! Reads a network's parts by the names that its family gives them, and lays them out as the layers want them: queries, keys and
//! values joined, the attention scale folded into the queries, everything held once.

use super::layer::{Layer, Norm};
use super::model::Causal;
use super::names::Names;
use super::ops::turned;
use super::spec::{Family, NormKind, Residual, Spec};
use crate::inference::InferenceError;
use crate::inference::ops::Linear;
use crate::inference::weights::Tensors;

/// Weight `[outputs, inputs]` and bias `[outputs]`.
type Part = (Vec<f32>, Vec<f32>);

/// The token table, unless the head holds it; the head, or what it lacks.
type Head = (Vec<f32>, Option<Linear>, Option<String>);

pub(super) fn load(spec: Spec, tensors: &Tensors<'_>) -> Result<Causal, InferenceError> {
    let names = Names::of(spec.family);
    let prefix = names.prefix(|name| tensors.has(name));
    let reader = Reader { spec: &spec, tensors, names, prefix };
    let unread = reader.layer_name(spec.layers.len(), names.input_norm);
    if tensors.has(&format!("{unread}.weight")) {
        let cause = format!("has a tensor `{unread}.weight`, but config.json says {} layers", spec.layers.len());
        return Err(reader.unsupported(cause));
    }
    let words = reader.f32(names.words, &[spec.vocabulary, spec.hidden])?;
    let positions = match names.positions {
        Some(name) => reader.f32(name, &[spec.max_positions, spec.hidden])?,
        None => Vec::new(),
    };
    let layers = (0..spec.layers.len()).map(|index| reader.layer(index)).collect::<Result<_, _>>()?;
    let norm = reader.norm(&format!("{prefix}{}", names.norm), spec.hidden)?;
    let (words, head, missing) = reader.head(words)?;
    Ok(Causal::assemble(spec, words, positions, layers, norm, head, missing))
}

struct Reader<'a> {
    spec: &'a Spec,
    tensors: &'a Tensors<'a>,
    names: &'static Names,
    prefix: &'static str,
}

impl Reader<'_> {
    fn unsupported(&self, cause: String) -> InferenceError {
        InferenceError::Unsupported { path: self.tensors.path().to_owned(), cause }
    }

    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        self.tensors.f32(&format!("{}{name}", self.prefix), shape)
    }

    fn layer_name(&self, index: usize, name: &str) -> String {
        format!("{}{}.{index}.{name}", self.prefix, self.names.layers)
    }

    /// A norm by its whole name; `1 +` is added here, once.
    fn norm(&self, name: &str, width: usize) -> Result<Norm, InferenceError> {
        let mut weight = self.tensors.f32(&format!("{name}.weight"), &[width])?;
        if self.spec.norm == NormKind::RmsPlusOne {
            weight.iter_mut().for_each(|w| *w += 1.0);
        }
        let bias = format!("{name}.bias");
        if self.spec.norm == NormKind::Layer {
            return Ok(Norm { weight, bias: Some(self.tensors.f32(&bias, &[width])?) });
        }
        match self.tensors.has(&bias) {
            true => Err(self.unsupported(format!("has a tensor `{bias}`, which the norms of this family have not"))),
            false => Ok(Norm { weight, bias: None }),
        }
    }

    /// A linear layer by its whole name. GPT-2 stores its weights as `[inputs, outputs]`.
    fn part(&self, name: &str, inputs: usize, outputs: usize, biased: bool) -> Result<Part, InferenceError> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let weight = if self.spec.family == Family::Gpt2 {
            let stored = self.tensors.f32(&weight, &[inputs, outputs])?;
            (0..outputs).flat_map(|o| stored.iter().skip(o).step_by(outputs).copied()).collect()
        } else {
            self.tensors.f32(&weight, &[outputs, inputs])?
        };
        match (biased, self.tensors.has(&bias)) {
            (true, _) => Ok((weight, self.tensors.f32(&bias, &[outputs])?)),
            (false, true) => Err(self.unsupported(format!("has a tensor `{bias}`, but by config.json this layer has no bias"))),
            (false, false) => Ok((weight, vec![0.0; outputs])),
        }
    }

    fn layer(&self, index: usize) -> Result<Layer, InferenceError> {
        let Spec { hidden, wide, biases, head_size, heads, .. } = *self.spec;
        let names = self.names;
        let at = |name: &str| self.layer_name(index, name);
        let kind = self.spec.layers[index];
        let scale = self.spec.scale / kind.divisor as f32;
        let (mut query, key, value) = self.query_key_value(index)?;
        let (mut query_norm, mut key_norm) = (None, None);
        if self.spec.head_norms {
            let mut norm = self.norm(&at(names.query_norm), head_size)?;
            norm.weight.iter_mut().chain(norm.bias.iter_mut().flatten()).for_each(|v| *v *= scale);
            (query_norm, key_norm) = (Some(norm), Some(self.norm(&at(names.key_norm), head_size)?));
        } else if self.tensors.has(&format!("{}.weight", at(names.query_norm))) {
            return Err(self.unsupported(format!(
                "has norms over its query heads, `{}`, which config.json does not say",
                at(names.query_norm)
            )));
        } else {
            query.0.iter_mut().chain(&mut query.1).for_each(|v| *v *= scale);
        }
        let optional = |wanted: bool, name: &str| wanted.then(|| self.norm(&at(name), hidden)).transpose();
        let own_norm = self.spec.residual != Residual::ParallelShared;
        let before = if self.spec.post_norms { names.feed_forward_norm_between } else { names.feed_forward_norm };
        let attended = self.part(&at(names.attended), heads * head_size, hidden, biases.attended)?;
        Ok(Layer {
            kind,
            input_norm: self.norm(&at(names.input_norm), hidden)?,
            query_key_value: Linear::join(&[query, key, value], hidden),
            query_norm,
            key_norm,
            attended: Linear::join(&[attended], heads * head_size),
            attended_norm: optional(self.spec.post_norms, names.feed_forward_norm)?,
            feed_forward_norm: optional(own_norm, before)?,
            up: Linear::join(&self.up(index)?, hidden),
            down: Linear::join(&[self.part(&at(names.down), wide, hidden, biases.feed_forward)?], wide),
            down_norm: optional(self.spec.post_norms, names.down_norm)?,
        })
    }

    /// Queries, keys and values apart, whatever the file joins.
    fn query_key_value(&self, index: usize) -> Result<(Part, Part, Part), InferenceError> {
        let Spec { hidden, heads, kv_heads, head_size, biases, .. } = *self.spec;
        let at = |name: &str| self.layer_name(index, name);
        let biased = biases.query_key_value;
        let (queries, keys) = (heads * head_size, kv_heads * head_size);
        let Some(joined) = self.names.joined else {
            let [query, key, value] = self.names.query_key_value;
            return Ok((
                self.part(&at(query), hidden, queries, biased)?,
                self.part(&at(key), hidden, keys, biased)?,
                self.part(&at(value), hidden, keys, biased)?,
            ));
        };
        let (weight, bias) = self.part(&at(joined), hidden, queries + 2 * keys, biased)?;
        let rows = |rows: &[usize]| -> Part {
            let weight = rows.iter().flat_map(|row| &weight[row * hidden..(row + 1) * hidden]).copied().collect();
            (weight, rows.iter().map(|row| bias[*row]).collect())
        };
        if self.spec.family == Family::GptNeoX {
            // Head by head: its queries, its keys, its values.
            let third = |which: usize| -> Vec<usize> {
                (0..heads).flat_map(|head| (0..head_size).map(move |i| (head * 3 + which) * head_size + i)).collect()
            };
            return Ok((rows(&third(0)), rows(&third(1)), rows(&third(2))));
        }
        let range = |from: usize, len: usize| (from..from + len).collect::<Vec<usize>>();
        Ok((rows(&range(0, queries)), rows(&range(queries, keys)), rows(&range(queries + keys, keys))))
    }

    /// The first layers of the feed-forward part: gate and up, or up alone.
    fn up(&self, index: usize) -> Result<Vec<Part>, InferenceError> {
        let Spec { hidden, wide, biases, gated, .. } = *self.spec;
        let part = |name: &str, outputs| self.part(&self.layer_name(index, name), hidden, outputs, biases.feed_forward);
        match (gated, self.names.gate) {
            (true, Some(gate)) => Ok(vec![part(gate, wide)?, part(self.names.up, wide)?]),
            // Joined in the file already, in this order.
            (true, None) => Ok(vec![part(self.names.up, 2 * wide)?]),
            (false, _) => Ok(vec![part(self.names.up, wide)?]),
        }
    }

    /// What makes logits of hidden states, given the token table: what is left of that, the head, and the tensor that is missing when
    /// there is none. A file of another head than that of a language model (a classifier, a bare backbone) has none.
    fn head(&self, words: Vec<f32>) -> Result<Head, InferenceError> {
        let Spec { vocabulary, hidden, tied, biases, .. } = *self.spec;
        let name =
            *self.names.heads.iter().find(|name| self.tensors.has(&format!("{name}.weight"))).unwrap_or(&self.names.heads[0]);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let wanted = [(!tied).then_some(&weight), biases.head.then_some(&bias)];
        if let Some(missing) = wanted.into_iter().flatten().find(|name| !self.tensors.has(name)) {
            return Ok((words, None, Some(missing.clone())));
        }
        let bias = if biases.head { self.tensors.f32(&bias, &[vocabulary])? } else { vec![0.0; vocabulary] };
        let (words, weight) = match tied {
            true => (Vec::new(), turned(&words, hidden)),
            false => (words, turned(&self.tensors.f32(&weight, &[vocabulary, hidden])?, hidden)),
        };
        Ok((words, Some(Linear { weight, bias, inputs: hidden }), None))
    }
}
