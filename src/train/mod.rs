//! Fine-tuning of the networks that `inference` runs: data in, a folder with weights, tokenizer and card out.
//!
//! Both cores work on halves of one batch; the word, position and type tables stay as they are.

pub mod batches;
pub mod blank;
pub mod causal;
pub mod checkpoint;
pub mod confusion;
pub mod contrast;
pub mod data;
pub mod distil;
pub mod diverged;
pub mod evaluate;
pub mod export;
pub mod fit;
pub mod fresh;
pub mod head;
pub mod held;
pub mod journal;
pub mod keep;
mod lbfgs;
pub mod learner;
pub mod loss;
mod masked;
pub mod measure;
pub mod metrics;
pub mod network;
pub mod ops;
pub mod optimiser;
pub mod pairs;
pub mod pieces;
pub mod plan;
pub mod probe;
pub mod quantise;
pub mod questions;
pub mod several;
mod shards;
pub mod share;
pub mod shrink;
pub mod split;
pub mod squad;
pub mod tagged;
pub mod task;
pub mod teacher;
pub mod trainable;
pub mod vocabulary;
