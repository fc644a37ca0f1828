//! Reads the heads that the table describes.

use super::table::{Act, Family, Step, TABLE};
use super::{Dense, Head, Labelled, Out, Rows};
use crate::inference::InferenceError;
use crate::inference::checkpoint::{ModelConfig, Problem};
use crate::inference::network::{Network, Reader};
use crate::inference::ops::{Activation, Linear};
use crate::inference::weights::Tensors;

/// Where the heads of one family are read.
pub struct Named<'a> {
    config: &'a ModelConfig,
    tensors: &'a Tensors<'a>,
    network: &'a dyn Network,
    family: &'static Family,
}

impl<'a> Named<'a> {
    /// For the family that `config.json` names.
    pub fn new(config: &'a ModelConfig, tensors: &'a Tensors<'a>, network: &'a dyn Network) -> Result<Self, InferenceError> {
        let kind = config.family()?;
        let family = TABLE.iter().find(|family| family.kinds.contains(&kind));
        let family = family.ok_or_else(|| config.unsupported(format!("model_type is `{kind}`; its heads are not known")))?;
        Ok(Self { config, tensors, network, family })
    }

    /// Whether a file that names no class has a sequence head.
    pub fn has_sequence(&self) -> bool {
        let sequence = &self.family.sequence;
        let step = self.reader(&sequence.step).has(&format!("{}.weight", sequence.step.name));
        step && self.top().has(&format!("{}.weight", sequence.out))
    }

    /// Whether a file that names no class has a token head.
    pub fn has_tokens(&self) -> bool {
        self.top().has("classifier.weight") && !self.has_sequence()
    }

    /// Whether the head of masked words is part of this class.
    pub fn has_mask(&self, class: &str) -> bool {
        class.ends_with("ForMaskedLM") || (class.ends_with("ForPreTraining") && self.family.mask.pretraining)
    }

    pub fn sequence(&self) -> Result<Labelled, InferenceError> {
        let sequence = &self.family.sequence;
        let dense = self.dense(&sequence.step)?;
        let count = self.top().rows(&format!("{}.weight", sequence.out))?;
        self.labelled(sequence.rows, vec![dense], sequence.out, self.config.problem(count)?)
    }

    pub fn tokens(&self) -> Result<Labelled, InferenceError> {
        self.labelled(Rows::All, Vec::new(), "classifier", Problem::OneLabel)
    }

    pub fn spans(&self) -> Result<Head, InferenceError> {
        let out = self.top().linear("qa_outputs", self.network.hidden(), 2)?;
        Ok(Head { rows: Rows::All, dense: Vec::new(), out: Out::Linear(out) })
    }

    pub fn mask(&self) -> Result<Head, InferenceError> {
        let mask = &self.family.mask;
        let (hidden, vocabulary) = (self.network.hidden(), self.network.vocabulary());
        let width = self.network.words().width();
        let epsilon = mask.epsilon.map_or(Ok(1e-12), |key| self.config.number_or(key, 1e-12))?;
        let dense = Dense {
            linear: self.top().linear(mask.dense, hidden, width)?,
            activation: self.activation(&mask.activation)?,
            norm: Some((self.top().norm(mask.norm, width)?, epsilon as f32)),
        };
        let there: Vec<&str> = mask.bias.iter().copied().filter(|name| self.top().has(name)).collect();
        let mut bias = self.top().f32(there.first().unwrap_or(&mask.bias[0]), &[vocabulary])?;
        for name in there.iter().skip(1) {
            bias = self.top().f32(name, &[vocabulary])?;
        }
        Ok(Head { rows: Rows::All, dense: vec![dense], out: self.decoder(bias, width)? })
    }

    /// The word table, unless the file has another one: where both are there and differ, transformers does not tie them.
    fn decoder(&self, bias: Vec<f32>, width: usize) -> Result<Out, InferenceError> {
        let name = format!("{}.weight", self.family.mask.decoder);
        if !self.top().has(&name) {
            return match self.config.flag_or("tie_word_embeddings", true)? {
                true => Ok(Out::Tied(bias)),
                false => Err(InferenceError::MissingTensor { path: self.tensors.path().to_owned(), name }),
            };
        }
        let own = self.top().f32(&name, &[bias.len(), width])?;
        match self.network.words().equals(&own) {
            true => Ok(Out::Tied(bias)),
            false => Ok(Out::Linear(Linear::join(&[(own, bias)], width))),
        }
    }

    fn top(&self) -> Reader<'_> {
        Reader::top(self.tensors)
    }

    fn reader(&self, step: &Step) -> Reader<'_> {
        match step.below {
            true => Reader::below(self.tensors, self.family.prefix, &format!("{}.weight", step.name)),
            false => self.top(),
        }
    }

    fn dense(&self, step: &Step) -> Result<Dense, InferenceError> {
        let hidden = self.network.hidden();
        let linear = self.reader(step).linear(step.name, hidden, hidden)?;
        Ok(Dense { linear, activation: self.activation(&step.activation)?, norm: None })
    }

    fn activation(&self, activation: &Act) -> Result<Activation, InferenceError> {
        match activation {
            Act::Is(activation) => Ok(*activation),
            Act::Key(key) => Activation::named(self.config, key),
        }
    }

    fn labelled(&self, rows: Rows, dense: Vec<Dense>, out: &str, problem: Problem) -> Result<Labelled, InferenceError> {
        let count = self.top().rows(&format!("{out}.weight"))?;
        let labels = self.config.labels(count)?;
        let out = Out::Linear(self.top().linear(out, self.network.hidden(), count)?);
        Ok(Labelled { head: Head { rows, dense, out }, labels, problem })
    }
}
