//! Causal language networks: GPT-2, GPT-NeoX, Llama, Qwen 2 and 3, Phi and Phi-3, Gemma 1 to 3.
//!
//! A [`Causal`] is read from a Hugging Face folder, whatever the version of transformers that saved it ([`Spec::read`]). Tokens of
//! several sequences go through the layers as packed rows, without padding or masks; keys and values are kept in [`Blocks`]. A
//! [`Generator`] runs a network on threads of its own, and writes texts together that are asked for at the same time.

mod asking;
mod attention;
mod beams;
mod blocks;
mod config;
mod engine;
mod families;
mod generator;
mod job;
mod keys;
mod lane;
mod layer;
mod limit;
mod load;
mod model;
mod names;
pub(crate) mod ops;
mod panels;
mod request;
mod rotary;
mod rows;
mod scaling;
mod score;
mod search;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

pub use beams::{BeamOptions, EarlyStopping, Hypothesis};
pub use blocks::{BLOCK, Blocks, Sequence};
pub use generator::{Bytes, Generator, Options};
pub use limit::Limit;
pub use model::{Causal, Scratch, Step};
pub use ops::log_probability;
pub use request::{Choice, Choose, Finish, Generated, Greedy, Request, Steer, Token};
pub use spec::{Activation, Biases, Family, LayerKind, NormKind, Positions, Residual, Rotary, Scaling, Spec};
