//! What `classify` can be told.

use crate::function::options::{List, TooLong, TopK};
use crate::function::windows::softmax;
use serde::{Deserialize, Serialize};

/// How labels that come with the question are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Backend {
    /// The texts and the labels as vectors: softmax of the cosines by `temperature`. For models that embed.
    Embeddings,
    /// Whether the text entails a sentence with the label in it. For models of natural language inference.
    Nli,
    /// How probable it is that the text goes on with the label. For causal models.
    Continuation,
}

/// What makes one number of the log-probabilities of a label's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Their mean: long labels and short ones are alike.
    #[default]
    Token,
    /// Their sum: how probable the label is as a whole, so that short ones come first.
    Sum,
}

/// What makes scores of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    Softmax,
    Sigmoid,
    None,
}

impl Apply {
    /// Makes scores of a row of logits.
    pub fn to(self, row: &mut [f32]) {
        match self {
            Self::Softmax => softmax(row),
            Self::Sigmoid => row.iter_mut().for_each(|value| *value = 1.0 / (1.0 + (-*value).exp())),
            Self::None => {}
        }
    }
}

/// Options of `classify`; null is the default of the model.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Labels in the answer, best first; null is all. Default 1; with `candidate_labels` all.
    pub top_k: TopK,
    /// What makes scores of the network's logits. Default: regression none; many labels, or a single one, sigmoid; else softmax.
    pub function_to_apply: Option<Apply>,
    /// Where several labels may hold: all with this score or more are the answer, which may be empty. Default: what the model
    /// was trained with, else 0.5.
    pub threshold: Option<f32>,
    /// Where one label holds: below this score the answer is no label, with the reason `below_threshold`.
    pub min_score: Option<f32>,
    /// Other names for the model's labels, in their order.
    pub labels: Option<Vec<String>>,
    /// `truncate`, `window` or `reject`. The score of windows is the mean of their scores, weighted by their tokens. Pairs are cut.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
    /// The labels to choose from; an event's own come before these.
    pub candidate_labels: Option<List>,
    /// The sentence that a label becomes, with {} for it. Default: for `nli` "This example is {}."; for `embeddings` the bare label. For
    /// `continuation` what the model goes on with, with {text} before {}; default "Text: {text}\nLabel: {}".
    pub hypothesis_template: Option<String>,
    /// Each candidate label by itself: entailment against contradiction. For `nli`.
    pub multi_label: bool,
    /// By what candidate labels are told apart. Default: `nli` for a model with the labels entailment and contradiction, `embeddings` for one without a sequence head,
    /// `continuation` for a causal one.
    pub backend: Option<Backend>,
    /// What scores are divided by before softmax; smaller is surer. Default: 0.05 for `embeddings`, 1 for `continuation`; `nli` has none.
    pub temperature: Option<f32>,
    /// For `continuation`: `token` (default), the mean of a label's log-probabilities, or `sum`.
    pub normalize: Normalize,
    /// For `continuation`: a text that says nothing, such as "N/A". What labels score after it is taken from their scores, so that none comes
    /// first for being a common word (Zhao and others 2021). Default: none.
    pub content_free: Option<String>,
}

pub const THRESHOLD: &str = "option `threshold` is for labels of which several may hold; with candidates that is `multi_label`, and else \
                             `min_score` is for one";

impl Options {
    /// What candidates would pass over in silence.
    pub fn check(&self) -> Result<(), String> {
        if self.multi_label && self.threshold.is_some() && self.min_score.is_some() {
            return Err("option `min_score` is for one label; with `threshold` and `multi_label` several may hold".to_owned());
        }
        if self.candidate_labels.is_none() {
            return Ok(());
        }
        if self.threshold.is_some() && !self.multi_label {
            return Err(THRESHOLD.to_owned());
        }
        match self.function_to_apply {
            Some(_) => {
                Err("option `function_to_apply` is for the model's own labels; `candidate_labels` have scores of their own \
                            kind"
                    .to_owned())
            }
            None => Ok(()),
        }
    }

    /// Whether some are given that say nothing about a model's own labels.
    pub fn is_for_candidates(&self) -> bool {
        self.backend.is_some() || self.multi_label || self.hypothesis_template.is_some() || self.temperature.is_some()
    }
}
