//! What a family does not run is refused by name, never run as something else.

use super::files::{Case, FOLDERS, fixture, open, place, write};
use crate::inference::InferenceError;
use crate::inference::network::{Scratch, Sequence};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn case(folder: &str, head: &str) -> Case {
    fixture(folder).cases.into_iter().find(|case| case.head == head).unwrap()
}

fn refused(folder: &str, head: &str, config: &Value) -> InferenceError {
    let into = tempfile::tempdir().unwrap();
    write(into.path(), folder, head, config);
    open(into.path()).err().expect("the folder must be refused")
}

#[test]
fn settings_that_change_the_maths_are_refused() {
    for folder in FOLDERS {
        let config = case(folder, "hidden").config;
        let act = if folder == "distilbert" { "activation" } else { "hidden_act" };
        for (key, value) in [
            ("position_embedding_type", json!("relative_key")),
            ("is_decoder", json!(true)),
            ("add_cross_attention", json!(true)),
            ("pruned_heads", json!({"0": [1]})),
            ("quantization_config", json!({"bits": 4})),
            (act, json!("mish")),
            (act, json!(7)),
            ("model_type", json!("bertish")),
        ] {
            let mut config = config.clone();
            config[key] = value.clone();
            let said = refused(folder, "hidden", &config).to_string();
            assert!(said.contains(key) && said.contains("config.json"), "{folder}, {key} = {value}: {said}");
        }
    }
}

#[test]
fn sizes_that_are_absurd_are_refused_before_anything_is_made() {
    for (folder, key) in [
        ("bert", "num_hidden_layers"),
        ("distilbert", "n_layers"),
        ("albert", "num_hidden_groups"),
        ("albert", "inner_group_num"),
    ] {
        let mut config = case(folder, "hidden").config;
        config[key] = json!(16_000_000);
        let said = refused(folder, "hidden", &config).to_string();
        assert!(said.contains(key), "{said}");
    }
    let mut config = case("mpnet", "hidden").config;
    config["relative_attention_num_buckets"] = json!(16);
    assert!(refused("mpnet", "hidden", &config).to_string().contains("relative_attention_num_buckets"));
    let mut config = case("albert", "hidden").config;
    config["hidden_act"] = json!(null);
    assert!(refused("albert", "hidden", &config).to_string().contains("hidden_act"));
    let mut config = case("roberta", "hidden").config;
    config["pad_token_id"] = json!(39);
    assert!(refused("roberta", "hidden", &config).to_string().contains("pad_token_id"));
    let mut config = case("bert", "hidden").config;
    config["num_attention_heads"] = json!(5);
    assert!(refused("bert", "hidden", &config).to_string().contains("5 attention heads"));
}

/// Whatever stands under a key, the folder is refused or runs: never a panic, never a size that was not compared with the file.
#[test]
fn no_setting_makes_a_panic() {
    let values = [json!(0), json!(3), json!(1.5), json!(u64::MAX), json!("x")];
    for folder in FOLDERS {
        let config = case(folder, "mask").config;
        let into = tempfile::tempdir().unwrap();
        let numbers = config.as_object().unwrap().iter().filter(|(_, value)| value.is_number()).map(|(key, _)| key);
        for (key, value) in numbers.flat_map(|key| values.iter().map(move |value| (key, value))) {
            let mut config = config.clone();
            config[key] = value.clone();
            write(into.path(), folder, "mask", &config);
            match open(into.path()) {
                Ok(opened) => {
                    let text = Sequence::from([2u32, 5, 4, 3].as_slice());
                    let mut scratch = Scratch::default();
                    if opened.network.encode(&[text], &mut scratch).is_ok() {
                        let logits = opened.head().unwrap().logits(&*opened.network, &scratch.x, &[text], None);
                        assert_eq!(logits[0].len(), 4 * 96, "{folder}, {key} = {value}");
                    }
                }
                Err(error) => assert!(error.to_string().contains(&into.path().display().to_string()), "{error}"),
            }
        }
    }
}

/// Each tensor of each head and of each network is needed.
#[test]
fn a_missing_tensor_is_named() {
    for folder in FOLDERS {
        for head in ["sequence", "tokens", "spans", "mask"] {
            let case = case(folder, head);
            for part in ["backbone", head] {
                let bytes = std::fs::read(place(folder).join(format!("{part}.safetensors"))).unwrap();
                let whole = SafeTensors::deserialize(&bytes).unwrap();
                for gone in whole.names() {
                    // The network is the same for each head, and its layers are read alike: once is enough.
                    if part == "backbone" && (head != "mask" || gone.contains("layer.1.")) {
                        continue;
                    }
                    let into = tempfile::tempdir().unwrap();
                    write(into.path(), folder, head, &case.config);
                    let rest = whole.tensors().into_iter().filter(|(name, _)| name != gone);
                    let file = safetensors::serialize(rest, None).unwrap();
                    std::fs::write(into.path().join(format!("{part}.safetensors")), file).unwrap();
                    without(into.path(), gone);
                    let error = open(into.path()).err().unwrap_or_else(|| panic!("{folder}: opened without {gone}"));
                    let said = error.to_string();
                    let bare = gone.split_once('.').map_or(gone, |(_, bare)| bare);
                    assert!(
                        matches!(error, InferenceError::MissingTensor { .. }) && said.contains(bare),
                        "{folder}, {gone}: {said}"
                    );
                }
            }
        }
    }
}

/// Takes a name out of the folder's index.
fn without(folder: &std::path::Path, name: &str) {
    let path = folder.join("model.safetensors.index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    index["weight_map"].as_object_mut().unwrap().remove(name);
    std::fs::write(path, index.to_string()).unwrap();
}

/// A decoder that is not the word table has to be in the file.
#[test]
fn an_untied_decoder_is_read_and_not_replaced() {
    let mut mask = case("bert", "mask");
    mask.config["tie_word_embeddings"] = json!(false);
    assert!(refused("bert", "mask", &mask.config).to_string().contains("cls.predictions.decoder.weight"));
}

#[test]
fn a_text_that_does_not_fit_is_refused() {
    for folder in FOLDERS {
        let into = tempfile::tempdir().unwrap();
        write(into.path(), folder, "hidden", &case(folder, "hidden").config);
        let network = open(into.path()).unwrap().network;
        let usable = if ["roberta", "mpnet"].contains(&folder) { 38 } else { 40 };
        assert_eq!(network.max_tokens(), usable, "{folder}");
        let encode = |ids: &[u32], types: &[u32]| network.encode(&[Sequence { ids, types }], &mut Scratch::default());
        assert!(encode(&vec![5; usable], &[]).is_ok());
        assert!(matches!(encode(&vec![5; usable + 1], &[]), Err(InferenceError::Poison(_))));
        assert!(matches!(encode(&[], &[]), Err(InferenceError::Poison(_))));
        assert!(matches!(encode(&[96], &[]), Err(InferenceError::Poison(_))));
        assert!(matches!(encode(&[5, 6], &[0]), Err(InferenceError::Poison(_))));
        let segments = ["bert", "albert", "albert_groups", "electra", "electra_equal"].contains(&folder);
        assert_eq!(encode(&[5], &[2]).is_err(), segments, "{folder}");
    }
}
