//! The networks whose attention depends on distances, BART and T5, and their heads, against transformers (`tests/fixtures/encoders2`).

use super::{Network, Scratch, Sequence, load};
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::heads::{Beam, Head, Heads, Spans};
use crate::inference::parity::{self, off as worst};
use crate::inference::weights::Weights;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Text {
    ids: Vec<u32>,
    types: Vec<u32>,
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders2")
}

/// A model folder as transformers would have saved it: the network and one head in one file, beside the configuration.
pub fn folder(fixture: &Path, head: &str, version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let files = ["base", head].map(|name| std::fs::read(fixture.join(format!("{name}.safetensors"))).unwrap());
    let tensors = files.iter().flat_map(|bytes| SafeTensors::deserialize(bytes).unwrap().tensors());
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    std::fs::copy(fixture.join(format!("{head}.{version}.json")), folder.path().join("config.json")).unwrap();
    folder
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn head_of<'a>(heads: &'a Heads, name: &str) -> &'a Head {
    match name {
        "sequence" => &heads.sequence.as_ref().unwrap().head,
        "tokens" => &heads.tokens.as_ref().unwrap().head,
        "spans" => match heads.spans.as_ref().unwrap() {
            Spans::Each(head) => head,
            Spans::Beams(_) => panic!("beams"),
        },
        _ => heads.mask.as_ref().unwrap(),
    }
}

