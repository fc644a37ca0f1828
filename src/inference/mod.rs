//! Tokeniser, weights, networks and the threads that run them. Knows nothing about events, pipelines or storage.
//!
//! A model folder has the Hugging Face layout: `config.json`, `model.safetensors` (or its parts with their index) and
//! `tokenizer.json` (or an older form of it). [`Registry`] opens each folder once; an [`Encoder`] answers slices of texts on its
//! own model threads. Inside, texts are packed as `[total_tokens, hidden]` without any padding, so that no mask is needed and no
//! text sees its batch mates.

mod attend;
mod backbone;
pub mod batch;
pub mod causal;
pub mod checkpoint;
mod contents;
mod described;
mod dots;
mod elsewhere;
mod encoder;
mod flights;
pub mod generate;
mod handle;
mod heads;
pub mod import;
mod memory;
pub mod network;
pub(crate) mod ops;
#[cfg(test)]
pub(crate) mod parity;
mod pieces;
mod prompts;
mod registry;
mod results;
pub mod seq2seq;
pub mod stock;
pub mod template;
mod tokenizer;
pub mod weights;
mod words;
mod worked;

pub use backbone::{Backbones, Pooling, pooling};
pub use checkpoint::Problem;
pub use described::Described;
pub use encoder::{Answer, Encoder, Head, Options, Together, best, scores};
pub use handle::{Handle, Model, Threads};
pub use heads::{Beam, Start};
pub use memory::{Held, Memory};
pub use pieces::{joins, piece_label};
pub use registry::Registry;
pub use results::{Counts, Results};
pub use tokenizer::{Cut, Give, Text, TextTokenizer, Tokens};
pub use weights::{Digest, Weights};
pub use worked::{Meter, metered};

use std::path::PathBuf;

/// Why a model cannot be opened or did not answer. Messages say what, where and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InferenceError {
    #[error("cannot read {path}: {cause}; the model folder must hold config.json, model.safetensors and a tokeniser (tokenizer.json)", path = path.display())]
    Read { path: PathBuf, cause: String },
    #[error("{path} is not a usable model file: {cause}", path = path.display())]
    Malformed { path: PathBuf, cause: String },
    #[error(
        "{folder} has weights only as {found}, which can run code when it is read; convert them to model.safetensors, nothing else is read",
        folder = folder.display()
    )]
    UnsafeWeights { folder: PathBuf, found: String },
    #[error(
        "{path} has sha256 {found}, but the configuration expects {expected}; restore the file, or change the digest if the new model is meant",
        path = path.display()
    )]
    WrongDigest { path: PathBuf, expected: String, found: String },
    #[error("{path} has no tensor `{name}`; the file is incomplete or of another architecture than its config.json says", path = path.display())]
    MissingTensor { path: PathBuf, name: String },
    #[error("{path}: tensor `{name}` has shape {found:?}, expected {expected:?} by config.json; the two are of different models, or one of them was changed", path = path.display())]
    WrongShape { path: PathBuf, name: String, found: Vec<usize>, expected: Vec<usize> },
    #[error("{path}: {cause}", path = path.display())]
    Unsupported { path: PathBuf, cause: String },
    /// An input made the model fail or panic; the model itself goes on.
    #[error("the model failed on its input: {0}")]
    Poison(String),
    /// A model that cannot be loaded beside what has to stay.
    #[error(
        "the model `{name}` needs {bytes} bytes of memory, and models may take {limit} (`memory_budget_mb` under [models]){beside}; raise it, or pin fewer",
        beside = beside(*pinned)
    )]
    NoRoom { name: String, bytes: usize, pinned: usize, limit: usize },
    /// A model that may put no other out, and does not fit beside them.
    #[error(
        "the model `{name}` takes {} MB, and with it all models take {} MB; memory_budget_mb under [models] is {}: raise it, or take a smaller model",
        bytes.div_ceil(1 << 20),
        all.div_ceil(1 << 20),
        limit >> 20
    )]
    Crowded { name: String, bytes: usize, all: usize, limit: usize },
    /// The model threads are gone, or could not be started.
    #[error("the model threads are not running: {0}")]
    Closed(String),
}

/// What an error says of those that are pinned.
fn beside(pinned: usize) -> String {
    if pinned == 0 { String::new() } else { format!(", {pinned} bytes of it for those that are pinned") }
}

/// Keeps candle and rayon from starting threads of their own: one compute thread a model thread is the fastest arrangement, and
/// candle's global pool would serialise the model threads. Values that the environment already has are kept.
///
/// Call it as the first line of `main`, before there are other threads: it does nothing and returns `false` when there are some,
/// or when the system does not tell. The encoders here do not depend on it; networks that run or train on candle do.
pub fn limit_threads() -> bool {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        if alone && std::env::var_os(name).is_none() {
            // SAFETY: the system lists no thread but this one, so nobody else can read or write the environment meanwhile.
            unsafe { std::env::set_var(name, "1") };
        }
    }
    alone
}
