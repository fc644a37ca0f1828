//! The tensors of each family's heads (as saved by transformers; its modelling files are the source of each row).

use super::{Dense, Head, Labelled, Out, Rows};
use crate::inference::InferenceError;
use crate::inference::checkpoint::{ModelConfig, Problem};
use crate::inference::network::{Network, Reader};
use crate::inference::ops::Activation;
use crate::inference::weights::Tensors;

/// Where heads are read.
pub struct Named<'a> {
    pub config: &'a ModelConfig,
    pub tensors: &'a Tensors<'a>,
    pub network: &'a dyn Network,
}

impl Named<'_> {
    /// Whether a file that names no class has a sequence head.
    pub fn has_sequence(&self) -> bool {
        let pooler = self.tensors.has("bert.pooler.dense.weight") || self.tensors.has("pooler.dense.weight");
        self.tensors.has("classifier.weight") && pooler
    }

    /// Whether a file that names no class has a token head.
    pub fn has_tokens(&self) -> bool {
        self.tensors.has("classifier.weight") && !self.has_sequence()
    }

    fn top(&self) -> Reader<'_> {
        Reader::top(self.tensors)
    }

    fn labelled(&self, rows: Rows, dense: Vec<Dense>, out: &str) -> Result<Labelled, InferenceError> {
        let count = self.top().rows(&format!("{out}.weight"))?;
        let labels = self.config.labels(count)?;
        let out = Out::Linear(self.top().linear(out, self.network.hidden(), count)?);
        let problem = if rows == Rows::All { Problem::OneLabel } else { self.config.problem(count)? };
        Ok(Labelled { head: Head { rows, dense, out }, labels, problem })
    }

    fn dense(&self, reader: Reader<'_>, name: &str, activation: Activation) -> Result<Dense, InferenceError> {
        let hidden = self.network.hidden();
        Ok(Dense { linear: reader.linear(name, hidden, hidden)?, activation, norm: None })
    }

    pub fn sequence(&self) -> Result<Labelled, InferenceError> {
        let pooler = Reader::below(self.tensors, "bert.", "pooler.dense.weight");
        self.labelled(Rows::First, vec![self.dense(pooler, "pooler.dense", Activation::Tanh)?], "classifier")
    }

    pub fn tokens(&self) -> Result<Labelled, InferenceError> {
        self.labelled(Rows::All, Vec::new(), "classifier")
    }

    pub fn spans(&self) -> Result<Head, InferenceError> {
        let out = self.top().linear("qa_outputs", self.network.hidden(), 2)?;
        Ok(Head { rows: Rows::All, dense: Vec::new(), out: Out::Linear(out) })
    }

    /// The decoder is the word table; only its bias is read.
    pub fn mask(&self) -> Result<Head, InferenceError> {
        let hidden = self.network.hidden();
        let activation = Activation::named(self.config, "hidden_act")?;
        let mut dense = self.dense(self.top(), "cls.predictions.transform.dense", activation)?;
        let norm = self.top().norm("cls.predictions.transform.LayerNorm", hidden)?;
        dense.norm = Some((norm, self.config.number_or("layer_norm_eps", 1e-12)? as f32));
        let bias = self.top().f32("cls.predictions.bias", &[self.network.vocabulary()])?;
        Ok(Head { rows: Rows::All, dense: vec![dense], out: Out::Tied(bias) })
    }
}
