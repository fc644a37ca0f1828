//! Against what transformers reads from the same files: `tests/fixtures/import`.

use super::gguf::{Gguf, TensorInfo};
use super::{Dtype, ImportError, Request, import};
use crate::inference::{Digest, Weights};
use base64::Engine;
use safetensors::SafeTensors;
use serde_json::Value;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import")
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}

fn request(file: &Path, folder: &Path) -> Request {
    Request { file: file.to_owned(), folder: folder.to_owned(), dtype: Dtype::Bf16, tokenizer: None, rope_theta: None }
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Value {
    tokenizer.encode(text, true).unwrap().get_ids().to_vec().into()
}

fn texts(document: &Value) -> Vec<&str> {
    document["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The bf16 bytes of each tensor are those of transformers.
fn assert_weights(folder: &Path, expected: &Value, all: bool) {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, digest) in expected.as_object().unwrap() {
        let found = Digest::of(file.tensor(name).unwrap().data());
        assert_eq!(found.as_str(), digest.as_str().unwrap(), "{name}");
    }
    assert!(!all || file.len() == expected.as_object().unwrap().len());
}

/// Would catch: rows of queries and keys left in llama.cpp's order, a block type decoded wrongly, tensors under a wrong name, a
/// vocabulary that is split or merged otherwise, a rope base or an epsilon that is a default.
#[test]
fn tiny_files_become_what_transformers_reads() {
    let document = expected("expected.json");
    let out = tempfile::tempdir().unwrap();
    for name in ["llama.gguf", "qwen2.gguf", "pieces.gguf"] {
        let folder = out.path().join(name);
        let written = import(&request(&fixtures().join(name), &folder)).unwrap();
        let (expected, config) = (&document[name], json(&folder, "config.json"));
        assert_weights(&folder, &expected["bf16"], true);
        assert_eq!(written.tensors, expected["bf16"].as_object().unwrap().len());
        for (key, value) in expected["config"].as_object().unwrap() {
            match key.as_str() {
                "rope_parameters" => assert_eq!(config["rope_theta"], value["rope_theta"], "{name}"),
                "rms_norm_eps" => assert_eq!(config[key].as_f64().unwrap() as f32, value.as_f64().unwrap() as f32, "{name}"),
                "model_type"
                | "hidden_size"
                | "intermediate_size"
                | "num_hidden_layers"
                | "num_attention_heads"
                | "vocab_size"
                | "num_key_value_heads"
                | "hidden_act"
                | "max_position_embeddings"
                | "bos_token_id"
                | "eos_token_id"
                | "tie_word_embeddings"
                | "attention_bias"
                | "mlp_bias" => assert_eq!(&config[key], value, "{name} {key}"),
                _ => {}
            }
        }
        let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        for (text, expected) in texts(&document).into_iter().zip(expected["ids"].as_array().unwrap()) {
            // There transformers puts one blank less before a text that begins with one than SentencePiece and llama.cpp do.
            if name != "pieces.gguf" || !text.starts_with([' ', '\u{a0}']) {
                assert_eq!(&ids(&tokenizer, text), expected, "{name} {text:?}");
            }
        }
        let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let digest = Digest::of(&std::fs::read(fixtures().join(name)).unwrap());
        assert!(card.contains(digest.as_str()) && card.contains("license: apache-2.0"), "{card}");
        assert_eq!(written.weights, Weights::open(&folder, None).unwrap().digest().as_str());
    }
    let config = json(&out.path().join("llama.gguf"), "tokenizer_config.json");
    assert!(config["chat_template"].as_str().unwrap().contains("im_start"));
    assert_eq!(config["model_input_names"], serde_json::json!(["input_ids", "attention_mask"]));
    assert_eq!((&config["bos_token"], &config["eos_token"]), (&"<|im_start|>".into(), &"<|im_end|>".into()));
    assert_eq!(json(&out.path().join("llama.gguf"), "generation_config.json")["eos_token_id"], 2);
}

/// Would catch: a block type that is decoded wrongly where no file here has it.
#[test]
fn blocks_have_the_values_of_the_gguf_package() {
    let decode = |text: &Value| base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
    for block in expected("expected.json")["blocks"].as_array().unwrap() {
        let (number, raw) = (block["type"].as_u64().unwrap() as u32, decode(&block["raw"]));
        let values: Vec<f32> = decode(&block["values"]).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let file = one_tensor(number, values.len() as u64, &raw);
        let length = file.len() as u64;
        let mut gguf = Gguf::read(Cursor::new(file), length).unwrap();
        let found = gguf.values("x").unwrap();
        let worst = found.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == values.len() && worst <= 1e-5, "type {number}: {worst}");
    }
}

fn one_tensor(number: u32, count: u64, raw: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.push(b'x');
    file.extend(1u32.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend(number.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(raw);
    file
}

/// Would catch: a small file that claims any number of large tensors.
#[test]
fn tensors_that_overlap_are_refused() {
    let read = |second: u64| {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend([2u64, 0].map(u64::to_le_bytes).concat());
        for (name, offset) in [(b'x', 0), (b'y', second)] {
            file.extend(1u64.to_le_bytes());
            file.push(name);
            file.extend(1u32.to_le_bytes());
            file.extend(16u64.to_le_bytes());
            file.extend(0u32.to_le_bytes());
            file.extend(u64::to_le_bytes(offset));
        }
        file.resize(file.len().next_multiple_of(32) + 128, 0);
        let length = file.len() as u64;
        Gguf::read(Cursor::new(file), length)
            .map(|gguf| gguf.tensors().len())
            .map_err(|fault| fault.at(Path::new("x")).to_string())
    };
    assert_eq!(read(64), Ok(2));
    for second in [0, 32] {
        assert!(read(second).is_err_and(|error| error.contains("`x` and `y` overlap")), "{second}");
    }
}

/// Would catch: a list of tensors built for layers that the file cannot have.
#[test]
fn layers_without_bytes_are_refused() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("x.bin");
    let mut bytes = [2i32, 1, 900, 1, 1, 4, 4].map(i32::to_le_bytes).concat();
    bytes.resize(1_000, 0);
    std::fs::write(&file, bytes).unwrap();
    let error = import(&request(&file, &out.path().join("x"))).unwrap_err().to_string();
    assert!(error.contains("900 layers need at least"), "{error}");
}

/// Would catch: a panic, an endless loop or an allocation of a claimed size on a file that is cut off or lies.
#[test]
fn hostile_files_are_refused() {
    let whole = std::fs::read(fixtures().join("pieces.gguf")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let (file, folder) = (out.path().join("x.gguf"), out.path().join("x"));
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        import(&request(&file, &folder)).expect_err("it was imported")
    };
    for length in (0..whole.len()).step_by(997).chain([4, 8, 23, 24, 25, whole.len() - 1]) {
        refused(&whole[..length]);
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let huge = u64::MAX.to_le_bytes();
    let first_dimension = 24 + whole[24..].windows(17).position(|w| w == b"token_embd.weight").unwrap() + 17 + 4;
    for (changed, words) in [
        (with(4, &9u32.to_le_bytes()), "version 9"),
        (with(4, &3u32.to_be_bytes()), "big-endian"),
        (with(8, &huge), "18446744073709551615 tensors"),
        (with(16, &huge), "entries of metadata"),
        (with(24, &huge), "a text claims a length"),
        (with(first_dimension, &huge), "impossible shape"),
        (with(first_dimension, &(1u64 << 40).to_le_bytes()), "the file has"),
        (with(first_dimension, &0u64.to_le_bytes()), "impossible shape"),
        (with(first_dimension + 8, &32u64.to_le_bytes()), "the network knows 32"),
        (with(first_dimension + 16, &99u32.to_le_bytes()), "type 99"),
        (with(first_dimension + 20, &huge), "outside the file"),
    ] {
        let error = refused(&changed).to_string();
        assert!(error.contains(words) && error.contains("x.gguf"), "{error}");
    }
    // Values that are no numbers: the last tensor is bf16.
    assert!(refused(&with(whole.len() - 34, &[0xff; 34])).to_string().contains("NaN"));
    assert!(!folder.exists(), "something was left");
    let left: Vec<_> = std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["x.gguf"], "something was left");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("mine"), "").unwrap();
    let error = import(&request(&fixtures().join("pieces.gguf"), &folder)).unwrap_err();
    assert!(matches!(error, ImportError::Write { .. }), "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, ..Default::default() })]
    /// Would catch: the same, for bytes changed anywhere in the header.
    #[test]
    fn a_changed_byte_never_panics(at in 0usize..21_056, byte: u8) {
        let mut bytes = std::fs::read(fixtures().join("pieces.gguf")).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let length = bytes.len() as u64;
        if let Ok(mut gguf) = Gguf::read(Cursor::new(bytes), length) {
            let names: Vec<String> = gguf.tensors().iter().map(|tensor: &TensorInfo| tensor.name.clone()).collect();
            for name in names {
                gguf.values(&name).ok();
            }
        }
    }
}

/// The model behind `MILLRACE_SMOLLM2_GGUF`, or what `get-smollm2.sh` has put into `../shared/models/smollm2`.
pub(crate) fn smollm2() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/smollm2");
    let found = || {
        std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "gguf"))
    };
    let named = std::env::var_os("MILLRACE_SMOLLM2_GGUF").map(PathBuf::from);
    let path = named.or_else(found);
    if path.is_none() {
        crate::absent::absent(
            "SmolLM2 is not here; set MILLRACE_SMOLLM2_GGUF, or run ../shared/models/get-smollm2.sh ../shared/models/smollm2",
        );
    }
    path
}