/// The largest differences of token vectors and logits, each text alone and all in one batch.
fn compare(name: &str, head: &str, version: &str) -> [f32; 2] {
    let fixture = fixtures().join(name);
    let texts: Vec<Text> = serde_json::from_slice(&std::fs::read(fixture.join("texts.json")).unwrap()).unwrap();
    let texts: Vec<Sequence<'_>> = texts.iter().map(|text| Sequence { ids: &text.ids, types: &text.types }).collect();
    let bytes = std::fs::read(fixture.join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let folder = folder(&fixture, head, version);
    let config = ModelConfig::open(folder.path()).unwrap();
    let weights = Weights::open(folder.path(), None).unwrap();
    let tensors = weights.tensors().unwrap();
    let network = load(&config, &tensors).unwrap();
    let heads = Heads::load(&config, &tensors, &*network).unwrap();
    let mut scratch = Scratch::default();
    let (mut found, mut alone) = ([0.0, 0.0], Vec::new());
    let mut check = |numbers: &[usize]| {
        let batch: Vec<Sequence<'_>> = numbers.iter().map(|&n| texts[n]).collect();
        network.encode(&batch, &mut scratch).unwrap();
        let hidden: Vec<f32> = numbers.iter().flat_map(|n| values(&expected, &format!("hidden.{n}"))).collect();
        found[0] = worst(&scratch.x, &hidden).max(found[0]);
        let logits = head_of(&heads, head).logits(&*network, &scratch.x, &batch, None).concat();
        let wanted: Vec<f32> = numbers.iter().flat_map(|n| values(&expected, &format!("{head}.{n}"))).collect();
        found[1] = worst(&logits, &wanted).max(found[1]);
        let mut bits = (scratch.x.clone(), logits);
        if let &[_] = numbers {
            alone.push(bits.clone());
        }
        for number in numbers {
            let (hidden, logits): &(Vec<f32>, Vec<f32>) = &alone[*number];
            let (rest, after) = (bits.0.split_off(hidden.len()), bits.1.split_off(logits.len()));
            assert!(bits.0 == *hidden && bits.1 == *logits, "{name} {head}: a text depends on its batch mates");
            bits = (rest, after);
        }
    };
    (0..texts.len()).for_each(|n| check(&[n]));
    check(&(0..texts.len()).collect::<Vec<_>>());
    check(&[2, 1, 0, 1]);
    found
}

fn agrees(name: &str, heads: &[&str], versions: &[&str]) {
    for version in versions {
        for head in heads {
            let [hidden, logits] = compare(name, head, version);
            parity::seen("encoder", name, "vectors of tokens", hidden);
            parity::seen("encoder", name, head, logits);
        }
    }
}

const ALL: [&str; 4] = ["sequence", "tokens", "spans", "mask"];

#[test]
fn modernbert_agrees_with_transformers() {
    agrees("modernbert", &ALL, &["v4", "v5"]);
    agrees("modernbert_biased", &["sequence", "mask"], &["v4", "v5"]);
}

#[test]
fn deberta_agrees_with_transformers() {
    agrees("deberta_v3", &ALL[..3], &["v4", "v5"]);
    agrees("deberta_v3", &["mask"], &["v5"]);
    agrees("deberta_conv", &["sequence"], &["v4", "v5"]);
    agrees("deberta_own", &["sequence", "mask"], &["v4", "v5"]);
}

#[test]
fn xlnet_agrees_with_transformers() {
    agrees("xlnet", &ALL[..3], &["v4", "v5"]);
    agrees("xlnet_clamped", &["sequence"], &["v4", "v5"]);
}

/// The head that chooses ends by their starts: with types (and what no answer may be closed) and without, alone and together.
#[test]
fn xlnets_beams_agree_with_transformers() {
    for version in ["v4", "v5"] {
        let fixture = fixtures().join("xlnet_beams");
        let texts: Vec<Text> = serde_json::from_slice(&std::fs::read(fixture.join("texts.json")).unwrap()).unwrap();
        let bytes = std::fs::read(fixture.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let folder = folder(&fixture, "beams", version);
        let config = ModelConfig::open(folder.path()).unwrap();
        let weights = Weights::open(folder.path(), None).unwrap();
        let tensors = weights.tensors().unwrap();
        let network = load(&config, &tensors).unwrap();
        let Some(spans) = Heads::load(&config, &tensors, &*network).unwrap().spans else { panic!("no spans") };
        for kind in ["closed", "open"] {
            let types = |text: &'_ Text| if kind == "open" { Vec::new() } else { text.types.clone() };
            let types: Vec<Vec<u32>> = texts.iter().map(types).collect();
            let texts: Vec<Sequence<'_>> =
                texts.iter().zip(&types).map(|(text, types)| Sequence { ids: &text.ids, types }).collect();
            let mut scratch = Scratch::default();
            network.encode(&texts, &mut scratch).unwrap();
            let together = spans.read(&*network, &scratch.x, &texts);
            for (i, numbers) in together.iter().enumerate() {
                network.encode(&texts[i..=i], &mut scratch).unwrap();
                assert_eq!(spans.read(&*network, &scratch.x, &texts[i..=i])[0], *numbers, "{kind} {i} alone");
                let beam = Beam::of(numbers).unwrap();
                let of_starts = |read: fn(&crate::inference::Start) -> f32| beam.starts.iter().map(read).collect::<Vec<f32>>();
                let of_ends = |read: fn(&(usize, f32)) -> f32| {
                    beam.starts.iter().flat_map(|s| s.ends.iter().map(read)).collect::<Vec<f32>>()
                };
                for (name, found) in [
                    ("starts", of_starts(|start| start.token as f32)),
                    ("ends", of_ends(|end| end.0 as f32)),
                    ("start_shares", of_starts(|start| start.probability)),
                    ("end_shares", of_ends(|end| end.1)),
                    ("none", vec![beam.none]),
                ] {
                    let off = worst(&found, &values(&expected, &format!("{kind}.{name}.{i}")));
                    parity::seen("encoder", "xlnet_beams", &format!("{name}, {kind}"), off);
                }
            }
        }
    }
}

#[test]
fn bart_agrees_with_transformers() {
    agrees("bart", &["sequence", "spans"], &["v4", "v5"]);
}

#[test]
fn t5_agrees_with_transformers() {
    agrees("t5", &["sequence"], &["v4", "v5"]);
    agrees("t5_tokens", &["tokens"], &["v4", "v5"]);
    agrees("t5_spans", &["spans"], &["v4", "v5"]);
}

/// Loads a fixture whose configuration was changed; the error's text, or none when it loads.
fn changed(name: &str, head: &str, version: &str, key: &str, value: Option<serde_json::Value>) -> Option<String> {
    let folder = folder(&fixtures().join(name), head, version);
    let path = folder.path().join("config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    match value {
        Some(value) => json[key] = value,
        None => _ = json.as_object_mut().unwrap().remove(key),
    }
    std::fs::write(&path, json.to_string()).unwrap();
    let config = ModelConfig::open(folder.path()).unwrap();
    let weights = Weights::open(folder.path(), None).unwrap();
    let tensors = weights.tensors().unwrap();
    let loaded = load(&config, &tensors).and_then(|network| Heads::load(&config, &tensors, &*network).map(|_| ()));
    loaded.err().map(|error: InferenceError| error.to_string())
}

/// Would catch: a key that changes the maths and is read as its default.
#[test]
fn what_is_absent_or_not_run_is_an_error_by_name() {
    let cases = [
        ("modernbert", "v4", "global_rope_theta", None),
        ("modernbert", "v4", "global_attn_every_n_layers", None),
        ("modernbert", "v4", "rope_scaling", Some(serde_json::json!({"type": "linear", "factor": 2.0}))),
        ("modernbert", "v5", "layer_types", Some(serde_json::json!(["full_attention"]))),
        ("modernbert", "v5", "classifier_pooling", Some("max".into())),
        ("deberta_v3", "v5", "pos_att_type", Some("p2p".into())),
        ("deberta_v3", "v5", "norm_rel_ebd", Some("rms".into())),
        ("deberta_v3", "v5", "position_buckets", Some(1.into())),
        ("deberta_v3", "v5", "max_position_embeddings", Some(16_000_000.into())),
        ("deberta_conv", "v5", "conv_kernel_size", Some(4.into())),
        ("bart", "v5", "decoder_start_token_id", Some(96.into())),
        ("xlnet", "v5", "attn_type", Some("uni".into())),
        ("xlnet", "v5", "bi_data", Some(true.into())),
        ("xlnet", "v5", "summary_type", Some("attn".into())),
    ];
    for (name, version, key, value) in cases {
        let error = changed(name, "sequence", version, key, value).unwrap_or_else(|| panic!("{name} loads with another {key}"));
        assert!(error.contains(key), "{key}: {error}");
    }
    let error = changed("modernbert", "sequence", "v5", "rope_parameters", Some(serde_json::json!({}))).unwrap();
    assert!(error.contains("rope_parameters.full_attention.rope_theta"), "{error}");
    let error = changed("xlnet", "spans", "v5", "architectures", Some(serde_json::json!(["XLNetForQuestionAnswering"]))).unwrap();
    assert!(error.contains("end_logits"), "{error}");
    let error = changed("xlnet_beams", "beams", "v5", "start_n_top", Some("many".into())).unwrap();
    assert!(error.contains("start_n_top"), "{error}");
    assert!(changed("modernbert", "sequence", "v5", "architectures", None).is_none());
    assert!(changed("deberta_v3", "sequence", "v5", "pos_att_type", Some(serde_json::json!([]))).is_none());
    assert!(changed("deberta_v3", "mask", "v5", "legacy", None).is_none());
}

/// Would catch: an index out of a table instead of an error.
#[test]
fn inputs_that_the_networks_cannot_take_are_poison() {
    for name in ["modernbert", "deberta_own", "xlnet", "bart", "t5"] {
        let folder = folder(&fixtures().join(name), "sequence", "v5");
        let config = ModelConfig::open(folder.path()).unwrap();
        let weights = Weights::open(folder.path(), None).unwrap();
        let network: Box<dyn Network> = load(&config, &weights.tensors().unwrap()).unwrap();
        let refuses = |ids: &[u32], types: &[u32]| {
            let error = network.encode(&[Sequence { ids, types }], &mut Scratch::default());
            matches!(error, Err(InferenceError::Poison(_)))
        };
        let long = vec![5; network.max_tokens() + 1];
        assert!(refuses(&[], &[]) && refuses(&[96], &[]) && refuses(&long, &[]) && refuses(&[5, 6], &[0]), "{name}");
        assert!(network.encode(&[Sequence { ids: &[5], types: &[0] }], &mut Scratch::default()).is_ok(), "{name}");
        assert_eq!(refuses(&[5, 6], &[0, 7]), name == "deberta_own");
    }
}

/// Would catch: a figure that batches exceed, one that is far above what they take.
#[test]
fn activations_are_what_was_told_before() {
    let heads = [("modernbert", "mask"), ("deberta_v3", "mask"), ("deberta_own", "sequence"), ("deberta_conv", "sequence")];
    for (name, head) in heads.into_iter().chain([("xlnet", "sequence"), ("xlnet_clamped", "sequence")]) {
        let folder = folder(&fixtures().join(name), head, "v5");
        let (config, weights) = (ModelConfig::open(folder.path()).unwrap(), Weights::open(folder.path(), None).unwrap());
        let network = load(&config, &weights.tensors().unwrap()).unwrap();
        let (tokens, longest) = (300, network.max_tokens().min(60));
        let told = network.activations(tokens, longest).unwrap();
        let ids: Vec<u32> = (0..longest as u32).map(|i| 5 + i % 40).collect();
        let mut scratch = Scratch::default();
        // Short texts before long ones, one text alone, and as many tokens as there may be.
        for len in [1, longest / 3, 2, longest, longest / 2] {
            for count in [1, tokens / len] {
                let texts: Vec<Sequence<'_>> = (0..count).map(|_| Sequence::from(&ids[..len])).collect();
                network.encode(&texts, &mut scratch).unwrap();
            }
        }
        let counted = scratch.bytes();
        assert!(counted <= told && counted * 3 > told * 2, "{name}: told {told}, counted {counted}");
    }
}
