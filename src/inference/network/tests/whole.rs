//! A folder as somebody has it on disk: a head, weights in parts, a tokeniser in an older form.

use super::files::{fixture, write};
use crate::inference::{Encoder, Head, InferenceError, Options};
use std::path::Path;

/// `[MASK]` has the id that the fixtures use; there are fewer words than the network has vectors.
const WORDS: &str = "[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\nthe\nred\nfox\n##es\n";

fn folder(family: &str, head: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let case = fixture(family).cases.into_iter().find(|case| case.head == head).unwrap();
    write(folder.path(), family, head, &case.config);
    std::fs::write(folder.path().join("vocab.txt"), WORDS).unwrap();
    folder
}

fn open(folder: &Path) -> Result<Encoder, InferenceError> {
    Encoder::open("tiny", folder, None, &Options::default())
}

#[test]
fn a_folder_of_the_older_kind_answers() {
    let place = folder("distilbert", "mask");
    let encoder = open(place.path()).unwrap();
    assert_eq!((encoder.max_tokens(), encoder.mask_token()), (40, Some(4)));
    assert_eq!(encoder.unread(), Vec::<String>::new());
    let texts = vec!["The [MASK] foxes".to_owned(), "no mask".to_owned(), "[MASK][MASK]".to_owned()];
    let answers = encoder.answer_blocking(Head::Mask, texts).unwrap();
    assert_eq!(answers.iter().map(|a| (a.tokens, a.values.len())).collect::<Vec<_>>(), [(6, 96), (4, 0), (4, 192)]);
    let described = encoder.described();
    assert_eq!(
        (described.family.as_str(), described.head, described.layers, described.hidden),
        ("distilbert", Some("mask"), 2, 32)
    );
    assert_eq!(described.tokenizer, place.path().join("vocab.txt"));
    // Words, positions, norm; two layers of four products, two, and two norms; the head's product, norm and bias.
    let layers = 2 * (4 * (32 * 32 + 32) + 2 * 32 * 48 + 48 + 32 + 2 * 64);
    assert_eq!(described.parameters, 96 * 32 + 40 * 32 + 64 + layers + 32 * 32 + 32 + 64 + 96);
}

#[test]
fn what_a_folder_lacks_is_noted() {
    let place = folder("bert", "sequence");
    let path = place.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("id2label");
    config["architectures"] = serde_json::json!(["BertForSequenceClassification"]);
    std::fs::write(&path, config.to_string()).unwrap();
    let encoder = open(place.path()).unwrap();
    let described = encoder.described();
    assert_eq!(described.labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    assert!(described.notes.iter().any(|note| note.contains("LABEL_0")), "{:?}", described.notes);

    // A score from which labels hold means something only where several may.
    config["threshold"] = serde_json::json!(0.25);
    for (problem, threshold) in [("single_label_classification", None), ("multi_label_classification", Some(0.25))] {
        config["problem_type"] = problem.into();
        std::fs::write(&path, config.to_string()).unwrap();
        assert_eq!(open(place.path()).unwrap().described().threshold, threshold, "{problem}");
    }
    config["threshold"] = "none".into();

    config["architectures"] = serde_json::json!(["BertForMultipleChoice"]);
    std::fs::write(&path, config.to_string()).unwrap();
    let encoder = open(place.path()).unwrap();
    let described = encoder.described();
    assert_eq!((described.head, described.labels.len()), (None, 0));
    assert!(described.notes.iter().any(|note| note.contains("BertForMultipleChoice")), "{:?}", described.notes);
    assert!(described.unread.contains(&"classifier.weight".to_owned()) && encoder.unread() == described.unread);
}

/// A tokeniser with more words than the network has vectors, and none at all.
#[test]
fn a_tokeniser_that_does_not_fit_is_refused() {
    let place = folder("bert", "sequence");
    let many: String = (0..90).map(|i| format!("word{i}\n")).collect();
    std::fs::write(place.path().join("vocab.txt"), format!("{WORDS}{many}")).unwrap();
    let said = open(place.path()).err().unwrap().to_string();
    assert!(said.contains("vocab.txt") && said.contains("99 tokens, the model only 96"), "{said}");
    std::fs::remove_file(place.path().join("vocab.txt")).unwrap();
    assert!(open(place.path()).err().unwrap().to_string().contains("looked for tokenizer.json"));
}
