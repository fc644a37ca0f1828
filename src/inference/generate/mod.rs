//! What stands around a causal network: prompts into ids, the choice of tokens, the end of a text, and output that is held to a
//! list of labels or to a JSON schema. A [`Sampler`] is what a generator asks for the next token; a [`Writer`] is a model folder as a whole.

mod bytes;
mod decode;
mod guide;
mod json;
mod labels;
pub mod processors;
mod sampler;
mod sampling;
mod steering;
mod vocabulary;
mod writer;

pub use decode::complete_sentence;
pub use guide::Guide;
pub use json::{JsonGuide, JsonTokens, Schema};
pub use labels::{LabelGuide, Labels};
pub use sampler::{Finish, Sampler, Sink, Token, Trace};
pub use sampling::{Sampling, seed_of};
pub use steering::Steering;
pub use vocabulary::Vocabulary;
pub use writer::Writer;

use super::causal::{Choice, Choose};

#[cfg(test)]
mod tests;
