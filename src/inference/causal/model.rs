//! The network from outside: loading, sizes, new tokens in, logits or hidden states out.

use super::attention::Buffers;
use super::blocks::{Blocks, Sequence};
use super::layer::{Layer, Norm};
use super::limit::Limit;
use super::load;
use super::ops::soft_cap;
use super::panels::Panels;
use super::rows::{Rows, Turns};
use super::spec::{Positions, Spec};
use crate::inference::InferenceError;
use crate::inference::ops::{add, room};
use crate::inference::weights::Tensors;

/// New tokens of one sequence.
pub struct Step<'a> {
    /// Where its earlier tokens are cached; it needs room for the new ones.
    pub sequence: &'a mut Sequence,
    /// At least one.
    pub ids: &'a [u32],
    /// Logits after each new id, not after the last alone.
    pub all: bool,
}

/// Buffers of one model thread, reused from step to step.
#[derive(Default)]
pub struct Scratch {
    pub(super) x: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) wide: Vec<f32>,
    pub(super) y: Vec<f32>,
    logits: Vec<f32>,
    pub(super) rows: Rows,
    pub(super) buffers: Buffers,
}

#[cfg(test)]
impl Scratch {
    /// Bytes of the buffers that grow with what is asked; the plan of a pass is small beside them.
    pub(super) fn bytes(&self) -> usize {
        let buffers = [&self.x, &self.normed, &self.wide, &self.y, &self.logits];
        buffers.map(Vec::capacity).iter().sum::<usize>() * size_of::<f32>() + self.buffers.bytes()
    }
}

/// The weights of one causal network, read only, shared by all model threads.
pub struct Causal {
    pub(super) spec: Spec,
    /// `[vocabulary, hidden]`; empty where the head's table serves.
    words: Vec<f32>,
    /// `[positions, hidden]`, or empty.
    positions: Vec<f32>,
    /// By rotary setting.
    pub(super) turns: Vec<Turns>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    /// What makes logits; `None` where the file has no such table. Weights are held once: with a tied table it is here alone.
    head: Option<Panels>,
    missing_head: Option<String>,
}

impl Causal {
    /// Builds the network that `config` (a config.json) describes from a checkpoint's tensors.
    pub fn load(config: &serde_json::Value, tensors: &Tensors<'_>) -> Result<Self, InferenceError> {
        let path = || tensors.path().with_file_name("config.json");
        let spec = Spec::read(config).map_err(|cause| InferenceError::Unsupported { path: path(), cause })?;
        load::load(spec, tensors)
    }

    pub(super) fn assemble(
        spec: Spec,
        words: Vec<f32>,
        positions: Vec<f32>,
        layers: Vec<Layer>,
        norm: Norm,
        head: Option<Panels>,
        missing_head: Option<String>,
    ) -> Self {
        let turns = match &spec.positions {
            Positions::Learned => Vec::new(),
            Positions::Rotary(settings) => settings.iter().map(Turns::of).collect(),
        };
        Self { spec, words, positions, turns, layers, norm, head, missing_head }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Up to which length texts are turned as short ones.
    pub fn limit(&self) -> Limit {
        self.spec.limit()
    }

    /// To be called before the first new ids of a text that has `tokens` now are computed, where the network has a [`Limit`]: a
    /// sequence that holds what a short text had, and gets a long one, is at its beginning again, and takes all ids anew. Long
    /// texts that come in pieces are told by it too, since their first pieces are short.
    pub fn reach(&self, sequence: &mut Sequence, tokens: usize) {
        sequence.become_long(self.limit().is_long(tokens));
    }

    pub fn hidden(&self) -> usize {
        self.spec.hidden
    }

    pub fn vocabulary(&self) -> usize {
        self.spec.vocabulary
    }

    /// Tokens of a sequence at most.
    pub fn max_positions(&self) -> usize {
        self.spec.max_positions
    }

    /// The tensor that a language model has and this file has not, since it has the head of another task, or none.
    pub fn missing_head(&self) -> Option<&str> {
        self.missing_head.as_deref()
    }

    /// Bytes of the weights in memory.
    pub fn bytes(&self) -> usize {
        let norm = |n: &Option<Norm>| n.as_ref().map_or(0, Norm::numbers);
        let layer = |l: &Layer| {
            [&l.query_key_value, &l.attended, &l.up, &l.down].map(Panels::numbers).iter().sum::<usize>()
                + l.input_norm.numbers()
                + [&l.query_norm, &l.key_norm, &l.attended_norm, &l.feed_forward_norm, &l.down_norm]
                    .map(norm)
                    .iter()
                    .sum::<usize>()
        };
        let numbers =
            self.words.len() + self.positions.len() + self.norm.numbers() + self.head.as_ref().map_or(0, Panels::numbers);
        (numbers + self.layers.iter().map(layer).sum::<usize>()) * size_of::<f32>()
    }

    /// Numbers in the widest row between two layers.
    fn widest(&self) -> usize {
        let of = |layer: &Layer| [&layer.query_key_value, &layer.attended, &layer.up, &layer.down].map(Panels::outputs);
        let widest = self.layers.iter().flat_map(of).max().unwrap_or(0);
        widest.max(self.spec.hidden).max(self.spec.heads * self.spec.head_size)
    }

    /// Bytes of a thread's [`Scratch`] at most, for passes of so many tokens, of which so many get logits at a time, in texts of so many
    /// positions.
    pub fn activations(&self, tokens: usize, logits: usize, positions: usize) -> usize {
        // A row that is alone goes twice.
        let (tokens, logits) = (tokens.max(2), logits.max(2));
        let layers = tokens * (self.spec.hidden + 3 * self.widest());
        size_of::<f32>() * (layers + logits * self.spec.vocabulary + Buffers::most(positions, self.spec.head_size))
    }

    /// Gives the buffers exactly the room that a pass takes.
    fn make_room(&self, tokens: usize, scratch: &mut Scratch) {
        room(&mut scratch.x, tokens * self.spec.hidden);
        let widest = tokens.max(2) * self.widest();
        for buffer in [&mut scratch.normed, &mut scratch.wide, &mut scratch.y] {
            room(buffer, widest);
        }
    }

    /// Runs the new ids of several sequences at once and writes their keys and values to the cache. Returns the logits after the
    /// last new id of each sequence, or after all of them where a step asks for that: `[rows, vocabulary]` in the order of the
    /// steps. What a sequence gets does not depend on the others, to the bit. On an error no sequence has moved on.
    pub fn forward<'s>(
        &self,
        steps: &mut [Step<'_>],
        cache: &mut Blocks,
        scratch: &'s mut Scratch,
    ) -> Result<&'s mut [f32], InferenceError> {
        let rows = self.advance(steps, cache, scratch)?;
        self.logits(0..rows, scratch)
    }

