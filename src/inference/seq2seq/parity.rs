//! T5, BART and Marian against transformers (`tests/fixtures/seq2seq`): the encoder's vectors, the logits behind given targets, and what
//! is written, greedily and with beams.

use super::{EarlyStopping, GenerateOptions, Seq2Seq, Transducer};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::parity::{self, off as worst};
use crate::inference::weights::Weights;
use crate::inference::{InferenceError, Options, Threads};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/seq2seq").join(name)
}

/// A model folder as transformers would have saved it.
pub(super) fn folder(name: &str, version: &str) -> tempfile::TempDir {
    let (folder, fixture) = (tempfile::tempdir().unwrap(), fixture(name));
    let files = [("model.safetensors", "model.safetensors"), ("generation_config.json", "generation_config.json")];
    for (from, to) in files.into_iter().chain([(format!("{version}.json").as_str(), "config.json")]) {
        std::fs::copy(fixture.join(from), folder.path().join(to)).unwrap();
    }
    folder
}

fn open(folder: &Path) -> Result<Seq2Seq, InferenceError> {
    Seq2Seq::load(&ModelConfig::open(folder)?, &Weights::open(folder, None)?.tensors()?)
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[derive(serde::Deserialize)]
struct Case {
    source: usize,
    options: Value,
    ids: Vec<u32>,
}

#[derive(serde::Deserialize)]
pub(super) struct Written {
    pub(super) sources: Vec<Vec<u32>>,
    written: Vec<Case>,
}

pub(super) fn written(name: &str) -> Written {
    serde_json::from_slice(&std::fs::read(fixture(name).join("written.json")).unwrap()).unwrap()
}

/// What the folder says, with what a case says instead.
pub(super) fn options(folder: &Path, case: &Value) -> GenerateOptions {
    let mut options = GenerateOptions::read(folder, &ModelConfig::open(folder).unwrap()).unwrap();
    for (key, value) in case.as_object().unwrap() {
        let count = value.as_u64().unwrap_or(0) as usize;
        match key.as_str() {
            "max_new_tokens" => options.max_new_tokens = count,
            "min_new_tokens" => options.min_new_tokens = count,
            "num_beams" => options.beams = count,
            "no_repeat_ngram_size" => options.no_repeat_ngram = count,
            "repetition_penalty" => options.repetition_penalty = value.as_f64().unwrap() as f32,
            "length_penalty" => options.length_penalty = value.as_f64().unwrap() as f32,
            "eos_token_id" => options.ends = serde_json::from_value(value.clone()).unwrap(),
            "bad_words_ids" => options.forbidden = serde_json::from_value(value.clone()).unwrap(),
            "early_stopping" if value.is_string() => options.early_stopping = EarlyStopping::Never,
            "early_stopping" => options.early_stopping = EarlyStopping::Yes,
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn agrees(name: &str, version: &str) {
    let (folder, Written { sources, written }) = (folder(name, version), written(name));
    let network = open(folder.path()).unwrap();
    let bytes = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let all: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    let mut found = [0.0f32, 0.0];
    let encoded: Vec<f32> = (0..all.len()).flat_map(|n| values(&expected, &format!("encoded.{n}"))).collect();
    found[0] = worst(&network.encode(&all).unwrap(), &encoded);
    for (number, source) in all.iter().enumerate() {
        let alone = network.encode(&[source]).unwrap();
        found[0] = worst(&alone, &values(&expected, &format!("encoded.{number}"))).max(found[0]);
        let target: Vec<u32> = values(&expected, &format!("target.{number}")).iter().map(|&v| v as u32).collect();
        let logits = network.logits(source, &target).unwrap();
        let fifth = logits.chunks_exact(network.target_vocabulary()).step_by(5).flatten().copied();
        found[1] = worst(&fifth.collect::<Vec<_>>(), &values(&expected, &format!("logits.{number}"))).max(found[1]);
    }
    parity::seen("text to text", name, "vectors of the encoder", found[0]);
    parity::seen("text to text", name, "logits behind given targets", found[1]);
    // Each alone, then all sources of the same options in one batch.
    for case in &written {
        let options = options(folder.path(), &case.options);
        assert_eq!(network.generate(all[case.source], &options).unwrap(), case.ids, "{name} {version} {} alone", case.options);
    }
    for case in written.iter().filter(|case| case.source == 0) {
        let same: Vec<&Case> = written.iter().filter(|other| other.options == case.options).collect();
        let (texts, ids): (Vec<&[u32]>, Vec<&[u32]>) = same.iter().map(|c| (all[c.source], c.ids.as_slice())).unzip();
        let options = options(folder.path(), &case.options);
        assert_eq!(network.generate_batch(&texts, &options).unwrap(), ids, "{name} {version} {} together", case.options);
    }
    parity::equal("text to text", name, &format!("{} outputs, greedy and with beams", written.len()));
}

#[test]
fn t5_agrees_with_transformers() {
    agrees("t5", "v4");
    agrees("t5", "v5");
    agrees("t5_gated", "v5");
    agrees("t5_untied", "v4");
}

#[test]
fn bart_agrees_with_transformers() {
    agrees("bart", "v4");
    agrees("bart", "v5");
}

#[test]
fn marian_agrees_with_transformers() {
    agrees("marian", "v4");
    agrees("marian", "v5");
    agrees("marian_two", "v5");
}

/// `renormalize_logits` with beams: what transformers writes with it and without it, which is never the same here.
#[test]
fn what_is_left_by_the_rules_is_a_distribution_again() {
    #[derive(serde::Deserialize)]
    struct Both {
        folder: String,
        source: usize,
        options: Value,
        ids: Vec<u32>,
        without: Vec<u32>,
    }
    let cases: Vec<Both> = serde_json::from_slice(&std::fs::read(fixture("renormalized.json")).unwrap()).unwrap();
    for name in ["t5", "bart"] {
        let (folder, Written { sources, .. }) = (folder(name, "v5"), written(name));
        let network = open(folder.path()).unwrap();
        let of_folder: Vec<&Both> = cases.iter().filter(|case| case.folder == name).collect();
        assert!(of_folder.len() > 3, "{name}");
        for case in of_folder {
            let plain = options(folder.path(), &case.options);
            let again = GenerateOptions { renormalize: true, ..plain.clone() };
            let write = |options: &GenerateOptions| network.generate(&sources[case.source], options).unwrap();
            assert_eq!((write(&again), write(&plain)), (case.ids.clone(), case.without.clone()), "{name} {}", case.options);
        }
    }
}

/// Would catch: rules that hold alone, and not beside each other.
#[test]
fn beams_under_several_rules_write_what_transformers_writes() {
    #[derive(serde::Deserialize)]
    struct Of {
        folder: String,
        source: usize,
        options: Value,
        ids: Vec<u32>,
    }
    let cases: Vec<Of> = serde_json::from_slice(&std::fs::read(fixture("steered.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 18);
    for name in ["t5", "bart"] {
        let (folder, Written { sources, .. }) = (folder(name, "v5"), written(name));
        let network = open(folder.path()).unwrap();
        for case in cases.iter().filter(|case| case.folder == name) {
            let asked = options(folder.path(), &case.options);
            assert_eq!(network.generate(&sources[case.source], &asked).unwrap(), case.ids, "{name} {}", case.options);
        }
    }
}

/// Would catch: a product that rounds by how many rows it has.
#[test]
fn a_source_has_the_same_bits_in_any_company() {
    for name in ["t5_gated", "bart"] {
        let folder = folder(name, "v5");
        let network = open(folder.path()).unwrap();
        let texts: [&[u32]; 4] = [&[7], &[5, 9, 12, 40, 8], &[3, 4], &[60]];
        let alone: Vec<u32> = texts.iter().flat_map(|text| network.encode(&[text]).unwrap()).map(f32::to_bits).collect();
        let together: Vec<u32> = network.encode(&texts).unwrap().into_iter().map(f32::to_bits).collect();
        assert!(alone == together, "{name}");
    }
}

/// Would catch: outputs that come back in the order in which threads or batches end.
#[test]
fn a_transducer_keeps_the_order_of_its_sources() {
    let (folder, Written { sources, written }) = (folder("t5", "v5"), written("t5"));
    let options = Options { threads: Threads::Exactly(2), queue: 1, token_budget: 20, ..Options::default() };
    let model = Transducer::open("t5", folder.path(), None, &options).unwrap();
    let cases: Vec<&Case> = written.iter().filter(|case| case.options == written[3].options).collect();
    let order = [2, 0, 1, 1, 0, 2, 2];
    let given = order.iter().map(|&n| sources[cases[n].source].clone()).collect();
    let expected: Vec<Vec<u32>> = order.iter().map(|&n| cases[n].ids.clone()).collect();
    let asked = self::options(folder.path(), &written[3].options);
    assert_eq!(model.transduce_blocking(given, &asked).unwrap(), expected);
    assert!(model.transduce_blocking(Vec::new(), model.defaults()).unwrap().is_empty());
    let wrong = Transducer::open("t5", folder.path(), Some("000000000000"), &options);
    assert!(matches!(wrong, Err(InferenceError::WrongDigest { .. })));
}

/// Would catch: an id or a length that reaches a table unchecked.
#[test]
fn what_cannot_be_read_or_written_is_poison() {
    for name in ["t5", "bart", "marian_two"] {
        let folder = folder(name, "v5");
        let network = open(folder.path()).unwrap();
        let fine = options(folder.path(), &serde_json::json!({"max_new_tokens": 3}));
        let poison = |source: &[u32], options: &GenerateOptions| {
            matches!(network.generate(source, options), Err(InferenceError::Poison(_)))
        };
        assert!(network.generate(&[5, 6], &fine).is_ok_and(|ids| ids.len() <= 3), "{name}");
        assert!(poison(&[], &fine) && poison(&[96], &fine) && poison(&vec![5; network.max_tokens() + 1], &fine), "{name}");
        let wrong = [
            GenerateOptions { start: 96, ..fine.clone() },
            GenerateOptions { ends: vec![1, 4000], ..fine.clone() },
            GenerateOptions { forbidden: vec![vec![3, 200]], ..fine.clone() },
            GenerateOptions { forbidden: vec![vec![]], ..fine.clone() },
            GenerateOptions { forced_last: Some(96), ..fine.clone() },
            GenerateOptions { beams: 0, ..fine.clone() },
            GenerateOptions { beams: 60, ..fine.clone() },
            GenerateOptions { beams: usize::MAX, ..fine.clone() },
            GenerateOptions { max_new_tokens: 0, ..fine.clone() },
            GenerateOptions { max_new_tokens: network.max_tokens() + 1, ..fine.clone() },
            GenerateOptions { repetition_penalty: 0.0, ..fine.clone() },
            GenerateOptions { length_penalty: f32::NAN, ..fine.clone() },
        ];
        let many = network.generate(&[5], &GenerateOptions { beams: 65, ..fine.clone() }).unwrap_err().to_string();
        assert!(many.contains("up to 64"), "{name}: {many}");
        wrong.iter().for_each(|options| assert!(poison(&[5], options), "{name} {options:?}"));
        assert!(matches!(network.logits(&[5], &[96]), Err(InferenceError::Poison(_))), "{name}");
    }
}

/// Would catch: a key that changes the maths and is read as its default.
#[test]
fn what_is_absent_or_not_run_is_an_error_by_name() {
    let cases = [
        ("t5", "feed_forward_proj", Some("gated-softplus".into())),
        ("t5", "d_kv", None),
        ("t5", "relative_attention_num_buckets", Some(2.into())),
        ("t5", "relative_attention_max_distance", Some(16_000_000.into())),
        ("marian", "max_position_embeddings", Some(16_000_000.into())),
        ("t5", "model_type", Some("pegasus".into())),
        ("bart", "normalize_before", Some(true.into())),
        ("bart", "activation_function", Some("mish".into())),
        ("bart", "max_position_embeddings", None),
        ("marian", "normalize_embedding", Some(true.into())),
        ("marian_two", "decoder_vocab_size", None),
    ];
    for (name, key, value) in cases {
        let folder = folder(name, "v5");
        let path = folder.path().join("config.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        match value {
            Some(value) => json[key] = value,
            None => _ = json.as_object_mut().unwrap().remove(key),
        }
        std::fs::write(&path, json.to_string()).unwrap();
        let error = open(folder.path()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(key), "{name} {key}: {error}");
    }
}

/// Would catch: a setting that changes what transformers writes, passed over in silence.
#[test]
fn settings_that_are_not_run_are_an_error_by_name() {
    let cases = [
        ("do_sample", serde_json::json!(true), false),
        ("do_sample", serde_json::json!(false), true),
        ("suppress_tokens", serde_json::json!([4]), false),
        ("suppress_tokens", serde_json::json!([]), true),
        ("encoder_no_repeat_ngram_size", serde_json::json!(3), false),
        ("num_beam_groups", serde_json::json!(1), true),
        ("eos_token_id", serde_json::json!([1, -2]), false),
        ("bad_words_ids", serde_json::json!([5]), false),
        ("early_stopping", serde_json::json!("soon"), false),
    ];
    for (key, value, runs) in cases {
        let folder = folder("t5", "v5");
        std::fs::write(folder.path().join("generation_config.json"), serde_json::json!({key: value}).to_string()).unwrap();
        let read = GenerateOptions::read(folder.path(), &ModelConfig::open(folder.path()).unwrap());
        let error = read.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(if runs { error.is_empty() } else { error.contains(key) }, "{key} {value}: {error}");
    }
}

/// Would catch: a head that is not in the file and is taken from the word table all the same.
#[test]
fn an_untied_head_must_be_there() {
    let folder = folder("t5", "v5");
    let path = folder.path().join("config.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["tie_word_embeddings"] = false.into();
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(matches!(open(folder.path()), Err(InferenceError::MissingTensor { name, .. }) if name == "lm_head.weight"));
}
