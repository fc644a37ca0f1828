//! The digest of everything in a model's folder that its answers depend on: weights, configuration, tokeniser, pooling. The public digest
//! of a model is that of its weights alone; this one says whether two folders answer alike.

use super::InferenceError;
use super::weights::Digest;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The files that a loader of encoders may read beside the weights.
const NAMES: [&str; 14] = [
    "added_tokens.json",
    "config.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// The sha256 of a list with one line a file, sorted: its name, a blank, its sha256, a line feed; before them the weights under the name
/// `weights`. The files are [`NAMES`], as far as they are there, and `config.json` of the folders in it, where pooling stands.
pub fn contents(folder: &Path, weights: &Digest) -> Result<Digest, InferenceError> {
    let mut names: Vec<PathBuf> = NAMES.iter().map(PathBuf::from).filter(|name| folder.join(name).is_file()).collect();
    for entry in std::fs::read_dir(folder).map_err(|cause| unreadable(folder, &cause))? {
        let inner = PathBuf::from(entry.map_err(|cause| unreadable(folder, &cause))?.file_name()).join("config.json");
        if folder.join(&inner).is_file() {
            names.push(inner);
        }
    }
    names.sort();
    let mut list = format!("weights {}\n", weights.as_str());
    for name in names {
        let path = folder.join(&name);
        let bytes = std::fs::read(&path).map_err(|cause| unreadable(&path, &cause))?;
        // Writing to a String cannot fail.
        _ = writeln!(list, "{} {}", name.display(), Digest::of(&bytes).as_str());
    }
    Ok(Digest::of(list.as_bytes()))
}

fn unreadable(path: &Path, cause: &std::io::Error) -> InferenceError {
    InferenceError::Read { path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Would catch: a configuration, a tokeniser or a pooling that is not part of the digest; notes that are.
    #[test]
    fn what_answers_depend_on_is_in_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let (weights, write) =
            (Digest::of(b"weights"), |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap());
        let now = || contents(folder.path(), &weights).unwrap();
        write("config.json", "{}");
        write("vocab.txt", "a");
        let mut seen = vec![now(), contents(folder.path(), &Digest::of(b"others")).unwrap()];
        for (name, text) in [("config.json", "{ }"), ("vocab.txt", "b"), ("tokenizer.json", "{}"), ("spiece.model", "x")] {
            write(name, text);
            seen.push(now());
        }
        fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        write("1_Pooling/config.json", "{}");
        seen.push(now());
        assert!((1..seen.len()).all(|i| !seen[..i].contains(&seen[i])), "{seen:?}");
        write("README.md", "notes");
        write("predictions.json", "{}");
        assert_eq!(seen.last(), Some(&now()));
        assert!(contents(&folder.path().join("absent"), &weights).unwrap_err().to_string().contains("absent"));
    }
}
