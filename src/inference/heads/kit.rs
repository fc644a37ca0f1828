//! What the heads of several families are put together from.

use super::{Dense, Head, Heads, Labelled, Out, Rows, Spans};
use crate::inference::InferenceError;
use crate::inference::checkpoint::{ModelConfig, Problem};
use crate::inference::network::{Network, Reader};
use crate::inference::ops::{Activation, Linear};
use crate::inference::weights::Tensors;

/// What a saved class answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Sequence,
    Tokens,
    Spans,
    Mask,
    /// The network alone.
    Bare,
}

/// Where a family's heads are read.
pub struct Kit<'a> {
    pub config: &'a ModelConfig,
    pub tensors: &'a Tensors<'a>,
    pub network: &'a dyn Network,
}

impl Kit<'_> {
    /// By the name of the class that was saved; a file that names none has no head.
    pub fn class(&self) -> Class {
        let name = self.config.architecture().unwrap_or_default();
        let kinds = [
            ("ForSequenceClassification", Class::Sequence),
            ("ForTokenClassification", Class::Tokens),
            ("ForQuestionAnswering", Class::Spans),
            ("ForMaskedLM", Class::Mask),
        ];
        kinds.into_iter().find(|(part, _)| name.contains(part)).map_or(Class::Bare, |(_, class)| class)
    }

    pub fn top(&self) -> Reader<'_> {
        Reader::top(self.tensors)
    }

    /// A layer as wide as the network.
    pub fn dense(&self, name: &str, activation: Activation) -> Result<Dense, InferenceError> {
        let hidden = self.network.hidden();
        Ok(Dense { linear: self.top().linear(name, hidden, hidden)?, activation, norm: None })
    }

    /// A head whose last layer is named `out`; its rows are the labels.
    pub fn labelled(&self, rows: Rows, dense: Vec<Dense>, out: &str) -> Result<Labelled, InferenceError> {
        let count = self.top().rows(&format!("{out}.weight"))?;
        let labels = self.config.labels(count)?;
        let out = Out::Linear(self.top().linear(out, self.network.hidden(), count)?);
        let problem = if rows == Rows::All { Problem::OneLabel } else { self.config.problem(count)? };
        Ok(Labelled { head: Head { rows, dense, out }, labels, problem })
    }

    pub fn sequence(&self, rows: Rows, dense: Vec<Dense>, out: &str) -> Result<Heads, InferenceError> {
        Ok(Heads { sequence: Some(self.labelled(rows, dense, out)?), ..Heads::default() })
    }

    pub fn tokens(&self, dense: Vec<Dense>, out: &str) -> Result<Heads, InferenceError> {
        Ok(Heads { tokens: Some(self.labelled(Rows::All, dense, out)?), ..Heads::default() })
    }

    pub fn spans(&self, dense: Vec<Dense>, out: &str) -> Result<Heads, InferenceError> {
        let out = Out::Linear(self.top().linear(out, self.network.hidden(), 2)?);
        Ok(Heads { spans: Some(Spans::Each(Head { rows: Rows::All, dense, out })), ..Heads::default() })
    }

    /// `decoder` is a layer of its own where the file has it, else the word table with the bias `bias`.
    pub fn mask(&self, dense: Vec<Dense>, decoder: &str, bias: Option<&str>) -> Result<Heads, InferenceError> {
        let words = self.network.vocabulary();
        let inputs = self.network.words().width();
        let bias = bias.map_or_else(|| Ok(vec![0.0; words]), |name| self.top().f32(name, &[words]))?;
        let own = format!("{decoder}.weight");
        let out = match self.top().has(&own) {
            true => Out::Linear(Linear::join(&[(self.top().f32(&own, &[words, inputs])?, bias)], inputs)),
            false => Out::Tied(bias),
        };
        Ok(Heads { mask: Some(Head { rows: Rows::All, dense, out }), ..Heads::default() })
    }
}
