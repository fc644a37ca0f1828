//! What stands on a network: from token vectors to logits. A head is decided by the class that was saved, its maths by the family.

mod beams;
mod deberta;
mod kit;
mod modernbert;
mod named;
mod rereading;
mod table;
#[cfg(test)]
mod tests;
mod xlnet;

pub use beams::{Beam, Beams, Start};

use super::InferenceError;
use super::checkpoint::{ModelConfig, Problem};
use super::network::{Network, Reader, Sequence};
use super::ops::{Activation, Linear, Norm, add};
use super::weights::Tensors;

/// Which token vectors a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    First,
    Last,
    Mean,
    /// The text's embedding, pooled as its folder says and of length 1. The caller pools.
    Embedding,
    /// Each token by itself.
    All,
}

/// A layer between the vectors and the last product.
pub struct Dense {
    pub linear: Linear,
    pub activation: Activation,
    /// After the activation, with its epsilon.
    pub norm: Option<(Norm, f32)>,
}

/// The last product of a head.
pub enum Out {
    Linear(Linear),
    /// With the word table's vectors: `[vocabulary]` biases.
    Tied(Vec<f32>),
}

/// A head of any kind.
pub struct Head {
    pub rows: Rows,
    pub dense: Vec<Dense>,
    pub out: Out,
}