/// Would catch: anything that the tiny files do not have and a real one does.
#[test]
fn smollm2_becomes_what_transformers_reads() {
    let Some(file) = smollm2() else { return };
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("smollm2");
    import(&request(&file, &folder)).unwrap();
    let (document, config) = (expected("smollm2.json"), json(&folder, "config.json"));
    assert_eq!(
        (&config["rope_theta"], &config["rms_norm_eps"], &config["vocab_size"]),
        (&100_000.0.into(), &1e-5.into(), &49_152.into())
    );
    assert_weights(&folder, &document["bf16"], false);
    let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    for (text, expected) in texts(&document).into_iter().zip(document["ids"].as_array().unwrap()) {
        assert_eq!(&ids(&tokenizer, text), expected, "{text:?}");
    }
}

/// Texts and their ids by the encoder of run.c for tok512.bin, by the package sentencepiece for tok105.model, after token 1.
const STORY_TEXTS: [(&str, &[u32], &[u32]); 3] = [
    ("  two  spaces ", &[410, 410, 259, 424, 414, 410, 262, 427, 412, 331, 419, 410], &[3, 6, 17, 7, 3, 12, 20, 5, 22, 4, 12]),
    (
        "\u{4e2d}\u{6587} e\u{301} \u{1f389}\n",
        &[410, 231, 187, 176, 233, 153, 138, 344, 207, 132, 410, 243, 162, 145, 140, 13],
        &[3, 0, 3, 4, 0, 3, 0],
    ),
    (
        "Lily said, \"I don't 123 know!\"",
        &[317, 336, 432, 313, 442, 279, 289, 439, 413, 410, 475, 479, 472, 409, 416, 327, 443, 436],
        &[3, 31, 10, 14, 15, 3, 12, 5, 10, 11, 25, 3, 29, 35, 3, 11, 7, 9, 32, 6, 3, 68, 72, 65, 3, 26, 9, 7, 17, 36, 29],
    ),
];

