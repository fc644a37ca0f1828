//! Against what transformers makes of hostile texts (`tests/fixtures/encoders/tokenizers`).

use crate::inference::tokenizer::{Cut, Text, TextTokenizer};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Expected {
    ids: Vec<u32>,
    types: Vec<u32>,
    /// In characters of a token's own text.
    offsets: Vec<(usize, usize)>,
}

pub fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders/tokenizers").join(name)
}

fn json<T: for<'a> Deserialize<'a>>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn texts() -> Vec<Text> {
    let rows: Vec<Vec<String>> = json(&place("texts.json"));
    let text = |row: Vec<String>| {
        let mut row = row.into_iter();
        Text { first: row.next().unwrap(), second: row.next() }
    };
    rows.into_iter().map(text).collect()
}

/// Every text and pair, by the tokeniser of `folder`, as the fixture `name` says.
fn agrees(folder: &Path, name: &str) {
    let tokenizer = TextTokenizer::open(folder, 512).unwrap_or_else(|e| panic!("{name}: {e}"));
    let expected: Vec<Expected> = json(&place(name).join("expected.json"));
    let texts = texts();
    assert_eq!(texts.len(), expected.len());
    for (text, expected) in texts.iter().zip(&expected) {
        let windows = tokenizer.windows(text, &Cut::default());
        if expected.ids.is_empty() {
            assert!(windows.is_err(), "{name}, {text:?}");
            continue;
        }
        let tokens = windows.unwrap_or_else(|e| panic!("{name}, {text:?}: {e}")).swap_remove(0);
        let names = |ids: &[u32]| ids.iter().map(|&id| tokenizer.token(id).unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(names(&tokens.ids), names(&expected.ids), "{name}, {text:?}");
        assert_eq!(tokens.ids, expected.ids, "{name}, {text:?}");
        assert_eq!(tokens.types, expected.types, "{name}, {text:?}");
        let characters = |(&(start, end), side): (&(usize, usize), &Option<u8>)| {
            let whole = if *side == Some(1) { text.second.as_deref().unwrap() } else { &text.first };
            let count = |at: usize| whole[..at].chars().count();
            (count(start), count(end))
        };
        let offsets: Vec<(usize, usize)> = tokens.offsets.iter().zip(&tokens.sides).map(characters).collect();
        assert_eq!(offsets, expected.offsets, "{name}, {text:?}");
        assert!(!tokens.truncated);
    }
}

#[test]
fn older_forms_cut_texts_as_transformers_does() {
    let folders = [
        "albert",
        "albert_cased",
        "bert",
        "bert_accents",
        "bert_cased",
        "camembert",
        "deberta-v2",
        "deberta-v2_punct",
        "gpt2",
        "llama",
        "llama_new",
        "mpnet",
        "qwen2",
        "roberta",
        "roberta_prefix",
        "t5",
        "t5_new",
        "xlm-roberta",
        "xlnet",
    ];
    for name in folders {
        agrees(&place(name), name);
    }
}

/// The oldest checkpoints have a vocabulary alone: the rest is what the family has by itself.
#[test]
fn a_vocabulary_alone_has_the_rules_of_its_family() {
    let families =
        ["albert", "bert", "camembert", "deberta-v2", "gpt2", "llama", "mpnet", "qwen2", "roberta", "t5", "xlm-roberta", "xlnet"];
    for name in families {
        let bare = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(place(name)).unwrap() {
            let entry = entry.unwrap();
            let file = entry.file_name().into_string().unwrap();
            if !["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "expected.json"]
                .contains(&file.as_str())
            {
                std::fs::copy(entry.path(), bare.path().join(file)).unwrap();
            }
        }
        agrees(bare.path(), name);
    }
}