impl Head {
    /// Logits of a batch, one vector a text: `[labels]`, or `[tokens * labels]` row-major for [`Rows::All`]. `x` is what the network
    /// left, `[total_tokens, hidden]`. `only` says of each text which rows are wanted, for [`Rows::All`].
    pub fn logits(&self, network: &dyn Network, x: &[f32], texts: &[Sequence<'_>], only: Option<&[Vec<usize>]>) -> Vec<Vec<f32>> {
        let hidden = network.hidden();
        let (mut rows, mut counts) = (Vec::new(), Vec::with_capacity(texts.len()));
        let mut rest = x;
        for (number, text) in texts.iter().enumerate() {
            let (of_text, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            let before = rows.len();
            match (self.rows, only) {
                (Rows::First, _) => rows.extend_from_slice(&of_text[..hidden]),
                (Rows::Last, _) => rows.extend_from_slice(&of_text[of_text.len() - hidden..]),
                (Rows::Mean | Rows::Embedding, _) => rows.extend(mean(of_text, hidden)),
                (Rows::All, None) => rows.extend_from_slice(of_text),
                (Rows::All, Some(only)) => {
                    only[number].iter().for_each(|&row| rows.extend_from_slice(&of_text[row * hidden..(row + 1) * hidden]));
                }
            }
            counts.push((rows.len() - before) / hidden);
        }
        self.finish(network, rows, &counts)
    }

    /// Logits of texts' embeddings `[texts, hidden]`, one vector a text; `None` for a head that is tied to a network's words.
    pub fn of_embeddings(&self, embeddings: Vec<f32>) -> Option<Vec<Vec<f32>>> {
        let Out::Linear(linear) = &self.out else { return None };
        let (rows, mut next) = (self.before_out(embeddings), Vec::new());
        linear.forward_alike(&rows, &mut next);
        Some(next.chunks_exact(linear.outputs().max(1)).map(<[f32]>::to_vec).collect())
    }

    /// Rows behind all layers but the last product.
    fn before_out(&self, mut rows: Vec<f32>) -> Vec<f32> {
        let mut next = Vec::new();
        for dense in &self.dense {
            dense.linear.forward_alike(&rows, &mut next);
            dense.activation.apply(&mut next);
            if let Some((norm, epsilon)) = &dense.norm {
                norm.apply(&mut next, *epsilon);
            }
            std::mem::swap(&mut rows, &mut next);
        }
        rows
    }

    /// Logits of rows `[sum of counts, hidden]` that were picked already, one vector a text.
    pub fn finish(&self, network: &dyn Network, rows: Vec<f32>, counts: &[usize]) -> Vec<Vec<f32>> {
        let (rows, mut next) = (self.before_out(rows), Vec::new());
        let width = match &self.out {
            Out::Linear(linear) => {
                linear.forward_alike(&rows, &mut next);
                linear.outputs()
            }
            Out::Tied(bias) => {
                network.words().project(&rows, bias, &mut next);
                bias.len()
            }
        };
        let mut rest = next.as_slice();
        let take = |count: &usize| {
            let (of_text, after) = rest.split_at(count * width);
            rest = after;
            of_text.to_vec()
        };
        counts.iter().map(take).collect()
    }
}

/// The mean of rows of `width`.
pub fn mean(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = rows[..width].to_vec();
    rows[width..].chunks_exact(width).for_each(|row| add(&mut mean, row));
    let count = (rows.len() / width) as f32;
    mean.iter_mut().for_each(|v| *v /= count);
    mean
}

/// A head with named rows.
pub struct Labelled {
    pub head: Head,
    pub labels: Vec<String>,
    pub problem: Problem,
}

/// Where an answer begins and ends.
pub enum Spans {
    /// Two logits a token.
    Each(Head),
    /// Ends behind each of a few starts.
    Beams(Box<Beams>),
}

impl Spans {
    /// Numbers of a batch, one vector a text: `[tokens * 2]` logits, or those of a [`Beam`].
    pub fn read(&self, network: &dyn Network, x: &[f32], texts: &[Sequence<'_>]) -> Vec<Vec<f32>> {
        match self {
            Self::Each(head) => head.logits(network, x, texts, None),
            Self::Beams(beams) => beams.read(x, texts),
        }
    }
}

/// The heads of a checkpoint; most have one or none.
#[derive(Default)]
pub struct Heads {
    /// One answer a text.
    pub sequence: Option<Labelled>,
    /// One answer a token.
    pub tokens: Option<Labelled>,
    pub spans: Option<Spans>,
    /// The word behind a mask: `[vocabulary]` logits a token.
    pub mask: Option<Head>,
}

impl Heads {
    /// A head with a folder of its own: on the embeddings of texts, or on the vectors of tokens.
    pub fn on_frozen(config: &ModelConfig, tensors: &Tensors<'_>, network: &dyn Network) -> Result<Self, InferenceError> {
        let reader = Reader::top(tensors);
        let count = reader.rows("classifier.weight")?;
        let labels = config.labels(count)?;
        let out = Out::Linear(reader.linear("classifier", network.hidden(), count)?);
        let head = |rows| Head { rows, dense: Vec::new(), out };
        if config.architecture().is_some_and(|class| class.ends_with("ForTokenClassification")) {
            let tokens = Labelled { head: head(Rows::All), labels, problem: Problem::OneLabel };
            return Ok(Self { tokens: Some(tokens), ..Self::default() });
        }
        let sequence = Labelled { head: head(Rows::Embedding), labels, problem: config.problem(count)? };
        Ok(Self { sequence: Some(sequence), ..Self::default() })
    }

    /// The head that `config.json` names, with all its tensors; where it names no class, the one whose tensors are there.
    pub fn load(config: &ModelConfig, tensors: &Tensors<'_>, network: &dyn Network) -> Result<Self, InferenceError> {
        match config.family()? {
            "bart" | "t5" => return rereading::load(&kit::Kit { config, tensors, network }),
            "deberta-v2" => return deberta::load(&kit::Kit { config, tensors, network }),
            "modernbert" => return modernbert::load(&kit::Kit { config, tensors, network }),
            "xlnet" => return xlnet::load(&kit::Kit { config, tensors, network }),
            _ => {}
        }
        let named = named::Named::new(config, tensors, network)?;
        let class = config.architecture().unwrap_or_default();
        let mut heads = Self::default();
        if class.ends_with("ForSequenceClassification") || (class.is_empty() && named.has_sequence()) {
            heads.sequence = Some(named.sequence()?);
        } else if class.ends_with("ForTokenClassification") || (class.is_empty() && named.has_tokens()) {
            heads.tokens = Some(named.tokens()?);
        } else if class.contains("ForQuestionAnswering") || (class.is_empty() && tensors.has("qa_outputs.weight")) {
            heads.spans = Some(Spans::Each(named.spans()?));
        } else if named.has_mask(class) {
            heads.mask = Some(named.mask()?);
        }
        Ok(heads)
    }
}
