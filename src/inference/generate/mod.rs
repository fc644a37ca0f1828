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

use super::causal::{Choice, Choose};

#[cfg(test)]
mod tests;
