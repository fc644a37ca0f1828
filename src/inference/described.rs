//! What a model folder turned out to be, for those who look at it before they use it.

use super::InferenceError;
use super::backbone::Backbone;
use super::checkpoint::{ModelConfig, Problem};
use super::heads::Heads;
use super::weights::{Tensors, Weights};
use std::path::PathBuf;

/// A model in numbers and names.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// `model_type`.
    pub family: String,
    /// `sequence`, `tokens`, `spans` or `mask`; `None` for a model that gives vectors alone.
    pub head: Option<&'static str>,
    /// Of a head of texts or of tokens, in the order of its scores.
    pub labels: Vec<String>,
    /// The score from which a label holds where several may; `None` where one does, or where the folder does not say.
    pub threshold: Option<f32>,
    pub layers: usize,
    /// Numbers in a token's vector.
    pub hidden: usize,
    /// Ids that have a vector.
    pub vocabulary: usize,
    /// Tokens of a text that the model sees, special ones included.
    pub max_tokens: usize,
    /// Numbers in the tensors of this folder that are used.
    pub parameters: usize,
    /// Bytes of this folder's weights files.
    pub bytes: usize,
    /// The file that the tokeniser was read from.
    pub tokenizer: PathBuf,
    /// Tensors that nothing has read, by name.
    pub unread: Vec<String>,
    /// What is worth knowing before the model is used, a sentence each.
    pub notes: Vec<String>,
}

impl Described {
    pub(super) fn new(
        config: &ModelConfig,
        weights: &Weights,
        tensors: &Tensors<'_>,
        heads: &Heads,
        backbone: &Backbone,
    ) -> Result<Self, InferenceError> {
        let unread: Vec<String> = match config.get("backbone") {
            Some(_) => tensors.unread(),
            // The network has read its tensors through a view of its own.
            None => tensors.unread().into_iter().filter(|name| backbone.unread.contains(name)).collect(),
        };
        let Heads { sequence, tokens, spans, mask } = heads;
        let head = match (sequence, tokens, spans, mask) {
            (Some(_), ..) => Some("sequence"),
            (_, Some(_), ..) => Some("tokens"),
            (_, _, Some(_), _) => Some("spans"),
            (.., Some(_)) => Some("mask"),
            _ => None,
        };
        let labels = sequence.as_ref().or(tokens.as_ref()).map(|labelled| labelled.labels.clone()).unwrap_or_default();
        let number = |key: &str| config.count_or(key, 0).unwrap_or_default();
        let tokenizer = &backbone.tokenizer;
        Ok(Self {
            family: config.family().unwrap_or_default().to_owned(),
            head,
            layers: number("num_hidden_layers").max(number("n_layers")).max(number("n_layer")),
            hidden: backbone.hidden,
            vocabulary: backbone.vocabulary,
            max_tokens: tokenizer.max_tokens(),
            parameters: tensors.elements(&unread),
            bytes: weights.bytes(),
            tokenizer: tokenizer.path().to_owned(),
            notes: notes(config, head, &labels, &unread),
            unread,
            labels,
            threshold: match sequence {
                Some(labelled) if labelled.problem == Problem::ManyLabels => config.threshold()?,
                _ => None,
            },
        })
    }
}

fn notes(config: &ModelConfig, head: Option<&str>, labels: &[String], unread: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    let class = config.architecture().unwrap_or_default();
    if head.is_none() && class.contains("For") {
        notes.push(format!("its head, {class}, is not run here: it gives vectors alone"));
    }
    if config.get("backbone").is_some() {
        notes.push("it is a head on another folder's encoder: parameters and bytes are those of the head".to_owned());
    }
    if labels.first().is_some_and(|label| label == "LABEL_0") {
        let count = labels.len();
        notes.push(format!("its {count} labels have no names; give them some in config.json (id2label) instead of LABEL_0"));
    }
    if !unread.is_empty() {
        notes.push(format!("{} of its tensors are not used", unread.len()));
    }
    notes
}