    /// The same up to the final norm: leaves the hidden states of the rows that are asked for in `scratch`, and returns how many
    /// they are. [`Causal::logits`] makes logits of them.
    pub fn advance(&self, steps: &mut [Step<'_>], cache: &mut Blocks, scratch: &mut Scratch) -> Result<usize, InferenceError> {
        scratch.rows.clear();
        if steps.is_empty() {
            // Nothing of an earlier call is an answer to this one.
            scratch.x.clear();
            return Ok(0);
        }
        self.make_room(steps.iter().map(|step| step.ids.len()).sum(), scratch);
        for step in &*steps {
            cache.check(&self.spec, step.sequence, step.ids.len())?;
            self.look_up(step.ids, step.sequence.len(), scratch)?;
            let (done, new) = (step.sequence.len(), step.ids.len());
            let long = step.sequence.is_long() || self.limit().is_long(done + new);
            if long && done > 0 && !step.sequence.is_long() {
                return Err(InferenceError::Poison(format!(
                    "{new} tokens after {done}: a text that long has to be computed anew"
                )));
            }
            scratch.rows.add(done, new, long, step.all);
        }
        let sequences: Vec<&Sequence> = steps.iter().map(|step| &*step.sequence).collect();
        let rows = self.run(Some((cache, &sequences)), scratch);
        for (step, text) in steps.iter_mut().zip(scratch.rows.segments()) {
            step.sequence.advance(step.ids.len(), text.long);
        }
        Ok(rows)
    }

    /// The hidden states of whole texts after the final norm, `[total_tokens, hidden]`, text after text. Nothing is cached.
    pub fn encode<'s>(&self, texts: &[&[u32]], scratch: &'s mut Scratch) -> Result<&'s [f32], InferenceError> {
        scratch.rows.clear();
        if texts.is_empty() {
            scratch.x.clear();
            return Ok(&scratch.x);
        }
        self.make_room(texts.iter().map(|text| text.len()).sum(), scratch);
        for text in texts {
            self.look_up(text, 0, scratch)?;
            scratch.rows.add(0, text.len(), self.limit().is_long(text.len()), true);
        }
        self.run(None, scratch);
        Ok(&scratch.x)
    }

    /// Logits `[rows, vocabulary]` of some of the rows that the last call left. Rows can be taken a few at a time, since the logits
    /// of a long text are large.
    pub fn logits<'s>(&self, rows: std::ops::Range<usize>, scratch: &'s mut Scratch) -> Result<&'s mut [f32], InferenceError> {
        let (Some(head), None) = (&self.head, &self.missing_head) else {
            let name = self.missing_head().unwrap_or_default();
            return Err(InferenceError::Poison(format!("the file has no tensor `{name}`, so that there are no logits")));
        };
        let hidden = self.spec.hidden;
        let Some(x) = scratch.x.get(rows.start * hidden..rows.end * hidden) else {
            let there = scratch.x.len() / hidden;
            return Err(InferenceError::Poison(format!("rows {rows:?} were asked for, and there are {there}")));
        };
        head.forward(x, &mut scratch.logits);
        if let Some(cap) = self.spec.logit_cap {
            soft_cap(&mut scratch.logits, cap);
        }
        Ok(&mut scratch.logits)
    }

    /// Token vectors, and those of learned positions, behind what `scratch.x` has.
    fn look_up(&self, ids: &[u32], position: usize, scratch: &mut Scratch) -> Result<(), InferenceError> {
        let Spec { hidden, max_positions, vocabulary, .. } = self.spec;
        if scratch.rows.is_empty() {
            scratch.x.clear();
        }
        if ids.is_empty() || position + ids.len() > max_positions {
            let count = ids.len();
            return Err(InferenceError::Poison(format!(
                "{count} tokens after {position}; a text of this model has 1 to {max_positions}"
            )));
        }
        for (index, &id) in ids.iter().enumerate() {
            if id as usize >= vocabulary {
                return Err(InferenceError::Poison(format!("token id {id}; this model has ids below {vocabulary}")));
            }
            let (start, scale) = (scratch.x.len(), self.spec.embedding_scale);
            match &self.head {
                Some(head) if self.words.is_empty() => scratch.x.extend(head.column(id as usize).map(|v| v * scale)),
                _ => scratch.x.extend(self.words[id as usize * hidden..][..hidden].iter().map(|v| v * scale)),
            }
            if let Some(place) = self.positions.get((position + index) * hidden..(position + index + 1) * hidden) {
                add(&mut scratch.x[start..], place);
            }
        }
        Ok(())
    }
}
