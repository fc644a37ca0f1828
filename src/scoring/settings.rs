//! What the user's files of this room share: reading, words for errors, a version.

use super::error::{Fault, LoadError};
use crate::config::explain;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A larger file is refused before it is read.
const MOST_BYTES: u64 = 64 << 20;

pub fn load<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, LoadError> {
    let unread = |cause: std::io::Error| LoadError::Unread { path: path.to_owned(), cause: cause.to_string() };
    let refused = |fault| LoadError::Refused { path: path.to_owned(), fault };
    let length = std::fs::metadata(path).map_err(unread)?.len();
    if length > MOST_BYTES {
        return Err(refused(Fault::unsupported("", format!("the file has {length} bytes"), "64 MiB are possible")));
    }
    let bytes = std::fs::read(path).map_err(unread)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|cause| refused(Fault::unsupported("", format!("the file is not text: {cause}"), "save it as UTF-8")))?;
    parse(text).map_err(refused)
}

pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    toml::from_str(text).map_err(|cause| Fault::unsupported("", explain(&cause, Some(text)), "correct the file"))
}

/// Every score names the version it was made with.
pub fn version(version: &str) -> Result<(), Fault> {
    match version.trim() {
        "" => Err(Fault::unsupported("", "the version is empty", "give one that changes with the file")),
        _ => Ok(()),
    }
}
