//! Model files of other programs, written anew as a model folder: `model.safetensors`, `config.json`, `tokenizer.json` and a card.
//!
//! Two kinds are read: GGUF (llama.cpp) and the `.bin` of llama2.c. A file is checked before anything is allocated for it: every
//! length it claims must lie inside it. What would change the maths and is not understood is an error, never left out.

pub mod gguf;
pub mod llama2c;
mod rows;
mod sentencepiece;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_gemma;
mod tokenizer;
mod write;

pub use write::{Dtype, Written};

use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a file cannot be imported.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read { path: PathBuf, cause: String },
    #[error("{path} is damaged or not what its name says: {cause}", path = path.display())]
    Damaged { path: PathBuf, cause: String },
    #[error("{path} cannot be imported: {cause}", path = path.display())]
    Unsupported { path: PathBuf, cause: String },
    #[error("cannot write {path}: {cause}", path = path.display())]
    Write { path: PathBuf, cause: String },
}

/// A fault without its path; the reader of the file adds it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    Read(String),
    Damaged(String),
    Unsupported(String),
}

impl Fault {
    fn at(self, path: &Path) -> ImportError {
        let path = path.to_owned();
        match self {
            Self::Read(cause) => ImportError::Read { path, cause },
            Self::Damaged(cause) => ImportError::Damaged { path, cause },
            Self::Unsupported(cause) => ImportError::Unsupported { path, cause },
        }
    }
}

fn damaged(cause: impl Into<String>) -> Fault {
    Fault::Damaged(cause.into())
}

fn unsupported(cause: impl Into<String>) -> Fault {
    Fault::Unsupported(cause.into())
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged("it ends in the middle"),
            _ => Self::Read(error.to_string()),
        }
    }
}

/// What is imported, and as what.
#[derive(Debug, Clone)]
pub struct Request {
    pub file: PathBuf,
    /// Must not exist, or be empty.
    pub folder: PathBuf,
    pub dtype: Dtype,
    /// The vocabulary of a file that has none of its own: `tok*.bin` of llama2.c, or a SentencePiece `*.model`.
    pub tokenizer: Option<PathBuf>,
    /// For files that do not tell the base of the rotary positions.
    pub rope_theta: Option<f64>,
}

/// A tensor that will be written.
struct Planned {
    name: String,
    shape: Vec<usize>,
}

/// A model on its way: everything but the values, which are read one tensor at a time.
struct Model {
    config: Value,
    tokenizer: Value,
    tokenizer_config: Value,
    tensors: Vec<Planned>,
    /// The licence as the file names it.
    licence: Option<String>,
    /// The file's kind and types, for the card.
    origin: String,
    /// What a reader of the card should know.
    notes: Vec<String>,
}

/// Reads the values of the planned tensors in their order, row-major.
type ReadTensor<'a> = dyn FnMut(usize) -> Result<Vec<f32>, Fault> + 'a;

/// Imports a file. The folder appears when everything is written.
pub fn import(request: &Request) -> Result<Written, ImportError> {
    let mut magic = Vec::new();
    let read = |cause: std::io::Error| ImportError::Read { path: request.file.clone(), cause: cause.to_string() };
    std::fs::File::open(&request.file).map_err(read)?.take(4).read_to_end(&mut magic).map_err(read)?;
    match &*magic {
        b"GGUF" => {
            if let Some(tokenizer) = &request.tokenizer {
                return Err(unsupported("a GGUF file brings its own vocabulary; leave --tokenizer out").at(tokenizer));
            }
            gguf::import(request)
        }
        _ => llama2c::import(request),
    }
}
