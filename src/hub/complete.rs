//! Whether a folder has all files of a model. Nothing but names is looked at; whether they can be used is for who reads them.

use super::wanted::{CONFIG, INDEX, WEIGHTS, has_tokenizer, is_pickle, parts_here};
use std::path::Path;

/// What was found at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Found,
    Absent,
    /// What is missing.
    Incomplete(String),
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Found => f.write_str("found"),
            Self::Absent => f.write_str("absent"),
            Self::Incomplete(missing) => write!(f, "incomplete, {missing}"),
        }
    }
}

/// Looks into a folder.
pub fn look(folder: &Path) -> State {
    if !folder.is_dir() {
        return State::Absent;
    }
    let has = |name: &str| folder.join(name).is_file();
    let missing = |name: &str| State::Incomplete(format!("{name} is missing"));
    if !has(CONFIG) {
        return missing(CONFIG);
    }
    if !has(WEIGHTS) {
        if !has(INDEX) {
            let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            return match names.find(|name| is_pickle(name)) {
                Some(pickle) => State::Incomplete(format!("{WEIGHTS} is missing; {pickle} can run code and is not read")),
                None => missing(WEIGHTS),
            };
        }
        let named = std::fs::read(folder.join(INDEX)).map_err(|cause| cause.to_string()).and_then(|index| parts_here(&index));
        match named {
            Err(cause) => return State::Incomplete(cause),
            Ok(parts) => {
                if let Some(part) = parts.iter().find(|part| !has(part)) {
                    return missing(part);
                }
            }
        }
    }
    // A head stands on another folder, which has the tokeniser.
    let config = std::fs::read(folder.join(CONFIG)).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    if config.get("backbone").is_none() && !has_tokenizer(has) {
        return missing("the tokeniser");
    }
    State::Found
}
