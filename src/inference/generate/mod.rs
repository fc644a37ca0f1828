//! What stands around a causal network: prompts into ids, the choice of tokens, the end of a text, and output that is held to a
//! list of labels or to a JSON schema. Knows nothing of the network: a [`Sampler`] is what a generator asks for the next token.

mod bytes;
mod decode;
mod guide;
mod json;
mod labels;
pub mod processors;
mod sampler;
mod sampling;
mod vocabulary;

pub use decode::complete_sentence;
pub use guide::Guide;
pub use json::{JsonGuide, JsonTokens, Schema};
pub use labels::{LabelGuide, Labels};
pub use sampler::{Finish, Sampler, Sink, Token, Trace};
pub use sampling::{Sampling, seed_of};
pub use vocabulary::Vocabulary;

/// The answer of a [`Choose`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    Token { id: u32, log_probability: f32 },
    Stop,
}

/// Chooses the next token of one text.
pub trait Choose: Send {
    /// All ids so far, the first `prompt` of them given, and the logits of the next.
    fn choose(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32]) -> Choice;
}

#[cfg(test)]
mod tests;