/// A story model of llama2.c with both kinds of vocabulary. Would catch: weights taken from the wrong place, a vocabulary that
/// does not give the text back.
#[test]
fn llama2c_files_become_model_folders() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    let models = [
        ("stories260K/stories260K.bin", "stories260K/tok512.bin"),
        ("babyllama-tok105/model5000.bin", "babyllama-tok105/tok105.model"),
    ];
    for (model, vocabulary) in models {
        let (file, tokenizer) = (shared.join(model), shared.join(vocabulary));
        if !file.exists() {
            println!("left out: {} is not there", file.display());
            continue;
        }
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("story");
        let without = import(&request(&file, &folder)).unwrap_err().to_string();
        assert!(without.contains("--tokenizer"), "{without}");
        import(&Request { tokenizer: Some(tokenizer.clone()), ..request(&file, &folder) }).unwrap();
        let read = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        let text = "Once upon a time, there was a little girl.";
        let encoded = read.encode(text, true).unwrap();
        assert_eq!((encoded.get_ids()[0], read.decode(encoded.get_ids(), true).unwrap().as_str()), (1, text));
        for (text, exported, trained) in STORY_TEXTS {
            let expected = if model.starts_with("stories") { exported } else { trained };
            assert_eq!(&read.encode(text, true).unwrap().get_ids()[1..], expected, "{text:?}");
        }
        let config = json(&folder, "config.json");
        assert_eq!(config["vocab_size"].as_u64().unwrap() as usize, read.get_vocab_size(true));
        assert_eq!(config["rope_theta"], 10_000.0);
        // Cut off, another model's vocabulary, another base of the positions.
        let cut = out.path().join("cut.bin");
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 4]).unwrap();
        let tokenizer = Some(tokenizer);
        let folder = out.path().join("other");
        for length in [0, 7, 28, 1_000, bytes.len() - 4] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            import(&Request { tokenizer: tokenizer.clone(), ..request(&cut, &folder) }).unwrap_err();
        }
        let error = import(&Request { tokenizer, rope_theta: Some(500_000.0), ..request(&file, &folder) }).unwrap_err();
        assert!(error.to_string().contains("angles"), "{error}");
        let other = Some(shared.join(if model.starts_with("stories") { models[1].1 } else { models[0].1 }));
        import(&Request { tokenizer: other, ..request(&file, &folder) }).unwrap_err();
    }
}
