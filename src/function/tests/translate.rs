//! `translate` on tiny random networks, held against the pipelines of transformers 4.57.1 (`tests/fixtures/translate/make.py`).

use super::{ask, bare, code, map};
use crate::function::model::Model;
use crate::function::{Function, api, text_function};
use crate::inference::seq2seq::{Ask, Read, TextToText};
use crate::inference::{Options, Threads};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/translate").join(name)
}

pub fn truth(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&std::fs::read(folder("truth.json")).unwrap()).unwrap();
    all[name].as_array().unwrap().clone()
}

pub fn opened(name: &str) -> Arc<TextToText> {
    let options = Options { threads: Threads::Exactly(2), ..Options::default() };
    Arc::new(TextToText::open(name, &folder(name), None, &options).unwrap())
}

fn function(name: &str, options: Value) -> Arc<dyn Function> {
    text_function("translate", opened(name), &map(options)).unwrap()
}

fn refused(name: &str, options: Value) -> String {
    text_function("translate", opened(name), &map(options)).err().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Would catch: a piece that is numbered by the SentencePiece model, white space or signs that are normalised otherwise, a code that is
/// cut into pieces, an end that is missing where a text is cut.
#[tokio::test]
async fn texts_are_read_and_written_as_in_transformers() {
    for (name, truth_of) in [("marian", "marian"), ("marian_many", "marian_many"), ("t5", "t5")] {
        let model = opened(name);
        for case in truth(truth_of) {
            let text = case["inputs"].as_str().unwrap().to_owned();
            let read = model.read(vec![Ask { text, ..Ask::default() }]).await.unwrap();
            let Read::Parts(parts) = &read[0] else { panic!("{name}: {read:?}") };
            assert_eq!(parts[0].ids, ids(&case["ids"]), "{name}: {}", case["inputs"]);
            let new = ids(&case["new"]);
            let written = match model.marian() {
                Some(marian) => marian.decode(&new),
                None => model.tokenizer().unwrap().decode(&new, true).unwrap(),
            };
            let told = &case["output"][0];
            let text = told["translation_text"].as_str().or(told["generated_text"].as_str()).unwrap();
            assert_eq!(written, text, "{name}: {}", case["inputs"]);
        }
    }
}

/// Would catch: a search with other options than were asked for, a prefix that is forgotten, an answer in the place of another.
#[tokio::test]
async fn translations_are_those_of_the_pipeline() {
    let same = async |function: &dyn Function, case: &Value, input: &Value| {
        let ours = bare(function, input, case["parameters"].clone()).await;
        let told = &case["output"][0];
        let text = told["translation_text"].as_str().or(told["generated_text"].as_str()).unwrap();
        assert_eq!(ours["translation_text"].as_str().unwrap(), text.trim(), "{case}");
    };
    let one = function("marian", json!({}));
    for case in truth("marian") {
        same(&*one, &case, &case["inputs"]).await;
    }
    let many = function("marian_many", json!({}));
    let refused = ask(&*many, &[json!(">>fra<<"), json!(">>fra<< \n")]).await;
    assert!(refused.iter().all(|one| one["rejected"]["code"] == "empty_text"), "a code alone is no text: {refused:?}");
    for case in truth("marian_many").iter().filter(|case| case["inputs"].as_str().unwrap().starts_with(">>fra<<")) {
        same(&*many, case, &case["inputs"]).await;
        // The same text, with the language told beside it.
        let text = case["inputs"].as_str().unwrap().trim_start_matches(">>fra<<");
        same(&*many, case, &json!({ "text": text, "tgt_lang": "fra" })).await;
        same(&*function("marian_many", json!({ "tgt_lang": "fra" })), case, &json!(text)).await;
    }
    let told = function("t5", json!({ "prefix": "translate English to German: " }));
    let named = function("t5", json!({ "src_lang": "en", "tgt_lang": "de" }));
    for case in truth("t5") {
        let text = case["inputs"].as_str().unwrap().trim_start_matches("translate English to German: ");
        same(&*told, &case, &json!(text)).await;
        same(&*named, &case, &json!(text)).await;
    }
    // A pair that the configuration describes has options of its own.
    let by_name = function("t5", json!({ "src_lang": "English", "tgt_lang": "French" }));
    for case in truth("t5_pair") {
        same(&*by_name, &case, &case["inputs"]).await;
    }
    let pair = function("t5", json!({ "src_lang": "en", "tgt_lang": "fr" }));
    for case in truth("t5_pair") {
        same(&*pair, &case, &case["inputs"]).await;
    }
}

/// Would catch: events of one slice that are answered with the options of another, a refusal that takes its neighbours along.
#[tokio::test]
async fn each_event_has_its_languages() {
    let t5 = function("t5", json!({ "max_new_tokens": 24 }));
    let pair = |text: &str, tgt: &str| json!({ "text": text, "src_lang": "en", "tgt_lang": tgt });
    let mixed = [
        pair("Where is my parcel?", "fr"),
        json!("x"),
        pair("Where is my parcel?", "de"),
        pair("  the  parcel is   late. ", "fr"),
    ];
    let answers = ask(&*t5, &mixed).await;
    let texts: Vec<&str> = answers.iter().map(|answer| answer["translation_text"].as_str().unwrap_or_default()).collect();
    let (plain, of_pair) = (truth("t5"), truth("t5_pair"));
    assert_eq!(texts[0], of_pair[0]["output"][0]["translation_text"].as_str().unwrap().trim());
    assert_eq!(texts[2], plain[0]["output"][0]["generated_text"].as_str().unwrap().trim());
    assert_eq!(texts[3], of_pair[1]["output"][0]["translation_text"].as_str().unwrap().trim());
    assert_eq!(code(&answers[1]), ("missing_field".into(), "src_lang".into()));

    let many = function("marian_many", json!({}));
    let asked = [
        json!({ "text": "the cat", "tgt_lang": "deu" }),
        json!("the cat"),
        json!({ "text": "the cat", "tgt_lang": "nld" }),
        json!(" "),
    ];
    let answers = ask(&*many, &asked).await;
    assert!(answers[0]["translation_text"].is_string(), "{answers:?}");
    assert_eq!(code(&answers[1]), ("missing_field".into(), "tgt_lang".into()));
    assert!(answers[1]["rejected"]["detail"].as_str().unwrap().contains("deu, fra"), "{answers:?}");
    assert_eq!(code(&answers[2]), ("unknown_language".into(), "tgt_lang".into()));
    assert_eq!(code(&answers[3]), ("empty_text".into(), "text".into()));
    // With a language beside it, what somebody wrote is nothing but words.
    let marian = opened("marian_many");
    let read = |text: &str| marian.marian().unwrap().encode(text, Some("deu"), 48).unwrap().ids;
    let codes = [">>fra<<", ">>deu<<"].map(|code| marian.marian().unwrap().encode(code, None, 48).unwrap().ids[0]);
    assert!(read(">>fra<< the cat")[0] == codes[1] && !read(">>fra<< the cat").contains(&codes[0]));
    assert!(!read("</s> the cat")[..5].contains(&0), "an end in a text is words");
}

/// Would catch: a long text that is cut in silence, a part that loses a sentence, one that is refused where it need not be.
#[tokio::test]
async fn a_long_text_is_cut_parted_or_refused() {
    let long = "the cat. the mat is in London. ".repeat(12);
    let with = async |name: &str, options: Value, text: &str| ask(&*function(name, options), &[json!(text)]).await.remove(0);
    let cut = with("marian", json!({ "max_new_tokens": 8 }), &long).await;
    assert_eq!((&cut["truncated"], &cut["windows"], &cut["tokens"]), (&json!(true), &json!(1), &json!(48)));
    let parts = with("marian", json!({ "max_new_tokens": 8, "too_long": "window" }), &long).await;
    assert!(parts["truncated"] == false && parts["windows"].as_u64() > Some(3), "{parts}");
    assert!(
        parts["tokens"].as_u64().unwrap() > 4 * 48
            && parts["generated_tokens"].as_u64().unwrap() <= 8 * parts["windows"].as_u64().unwrap()
    );
    assert_eq!((&cut["finish_reason"], &parts["finish_reason"]), (&json!("length"), &json!("length")), "their ends are forced");
    // The code that stands before a text is that of all its parts.
    let many = async |options: Value, text: &str| with("marian_many", options, text).await["translation_text"].clone();
    let short = json!({ "max_new_tokens": 6, "too_long": "window", "num_beams": 1 });
    let mut told = short.clone();
    told["tgt_lang"] = "deu".into();
    assert_eq!(many(short, &format!(">>deu<<{long}")).await, many(told, &long).await);
    for (name, options, input, at) in [
        ("t5", json!({ "prefix": "the cat sat on the mat ".repeat(20), "too_long": "window" }), json!(long), "prefix_too_long"),
        ("t5", json!({}), json!({ "text": "a", "src_lang": "en", "tgt_lang": "German</s>" }), "unknown_language"),
        ("t5", json!({}), json!({ "text": "a", "src_lang": "en", "tgt_lang": "word ".repeat(600) }), "unknown_language"),
    ] {
        let refused = ask(&*function(name, options), &[input]).await.remove(0);
        assert_eq!(refused["rejected"]["code"], at, "{refused}");
    }
    let short = with("marian", json!({ "max_new_tokens": 8, "too_long": "window" }), "the cat.").await;
    assert_eq!(short["translation_text"], with("marian", json!({ "max_new_tokens": 8 }), "the cat.").await["translation_text"]);
    // Words without an end, and without blanks.
    for text in ["cat ".repeat(80), "c".repeat(300)] {
        let parts = with("marian", json!({ "max_new_tokens": 2, "too_long": "window" }), &text).await;
        assert!(parts["truncated"] == false && parts["windows"].as_u64() > Some(1), "{parts}");
    }
    let refused = with("t5", json!({ "prefix": "", "too_long": "reject" }), &long).await;
    assert_eq!(code(&refused), ("text_too_long".into(), "text".into()));
    assert!(refused["rejected"]["detail"].as_str().unwrap().contains("40"), "{refused}");
}

#[test]
fn options_that_do_not_fit_are_named() {
    for (name, options, said) in [
        ("marian", json!({ "tgt_lang": "fra" }), "`tgt_lang`: the model writes one language"),
        ("marian_many", json!({ "tgt_lang": "nld" }), "names one: deu, fra"),
        ("marian", json!({ "prefix": "x" }), "`prefix` is for models that are told"),
        ("t5", json!({ "prefix": "x", "tgt_lang": "de" }), "leave `src_lang` and `tgt_lang` out"),
        ("t5", json!({ "num_beams": 17 }), "`num_beams` is 17; write 1 to 16"),
        ("t5", json!({ "max_new_tokens": 0 }), "`max_new_tokens` is 0"),
        ("t5", json!({ "generate_parameters": { "max_length": 30.5 } }), "`max_length` is 30.5"),
        ("t5", json!({ "generate_parameters": { "max_length": 1 } }), "`max_length` is 1"),
        ("marian", json!({ "max_new_tokens": 49 }), "`max_new_tokens` is 49; write 1 to 48"),
        ("t5", json!({ "early_stopping": "soon" }), "`early_stopping`: it must be true, false"),
        ("t5", json!({ "generate_parameters": { "top_p": 0.5 } }), "there is no `top_p`; known: max_new_tokens"),
        ("t5", json!({ "beams": 2 }), "no option `beams`; known: "),
    ] {
        let error = refused(name, options);
        assert!(error.starts_with("translate: ") && error.contains(said), "{error}");
    }
    let encoder = text_function("translate", super::open(&super::fixture("fill")), &map(json!({}))).err().unwrap();
    assert!(encoder.contains("T5, BART and Marian"), "{encoder}");
    let wrong = text_function("tag", Model::TextToText(opened("t5")), &map(json!({}))).err().unwrap();
    assert!(wrong.starts_with("tag: ") && wrong.contains("needs one that reads"), "{wrong}");
}

/// Would catch: a folder that opens without one of its files, an id that the network has no vector for.
#[test]
fn a_damaged_folder_is_told() {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder("marian")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let error = || TextToText::open("m", copy.path(), None, &Options::default()).err().unwrap().to_string();
    let change = |name: &str, bytes: &[u8]| {
        let path = copy.path().join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let said = error();
        std::fs::write(&path, before).unwrap();
        said
    };
    for name in ["source.spm", "target.spm"] {
        assert!(change(name, b"\x0a\xff").contains(name), "{name}");
    }
    assert!(change("vocab.json", b"{\"a\": 1}").contains("no token `<unk>`"));
    assert!(change("vocab.json", b"{\"<unk>\": 1, \"</s>\": 99999999}").contains("16,777,216"));
    assert!(change("vocab.json", b"{\"<unk>\": 1, \"</s>\": 5000}").contains("the model only"));
    std::fs::remove_file(copy.path().join("source.spm")).unwrap();
    assert!(error().contains("source.spm"));
}

#[test]
fn one_line_of_rust_translates() {
    let path = |name: &str| folder(name).display().to_string();
    let translate = api::translate(&path("marian_many")).unwrap().to("fra").num_beams(2).max_new_tokens(6).load().unwrap();
    let many = translate.call_batch(["the cat", "the mat"]).unwrap();
    assert_eq!((many.len(), &many[1]), (2, &translate.call("the mat").unwrap()));
    let other = api::translate(&path("marian_many")).unwrap().load().unwrap();
    assert!(other.call(crate::function::translate::Original::from("the cat").to("deu")).is_ok());
    assert!(other.call("the cat").unwrap_err().to_string().contains("`tgt_lang`"));
}
