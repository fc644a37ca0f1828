//! The networks of encoders: token ids to one vector a token, over packed texts. One file a family, or a few families that differ
//! in little. A network may run on another backend: heads, batches and functions see this seam alone.

pub mod bert;
pub mod deberta;
mod embed;
mod layers;
pub mod modernbert;
mod mpnet;
#[cfg(test)]
pub(super) mod parity_relative;
mod projection;
mod read;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod watching;
pub mod xlnet;

pub use projection::Plan;
pub use read::{Part, Reader};

use super::InferenceError;
use super::causal;
use super::checkpoint::ModelConfig;
use super::weights::Tensors;
use super::words::WordTable;

/// One text as a network sees it, special tokens included.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    pub ids: &'a [u32],
    /// The segment of each id: 0 for the first text of a pair, 1 for the second. As long as `ids`, or empty when all are 0.
    pub types: &'a [u32],
}

impl<'a> From<&'a [u32]> for Sequence<'a> {
    fn from(ids: &'a [u32]) -> Self {
        Self { ids, types: &[] }
    }
}

/// Buffers of one model thread, reused from batch to batch.
#[derive(Default)]
pub struct Scratch {
    /// `[total_tokens, hidden]`: what [`Network::encode`] leaves, text after text.
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub wide: Vec<f32>,
    pub scores: Vec<f32>,
    /// What distances add to the scores, in families that work that out for each text.
    pub near: Vec<f32>,
}

impl Scratch {
    /// Bytes of the buffers.
    pub fn bytes(&self) -> usize {
        let buffers = [&self.x, &self.y, &self.wide, &self.scores, &self.near];
        buffers.map(Vec::capacity).iter().sum::<usize>() * size_of::<f32>()
    }
}

/// The weights of a loaded network, read only, shared by all model threads.
pub trait Network: Send + Sync {
    /// Numbers in a token's vector.
    fn hidden(&self) -> usize;

    /// Tokens of a text at most, special ones included.
    fn max_tokens(&self) -> usize;

    /// Number of ids that have a vector.
    fn vocabulary(&self) -> usize;

    /// The word table, for a head that is tied to it. In some families its vectors are narrower than [`Network::hidden`].
    fn words(&self) -> &WordTable;

    /// Bytes of a thread's [`Scratch`] at most, and of what its layers need beside it, for batches of `tokens` in which no text is longer
    /// than `longest`; `None` for a family that does not know.
    fn activations(&self, _tokens: usize, _longest: usize) -> Option<usize> {
        None
    }

    /// Leaves the last layer's output `[total_tokens, hidden]` in `scratch.x`, text after text. No text sees its batch mates. A text
    /// that is empty, too long, or holds an id outside the vocabulary is [`InferenceError::Poison`].
    fn encode(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError>;

    /// The same where only the first token's vector of each text is read: leaves `[texts, hidden]`, with the same bits. A family may leave out
    /// what its last layer would do for the other tokens.
    fn encode_firsts(&self, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.encode(texts, scratch)?;
        let hidden = self.hidden();
        firsts(texts, hidden, &mut scratch.x);
        Ok(())
    }
}

/// Keeps the first row of each text, of rows of `hidden`.
fn firsts(texts: &[Sequence<'_>], hidden: usize, x: &mut Vec<f32>) {
    let mut start = 0;
    for (number, text) in texts.iter().enumerate() {
        x.copy_within(start * hidden..(start + 1) * hidden, number * hidden);
        start += text.ids.len();
    }
    x.truncate(texts.len() * hidden);
}

/// Model types that [`load`] runs.
pub const FAMILIES: &[&str] = &[
    "bart",
    "t5",
    "bert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "albert",
    "electra",
    "mpnet",
    "deberta-v2",
    "modernbert",
    "xlnet",
];

/// Model types that have BERT's layers.
pub const BERTS: &[&str] = &["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "albert", "electra", "mpnet"];

/// Loads the network that `config.json` names.
pub fn load(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Box<dyn Network>, InferenceError> {
    load_by(Plan::default(), config, tensors)
}

/// The same by a plan, which the families of [`BERTS`] follow alone.
pub fn load_by(plan: Plan, config: &ModelConfig, tensors: &Tensors<'_>) -> Result<Box<dyn Network>, InferenceError> {
    config.refuse_unknown()?;
    match config.family()? {
        "bart" | "t5" => Ok(Box::new(super::seq2seq::Rereading::load(config, tensors)?)),
        bert if BERTS.contains(&bert) => {
            let bert = bert::Bert::load(config, tensors)?;
            Ok(Box::new(if plan == Plan::default() { bert } else { bert.planned(plan) }))
        }
        "deberta-v2" => Ok(Box::new(deberta::Deberta::load(config, tensors)?)),
        "modernbert" => Ok(Box::new(modernbert::ModernBert::load(config, tensors)?)),
        "xlnet" => Ok(Box::new(xlnet::XlNet::load(config, tensors)?)),
        other => {
            let writes = match causal::Family::ALL.iter().any(|(name, _)| *name == other) {
                true => {
                    "; a network of this family goes on with a text: use it with generate, or with classify and labels of your own"
                }
                false => "",
            };
            let known = FAMILIES.join(", ");
            Err(config.unsupported(format!("model_type is `{other}`; encoders of these families run: {known}{writes}")))
        }
    }
}

/// Refuses a text that a network cannot take: empty, longer than `longest`, or with an id outside `vocabulary`.
pub fn check(texts: &[Sequence<'_>], longest: usize, vocabulary: usize) -> Result<(), InferenceError> {
    for text in texts {
        if text.ids.is_empty() || text.ids.len() > longest {
            let tokens = text.ids.len();
            return Err(InferenceError::Poison(format!("a text of {tokens} tokens; between 1 and {longest} are possible")));
        }
        if let Some(id) = text.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(InferenceError::Poison(format!("token id {id} is outside the model's vocabulary")));
        }
        if !text.types.is_empty() && text.types.len() != text.ids.len() {
            return Err(InferenceError::Poison("a text has not one segment for each token".to_owned()));
        }
    }
    Ok(())
}
