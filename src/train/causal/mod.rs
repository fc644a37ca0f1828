//! Training of causal language models, `P(w_i | w_<i)`: from nothing, on with a folder, or as adapters on a folder that stays.

pub mod adapter;
mod attention;
mod kernels;
mod names;
pub mod network;
pub mod ops;
