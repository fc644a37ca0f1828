//! Files that cannot be a tokeniser are refused with their name and what is wrong, whatever is in them.

use super::older_forms::place;
use crate::inference::InferenceError;
use crate::inference::tokenizer::{Cut, Text, TextTokenizer, max_tokens};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn said(files: &[(&str, &[u8])]) -> String {
    let folder = folder(files);
    let said = TextTokenizer::open(folder.path(), 64).err().expect("the folder must be refused").to_string();
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    said
}

const BERT: (&str, &[u8]) = ("config.json", br#"{"model_type": "bert"}"#);
const ROBERTA: (&str, &[u8]) = ("config.json", br#"{"model_type": "roberta"}"#);
const T5: (&str, &[u8]) = ("config.json", br#"{"model_type": "t5"}"#);
const VOCABULARY: (&str, &[u8]) = ("vocab.txt", b"[UNK]\n[CLS]\n[SEP]\na\n");

#[test]
fn a_folder_without_a_tokeniser_says_what_was_looked_for() {
    let said = said(&[BERT, ("vocab.json", b"{}")]);
    for name in
        ["tokenizer.json", "vocab.txt", "vocab.json with merges.txt", "spiece.model", "sentencepiece.bpe.model", "spm.model"]
    {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn a_family_whose_rules_are_not_known_is_refused() {
    assert!(said(&[("config.json", br#"{"model_type": "gpt_bigcode"}"#), VOCABULARY]).contains("gpt_bigcode"));
    let japanese = ("tokenizer_config.json", br#"{"tokenizer_class": "BertJapaneseTokenizer"}"#.as_slice());
    assert!(said(&[BERT, japanese, VOCABULARY]).contains("BertJapaneseTokenizer"));
    assert!(said(&[VOCABULARY]).contains("model_type"));
    // A family in a form that it never has.
    assert!(said(&[ROBERTA, VOCABULARY]).contains("Roberta"));
    let model = std::fs::read(place("t5").join("spiece.model")).unwrap();
    assert!(said(&[BERT, ("spiece.model", &model)]).contains("Bert"));
    assert!(said(&[BERT, ("vocab.json", b"{}"), ("merges.txt", b"")]).contains("Bert"));
}

#[test]
fn damaged_files_are_refused() {
    assert!(said(&[BERT, ("tokenizer.json", b"{")]).contains("tokenizer.json"));
    assert!(said(&[BERT, ("vocab.txt", b"[CLS]\n[SEP]\n")]).contains("[UNK]"));
    assert!(said(&[BERT, ("vocab.txt", b"[UNK]\n\xff\xfe\n")]).contains("vocab.txt"));
    assert!(said(&[BERT, VOCABULARY, ("tokenizer_config.json", b"[]")]).contains("tokenizer_config.json"));
    assert!(said(&[BERT, VOCABULARY, ("tokenizer_config.json", br#"{"do_lower_case": "yes"}"#)]).contains("do_lower_case"));
    assert!(said(&[BERT, VOCABULARY, ("tokenizer_config.json", br#"{"cls_token": 7}"#)]).contains("cls_token"));
    assert!(said(&[BERT, VOCABULARY, ("tokenizer_config.json", br#"{"cls_token": null}"#)]).contains("cls_token"));
    assert!(said(&[BERT, VOCABULARY, ("added_tokens.json", br#"{"new": 77}"#)]).contains("`new` has the id 77 there, but"));
    assert!(said(&[BERT, VOCABULARY, ("added_tokens.json", br#"{"new": "x"}"#)]).contains("added_tokens.json"));
    assert!(said(&[ROBERTA, ("vocab.json", b"[]"), ("merges.txt", b"")]).contains("vocab.json"));
    assert!(said(&[ROBERTA, ("vocab.json", br#"{"a": -1}"#), ("merges.txt", b"")]).contains("vocab.json"));
    assert!(said(&[ROBERTA, ("vocab.json", br#"{"a": 0}"#), ("merges.txt", b"#version\na\n")]).contains("line 2"));
    assert!(said(&[ROBERTA, ("vocab.json", br#"{"a": 0}"#), ("merges.txt", b"a b\n")]).contains("merges.txt"));
    assert!(said(&[T5, ("spiece.model", b"")]).contains("no pieces"));
    assert!(said(&[T5, ("spiece.model", b"\x80\x04\x95 a pickle")]).contains("spiece.model"));
    let model = std::fs::read(place("t5").join("spiece.model")).unwrap();
    assert!(said(&[T5, ("spiece.model", &model[..model.len() - 3])]).contains("cut off"));
}

#[test]
fn the_smallest_limit_counts() {
    let with = |files: &[(&str, &[u8])]| max_tokens(folder(files).path(), 512);
    assert_eq!(with(&[]).unwrap(), 512);
    assert_eq!(with(&[("tokenizer_config.json", br#"{"model_max_length": 1000000000000000019884624838656}"#)]).unwrap(), 512);
    assert_eq!(with(&[("tokenizer_config.json", br#"{"model_max_length": 128}"#)]).unwrap(), 128);
    assert_eq!(with(&[("sentence_bert_config.json", br#"{"max_seq_length": 99}"#)]).unwrap(), 99);
    assert_eq!(with(&[("sentence_bert_config.json", br#"{"max_seq_length": 1024}"#)]).unwrap(), 512);
    assert_eq!(with(&[("sentence_bert_config.json", br#"{"max_seq_length": null}"#)]).unwrap(), 512);
    let both: [(&str, &[u8]); 2] =
        [("tokenizer_config.json", br#"{"model_max_length": 64}"#), ("sentence_bert_config.json", br#"{"max_seq_length": 99}"#)];
    assert_eq!(with(&both).unwrap(), 64);
    assert!(
        with(&[("tokenizer_config.json", br#"{"model_max_length": "long"}"#)])
            .unwrap_err()
            .to_string()
            .contains("model_max_length")
    );
}

/// What is left of a model is a tokeniser or an error about its file, never a panic; what it makes of texts neither.
fn survives(family: &str, file: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let config = format!(r#"{{"model_type": "{family}"}}"#);
    let folder = folder(&[("config.json", config.as_bytes()), (file, bytes)]);
    let tokenizer = match TextTokenizer::open(folder.path(), 64) {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            let path = folder.path().display().to_string();
            prop_assert!(error.to_string().contains(&path) || matches!(error, InferenceError::Poison(_)), "{}", error);
            return Ok(());
        }
    };
    for text in ["Hello ＡＢＣ ﬁne\u{a0}e\u{301} ½", "a\0b\u{1}", "中文 ❤ <s> [CLS]"] {
        if let Ok(tokens) = tokenizer.encode(text) {
            prop_assert!(tokens.ids.len() <= 64);
        }
        if let Ok(windows) = tokenizer.windows(&Text::pair(text, "second"), &Cut::default()) {
            prop_assert!(windows.len() == 1 && tokenizer.decode(&windows[0].ids, true).is_ok_and(|text| text.len() < 1000));
        }
    }
    Ok(())
}

fn model(family: &str, file: &str) -> Vec<u8> {
    std::fs::read(Path::new(&place(family)).join(file)).unwrap()
}

/// Cut off at a place, or some bytes from there on replaced.
fn damaged(mut model: Vec<u8>, at: prop::sample::Index, bytes: Option<Vec<u8>>) -> Vec<u8> {
    let at = at.index(model.len());
    match bytes {
        None => model.truncate(at),
        Some(bytes) => model.iter_mut().skip(at).zip(bytes).for_each(|(old, new)| *old = new),
    }
    model
}

fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 1..6))
}

#[test]
fn a_frame_that_lacks_its_tokens_is_refused() {
    let mut json = json_of("albert");
    json["post_processor"]["special_tokens"] = json!({});
    assert!(said(&[("tokenizer.json", json.to_string().as_bytes())]).contains("puts a token"));
    let mut json = json_of("albert");
    json["post_processor"]["single"][1]["Sequence"]["id"] = json!("B");
    assert!(said(&[("tokenizer.json", json.to_string().as_bytes())]).contains("second text"));
}

/// A table of normalisation whose length is a lie would be asked for as memory.
#[test]
fn a_table_that_lies_about_its_length_is_refused() {
    let mut json = json_of("xlm-roberta");
    json["normalizer"]["normalizers"][0]["precompiled_charsmap"] = json!("/////w==");
    assert!(said(&[("tokenizer.json", json.to_string().as_bytes())]).contains("table of normalisation is damaged"));
}

/// Replaces the leaf of number `at`, and counts down to it.
fn replace(value: &mut Value, at: &mut usize, by: &Value) {
    match value {
        Value::Array(items) if !items.is_empty() => items.iter_mut().for_each(|item| replace(item, at, by)),
        Value::Object(fields) if !fields.is_empty() => fields.values_mut().for_each(|field| replace(field, at, by)),
        leaf => {
            if *at == 0 {
                *leaf = by.clone();
            }
            *at = at.wrapping_sub(1);
        }
    }
}

/// A `tokenizer.json` of a family, its vocabulary cut down so that the rest is hit as often.
fn json_of(family: &str) -> Value {
    let tokenizer = TextTokenizer::open(&place(family), 64).unwrap();
    let mut whole = tokenizer.inner.clone();
    whole.with_post_processor(tokenizer.frame.clone());
    serde_json::from_str(&whole.to_string(false).unwrap()).unwrap()
}

fn any_leaf() -> impl Strategy<Value = Value> {
    const TEXTS: [&str; 8] = ["", "x", "[UNK]", "▁", "AAAA", "/////w==", "(", "Sequence"];
    let numbers = prop_oneof![
        Just(json!(0)),
        Just(json!(-1)),
        Just(json!(7)),
        Just(json!(1.5)),
        Just(json!(u32::MAX)),
        Just(json!(u64::MAX))
    ];
    let others = prop_oneof![Just(json!(null)), Just(json!(true)), Just(json!(false)), Just(json!([])), Just(json!({}))];
    prop_oneof![prop::sample::select(&TEXTS[..]).prop_map(|text| json!(text)), numbers, others]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_json_never_panics(family in prop::sample::select(&["bert", "roberta", "xlm-roberta", "llama", "albert"][..]), skip in 0usize..120, by in any_leaf()) {
        let mut json = json_of(family);
        // What stands outside of the vocabulary comes first.
        let mut model = json["model"].take();
        let mut at = skip;
        replace(&mut json, &mut at, &by);
        if at < usize::MAX / 2 {
            replace(&mut model, &mut at, &by);
        }
        if json["model"].is_null() {
            json["model"] = model;
        }
        survives(family, "tokenizer.json", json.to_string().as_bytes())?;
    }

    #[test]
    fn a_damaged_unigram_model_never_panics(at in any::<prop::sample::Index>(), bytes in bytes()) {
        let file = "sentencepiece.bpe.model";
        survives("xlm-roberta", file, &damaged(model("xlm-roberta", file), at, bytes))?;
    }

    #[test]
    fn a_damaged_bpe_model_never_panics(at in any::<prop::sample::Index>(), bytes in bytes()) {
        survives("llama", "tokenizer.model", &damaged(model("llama", "tokenizer.model"), at, bytes))?;
    }
}
