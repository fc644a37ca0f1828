//! From the name of a model to its folder: a path, a name in the places for models, or `org/name@revision` in the cache of a Hugging Face
//! hub, which is only read; where downloads are allowed, the model is fetched into that cache first.
//!
//! Knows nothing of what is in a model but the names of its files. Only safetensors are fetched: pickles can run code when they are read.

mod cache;
mod client;
mod complete;
mod fetch;
mod repo;
mod resolve;
#[cfg(test)]
mod tests;
mod wanted;

pub use cache::{Cached, cached};
pub use client::Hub;
pub use complete::{State, look};
pub use fetch::{Fetched, Progress, fetch};
pub use repo::Repo;
pub use resolve::{Found, Missing, Place, Places};

use std::path::PathBuf;

/// Why a model was not fetched. Messages say what, where and what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HubError {
    #[error("the hub {hub} has no model `{repo}`, or it is not shown without a token; check the name, or set HF_TOKEN")]
    NoSuchRepo { hub: String, repo: String },
    #[error("`{repo}` has no revision `{revision}` on {hub}; leave it out for `main`, or name a branch, a tag or a commit")]
    NoSuchRevision { hub: String, repo: String, revision: String },
    #[error("{hub} wants a token for `{repo}`: set HF_TOKEN to one that may read it")]
    NeedsToken { hub: String, repo: String },
    #[error(
        "{hub} does not let this token read `{repo}`: accept the model's terms on its page, or use another token in HF_TOKEN"
    )]
    Forbidden { hub: String, repo: String },
    #[error("{hub} answers 429, too many requests, after {tries} tries; ask again later, or set HF_TOKEN")]
    Busy { hub: String, tries: usize },
    #[error("{hub} answers {status} to {path}; ask again later")]
    Status { hub: String, status: u16, path: String },
    #[error("{hub} cannot be reached: {cause}; what has come so far is kept, ask again")]
    Connection { hub: String, cause: String },
    #[error("{hub} answers in a way that is not a hub's: {what}; check HF_ENDPOINT")]
    NotAHub { hub: String, what: String },
    #[error("{file} has sha256 {found}, the hub says {expected}; what was fetched is removed, ask again")]
    WrongHash { file: String, expected: String, found: String },
    #[error("{file} has {found} bytes, the hub says {expected}; what was fetched is removed, ask again")]
    WrongSize { file: String, expected: u64, found: u64 },
    #[error(
        "`{repo}` has weights only as {found}, which can run code when it is read; look for a revision or a copy of it with \
         model.safetensors, or convert it with transformers: save_pretrained(DIR, safe_serialization=True)"
    )]
    OnlyPickle { repo: String, found: String },
    #[error("`{repo}` has no {missing}; it is no model that can be used here")]
    Incomplete { repo: String, missing: String },
    #[error("the cache cannot be written at {}: {cause}; HF_HUB_CACHE names another folder", path.display())]
    Cache { path: PathBuf, cause: String },
}
