//! `config_sentence_transformers.json`: what a model was trained to find before a text, by name, such as `query: `.

use super::InferenceError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    prompts: Option<BTreeMap<String, String>>,
}

/// The prompts of a folder by their names; none where it has no such file.
pub fn read(folder: &Path) -> Result<BTreeMap<String, String>, InferenceError> {
    let path = folder.join("config_sentence_transformers.json");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(cause) => return Err(InferenceError::Read { path, cause: cause.to_string() }),
    };
    let config: Result<Config, _> = serde_json::from_slice(&bytes);
    match config {
        Ok(config) => Ok(config.prompts.unwrap_or_default()),
        Err(cause) => Err(InferenceError::Malformed { path, cause: cause.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a folder without the file that does not load, a broken one that is passed over.
    #[test]
    fn prompts_are_read_where_there_are_some() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        let path = folder.path().join("config_sentence_transformers.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("{\"prompts\": {\"query\": \"query: \"}, \"default_prompt_name\": null}");
        assert_eq!(read(folder.path()).unwrap()["query"], "query: ");
        for none in ["{}", "{\"prompts\": null}"] {
            write(none);
            assert!(read(folder.path()).unwrap().is_empty());
        }
        write("{\"prompts\": 3}");
        assert!(read(folder.path()).unwrap_err().to_string().contains("config_sentence_transformers.json"));
    }
}
