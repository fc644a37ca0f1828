//! `config_sentence_transformers.json`: what a model was trained to find before a text, by name, such as `query: `.

use super::InferenceError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    prompts: Option<BTreeMap<String, String>>,
    default_prompt_name: Option<String>,
}

/// The prompts of a folder by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompts {
    by_name: BTreeMap<String, String>,
    default: Option<String>,
}

impl Prompts {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// In alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// What stands before a text where nobody says otherwise (`default_prompt_name`).
    pub fn by_default(&self) -> Option<&str> {
        self.default.as_deref().and_then(|name| self.get(name))
    }
}

/// None where the folder has no such file. A default that is none of the prompts is an error, as it is in sentence-transformers.
pub fn read(folder: &Path) -> Result<Prompts, InferenceError> {
    let path = folder.join("config_sentence_transformers.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Prompts::default()),
        Err(cause) => return Err(InferenceError::Read { path, cause: cause.to_string() }),
    };
    let config: Config = match serde_json::from_slice(&bytes) {
        Ok(config) => config,
        Err(cause) => return Err(InferenceError::Malformed { path, cause: cause.to_string() }),
    };
    let (by_name, default) = (config.prompts.unwrap_or_default(), config.default_prompt_name);
    match &default {
        Some(name) if !by_name.contains_key(name) => {
            let known: Vec<&String> = by_name.keys().collect();
            let cause = format!("`default_prompt_name` is {name:?}, which is none of the prompts {known:?}");
            Err(InferenceError::Malformed { path, cause })
        }
        _ => Ok(Prompts { by_name, default }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a folder without the file that does not load, a broken one that is passed over, a default that is not read.
    #[test]
    fn prompts_are_read_where_there_are_some() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Prompts::default());
        let path = folder.path().join("config_sentence_transformers.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("{\"prompts\": {\"query\": \"query: \"}, \"default_prompt_name\": null}");
        let found = read(folder.path()).unwrap();
        assert_eq!((found.get("query"), found.by_default()), (Some("query: "), None));
        write("{\"prompts\": {\"query\": \"query: \", \"a\": \"b\"}, \"default_prompt_name\": \"query\"}");
        let found = read(folder.path()).unwrap();
        assert_eq!((found.by_default(), found.names().collect::<Vec<_>>()), (Some("query: "), vec!["a", "query"]));
        for none in ["{}", "{\"prompts\": null}"] {
            write(none);
            assert_eq!(read(folder.path()).unwrap(), Prompts::default());
        }
        write("{\"prompts\": {\"a\": \"b\"}, \"default_prompt_name\": \"query\"}");
        assert!(read(folder.path()).unwrap_err().to_string().contains("`default_prompt_name` is \"query\""));
        write("{\"prompts\": 3}");
        assert!(read(folder.path()).unwrap_err().to_string().contains("config_sentence_transformers.json"));
    }
}
