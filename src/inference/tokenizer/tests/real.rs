//! Tokenisers of trained models that lie beside the repository: the older form makes of texts what `tokenizer.json` makes of them.

use super::older_forms::texts;
use crate::absent::absent;
use crate::inference::tokenizer::sentence_piece::pieces_of;
use crate::inference::tokenizer::{Cut, TextTokenizer};
use std::path::{Path, PathBuf};

/// A folder, or a word that it is not there.
fn there(folder: PathBuf) -> Option<PathBuf> {
    if !folder.exists() {
        absent(format!("{} is not here", folder.display()));
        return None;
    }
    Some(folder)
}

fn shared(name: &str) -> Option<PathBuf> {
    there(Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models").join(name))
}

/// The folder's tokeniser against what the files `older` of the same folder make, with `config` as `config.json`.
fn agree(folder: &Path, older: &[&str], config: &str) {
    let bare = tempfile::tempdir().unwrap();
    for file in older {
        std::fs::copy(folder.join(file), bare.path().join(file)).unwrap();
    }
    std::fs::write(bare.path().join("config.json"), config).unwrap();
    let (old, new) = (TextTokenizer::open(bare.path(), 512).unwrap(), TextTokenizer::open(folder, 512).unwrap());
    assert_eq!(old.vocabulary(), new.vocabulary());
    for text in texts() {
        let tokens = |tokenizer: &TextTokenizer| tokenizer.windows(&text, &Cut::default()).ok();
        assert_eq!(tokens(&old), tokens(&new), "{text:?}");
    }
}

#[test]
fn gpt2_is_the_same_in_both_forms() {
    let Some(folder) = shared("gpt2-tokenizer") else { return };
    agree(&folder, &["vocab.json", "merges.txt"], r#"{"model_type": "gpt2"}"#);
}

#[test]
fn minilm_is_the_same_in_both_forms() {
    let given = std::env::var_os("MILLRACE_MINILM_DIR").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| std::env::temp_dir().join("millrace-minilm"));
    let Some(folder) = there(folder) else { return };
    agree(&folder, &["vocab.txt"], r#"{"model_type": "bert"}"#);
}

/// SentencePiece lists a model's pieces with their scores, to whole numbers, beside the model.
#[test]
fn pieces_are_those_that_sentencepiece_lists() {
    let Some(folder) = shared("babyllama-tok105") else { return };
    let pieces = pieces_of(&std::fs::read(folder.join("tok105.model")).unwrap()).unwrap();
    let list = std::fs::read_to_string(folder.join("tok105.vocab")).unwrap();
    let listed: Vec<(&str, f32)> =
        list.lines().map(|line| line.split_once('\t').unwrap()).map(|(piece, score)| (piece, score.parse().unwrap())).collect();
    assert_eq!(pieces.len(), listed.len());
    for ((piece, score), (name, about)) in pieces.iter().zip(listed) {
        assert!(piece == name && (score - about).abs() < 1.0, "{piece} {score}, listed as {name} {about}");
    }
}
