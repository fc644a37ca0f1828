//! Training of causal language models, `P(w_i | w_<i)`: from nothing, on with a folder, or as adapters on a folder that stays.

pub mod adapter;
mod attention;
pub mod beside;
pub mod characters;
pub mod data;
pub mod folder;
mod given;
mod kernels;
pub mod learner;
mod names;
pub mod network;
mod pass;
pub mod perplexity;
