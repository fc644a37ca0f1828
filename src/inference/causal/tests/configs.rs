//! What a config.json may leave out, and what is refused by name.

use super::support::{FAMILIES, Run, config, expected, folder};
use crate::inference::causal::{Causal, Positions, Spec};
use crate::inference::{InferenceError, Weights};
use serde_json::{Value, json};

fn with(name: &str, file: &str, changes: &[(&str, Value)]) -> Value {
    let mut value = config(name, file);
    for (key, to) in changes {
        value[*key] = to.clone();
    }
    value
}

fn without(name: &str, file: &str, keys: &[&str]) -> Value {
    let mut value = config(name, file);
    let map = value.as_object_mut().unwrap();
    keys.iter().for_each(|key| assert!(map.remove(*key).is_some(), "{name}/{file} has no {key}"));
    value
}

fn theta(spec: &Spec) -> f32 {
    match &spec.positions {
        Positions::Rotary(settings) => settings[0].theta,
        Positions::Learned => panic!("learned positions"),
    }
}

#[track_caller]
fn refused(value: &Value, parts: &[&str]) {
    let cause = Spec::read(value).unwrap_err();
    assert!(parts.iter().all(|part| cause.contains(part)), "{cause:?} should have {parts:?}");
}

#[test]
fn both_versions_say_the_same() {
    for name in FAMILIES.into_iter().chain(["phi3_long"]) {
        let (five, four) = (config(name, "config.json"), config(name, "config-4.json"));
        assert!(five["transformers_version"].as_str().unwrap().starts_with("5."));
        assert!(four["transformers_version"].as_str().unwrap().starts_with("4."));
        assert_eq!(Spec::read(&five).unwrap(), Spec::read(&four).unwrap(), "{name}");
    }
}

/// The base of rotary positions is never filled in, but for files from before the key existed.
#[test]
fn an_absent_rope_base_is_an_error() {
    for name in ["llama", "qwen2", "qwen3", "phi3", "phi", "gemma", "gemma2"] {
        refused(&without(name, "config.json", &["rope_parameters"]), &["rope_theta is absent"]);
        refused(&without(name, "config-4.json", &["rope_theta"]), &["rope_theta is absent"]);
    }
    refused(&without("gpt_neox", "config-4.json", &["rotary_emb_base", "rope_theta"]), &["rotary_emb_base is absent"]);
    refused(&without("gpt_neox", "config-4.json", &["rotary_pct", "partial_rotary_factor"]), &["rotary_pct is absent"]);
    refused(&without("phi", "config-4.json", &["partial_rotary_factor"]), &["partial_rotary_factor is absent"]);
    refused(&without("gemma3_text", "config-4.json", &["rope_local_base_freq"]), &["rope_local_base_freq is absent"]);
    let no_base = json!({"rope_type": "default"});
    refused(&with("llama", "config.json", &[("rope_parameters", no_base)]), &["rope_theta is absent"]);

    let mut old = without("llama", "config-4.json", &["rope_theta"]);
    old["transformers_version"] = json!("4.31.0.dev0");
    assert_eq!(theta(&Spec::read(&old).unwrap()), 10_000.0);
    for version in [json!("4.33.0"), json!("5.0.0"), json!("garbage"), json!(4), Value::Null] {
        old["transformers_version"] = version;
        refused(&old, &["rope_theta is absent"]);
    }
    old["transformers_version"] = json!("4.31.0");
    old["model_type"] = json!("qwen2");
    refused(&old, &["rope_theta is absent"]);
}

#[test]
fn two_places_that_contradict_each_other_are_an_error() {
    refused(&with("llama", "config.json", &[("rope_theta", json!(5.0))]), &["rope_theta is 5.0", "100000"]);
    refused(&with("llama", "config.json", &[("rope_scaling", json!({"type": "default"}))]), &["rope_scaling", "rope_parameters"]);
    refused(&with("gpt_neox", "config-4.json", &[("rope_theta", json!(7))]), &["rope_theta is 7"]);
    refused(&with("gpt_neox", "config-4.json", &[("rotary_pct", json!(1.0))]), &["partial_rotary_factor is 0.5"]);
    refused(&with("gemma", "config.json", &[("hidden_activation", json!("silu"))]), &["hidden_activation", "silu"]);
    let same = with("llama", "config.json", &[("rope_theta", json!(100000))]);
    assert_eq!(theta(&Spec::read(&same).unwrap()), 100_000.0);
}

#[test]
fn what_is_not_known_is_refused_by_name_and_value() {
    let rope = |kind: &str| json!({"rope_type": kind, "rope_theta": 1e6, "factor": 4.0});
    for kind in ["proportional", "axial", "su"] {
        refused(&with("llama", "config.json", &[("rope_parameters", rope(kind))]), &["rope_parameters.rope_type", kind]);
        refused(&with("qwen2", "config-4.json", &[("rope_scaling", json!({"type": kind}))]), &["rope_scaling.type", kind]);
    }
    let strange = json!({"rope_type": "linear", "rope_theta": 1e6, "factor": 4.0, "mscale": 2.0});
    refused(&with("qwen2", "config.json", &[("rope_parameters", strange)]), &["rope_parameters.mscale is 2.0"]);
    refused(&with("llama", "config.json", &[("partial_rotary_factor", json!(0.5))]), &["partial_rotary_factor"]);
    refused(&with("llama", "config.json", &[("hidden_act", json!("xielu"))]), &["hidden_act", "xielu"]);
    refused(
        &with("llama", "config.json", &[("quantization_config", json!({"quant_method": "awq"}))]),
        &["quantization_config", "awq"],
    );
    assert!(Spec::read(&with("llama", "config.json", &[("quantization_config", Value::Null)])).is_ok());
    refused(&with("gemma2", "config.json", &[("use_bidirectional_attention", json!(true))]), &["use_bidirectional_attention"]);
    refused(&with("gemma3_text", "config.json", &[("attn_logit_softcapping", json!(50.0))]), &["attn_logit_softcapping", "50"]);
    refused(&without("gemma2", "config.json", &["attn_logit_softcapping"]), &["attn_logit_softcapping is absent"]);
    refused(&with("llama", "config.json", &[("model_type", json!("mamba"))]), &["mamba", "llama"]);
    refused(&with("qwen2", "config.json", &[("layer_types", json!(["full_attention", "linear_attention"]))]), &["layer_types"]);
    refused(&with("qwen2", "config.json", &[("layer_types", json!(["full_attention"]))]), &["layer_types", "2 layers"]);
    refused(&with("qwen2", "config.json", &[("use_sliding_window", json!(false))]), &["sliding_window"]);
    refused(&json!([1]), &["not an object"]);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for value in [json!(0), json!(-1), json!("32"), json!(1e30), json!(3.5), Value::Null] {
        refused(&with("llama", "config.json", &[("hidden_size", value)]), &["hidden_size"]);
    }
    refused(&with("llama", "config.json", &[("num_hidden_layers", json!(1 << 27))]), &["num_hidden_layers", "4096"]);
    refused(&with("llama", "config.json", &[("hidden_size", json!(1 << 27))]), &["hidden size"]);
    refused(&with("llama", "config.json", &[("num_key_value_heads", json!(3))]), &["num_key_value_heads 3"]);
    refused(&with("llama", "config.json", &[("num_attention_heads", json!(5))]), &["head"]);
    refused(&with("gpt2", "config.json", &[("n_head", json!(3))]), &["head_dim"]);
    refused(&with("llama", "config.json", &[("rms_norm_eps", json!(0))]), &["rms_norm_eps"]);
    refused(&without("qwen3", "config.json", &["head_dim"]), &["head_dim is absent"]);
    refused(&without("gemma", "config.json", &["num_key_value_heads"]), &["num_key_value_heads is absent"]);
    refused(&with("phi", "config-4.json", &[("partial_rotary_factor", json!(0.2))]), &["partial_rotary_factor", "even"]);
}

/// Keys that every version fills in alike.
#[test]
fn what_older_files_lack_is_taken_as_every_version_does() {
    let same = |name: &str, keys: &[&str]| {
        let (short, whole) = (without(name, "config.json", keys), config(name, "config.json"));
        assert_eq!(Spec::read(&short).unwrap(), Spec::read(&whole).unwrap(), "{name} without {keys:?}");
    };
    same("gpt2", &["scale_attn_weights", "tie_word_embeddings"]);
    same("gpt_neox", &["attention_bias", "use_parallel_residual", "tie_word_embeddings"]);
    same("llama", &["attention_bias", "mlp_bias", "head_dim"]);
    same("qwen3", &["layer_types", "use_sliding_window", "attention_bias"]);
    same("qwen2", &["layer_types"]);
    same("gemma2", &["layer_types", "attention_bias", "tie_word_embeddings"]);
    let pattern = json!(2);
    let mut old = with("gemma3_text", "config-4.json", &[("sliding_window_pattern", pattern)]);
    old.as_object_mut().unwrap().remove("layer_types");
    assert_eq!(Spec::read(&old).unwrap(), Spec::read(&config("gemma3_text", "config.json")).unwrap());
    let legacy = with("gemma", "config.json", &[("hidden_act", json!("gelu"))]);
    assert_eq!(Spec::read(&legacy).unwrap(), Spec::read(&config("gemma", "config.json")).unwrap());
}

/// A copy of a fixture's tensors under other names; `None` leaves a tensor out.
fn renamed(name: &str, to: impl Fn(&str) -> Option<String>) -> tempfile::TempDir {
    let bytes = std::fs::read(folder(name).join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<_> = file.tensors().into_iter().filter_map(|(name, view)| Some((to(&name)?, view))).collect();
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    copy
}

fn load(folder: &tempfile::TempDir, config: &Value) -> Result<Causal, InferenceError> {
    Causal::load(config, &Weights::open(folder.path(), None).unwrap().tensors().unwrap())
}

/// Checkpoints of a bare backbone, and those that call the backbone `transformer.`.
#[test]
fn backbones_are_found_under_other_prefixes() {
    for (name, prefix) in [("gpt2", "transformer."), ("qwen2", "model."), ("gpt_neox", "gpt_neox.")] {
        for to in ["", "transformer."] {
            let copy = renamed(name, |tensor| tensor.strip_prefix(prefix).map(|rest| format!("{to}{rest}")));
            let model = load(&copy, &config(name, "config.json")).unwrap();
            let text = &expected(name, &model)[1];
            let mut run = Run::new(&model, 4);
            super::support::close(model.encode(&[&text.ids], &mut run.scratch).unwrap(), &text.hidden, 1e-4, name);
            let missing = match name {
                "gpt2" => None,
                "qwen2" => Some("lm_head.weight"),
                _ => Some("embed_out.weight"),
            };
            assert_eq!(model.missing_head(), missing);
            if let Some(missing) = missing {
                let error = model.logits(0..1, &mut run.scratch).unwrap_err();
                assert!(error.to_string().contains(missing), "{error}");
            }
        }
    }
}

#[test]
fn every_missing_tensor_is_told_by_its_name() {
    for name in FAMILIES {
        let whole = renamed(name, |tensor| Some(tensor.to_owned()));
        let bytes = std::fs::read(whole.path().join("model.safetensors")).unwrap();
        for missing in safetensors::SafeTensors::deserialize(&bytes).unwrap().names() {
            let copy = renamed(name, |tensor| (tensor != missing).then(|| tensor.to_owned()));
            match load(&copy, &config(name, "config.json")) {
                // Without its table a prefix is not recognised; a head belongs to one task alone.
                Err(InferenceError::MissingTensor { name, .. }) => assert!(missing.ends_with(&name), "{missing}: {name}"),
                Ok(model) => assert_eq!(model.missing_head(), Some(missing)),
                Err(other) => panic!("{name} without {missing}: {other}"),
            }
        }
    }
}

/// Tensors that the config does not speak of would be left out in silence.
#[test]
fn tensors_that_the_config_denies_are_an_error() {
    let unsupported = |name: &str, changes: &[(&str, Value)], part: &str| {
        let copy = renamed(name, |tensor| Some(tensor.to_owned()));
        let error = load(&copy, &with(name, "config.json", changes)).err().expect(part);
        assert!(matches!(&error, InferenceError::Unsupported { cause, .. } if cause.contains(part)), "{error}");
    };
    unsupported("llama_scaled", &[("attention_bias", json!(false))], "q_proj.bias");
    unsupported("llama_scaled", &[("mlp_bias", json!(false))], "gate_proj.bias");
    unsupported("llama", &[("num_hidden_layers", json!(1))], "1 layers");
    unsupported("phi", &[("qk_layernorm", json!(false))], "q_layernorm");
    unsupported(
        "qwen2",
        &[("model_type", json!("llama")), ("max_window_layers", Value::Null), ("use_sliding_window", Value::Null)],
        "q_proj.bias",
    );
}

/// Every key of every file with values that it should not have: an error, or a network that loads or does not, but no panic.
#[test]
fn no_config_panics() {
    let strange = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(1e300),
        json!(1e-300),
        json!(u64::MAX),
        json!(1 << 28),
        json!(true),
        json!(""),
        json!("linear"),
        json!([]),
        json!([null, 7]),
        json!({}),
        json!({"rope_type": "llama3", "rope_theta": 1e-30, "factor": 1e30, "low_freq_factor": 1e-30, "high_freq_factor": 1,
            "original_max_position_embeddings": 1}),
        json!({"rope_type": "yarn", "rope_theta": 1.0, "factor": 1e300, "original_max_position_embeddings": 1}),
        json!({"rope_type": "longrope", "rope_theta": 2.0, "short_factor": [1, 1, 1], "long_factor": [1e-300, 1, 1],
            "original_max_position_embeddings": 1}),
    ];
    let (mut read, mut loaded) = (0, 0);
    for name in FAMILIES.into_iter().chain(["phi3_long"]) {
        let weights = Weights::open(&folder(name), None).unwrap();
        let tensors = weights.tensors().unwrap();
        for file in ["config.json", "config-4.json"] {
            let whole = config(name, file);
            let nested = |key: &str, inner: &str| vec![key.to_owned(), inner.to_owned()];
            let mut places: Vec<Vec<String>> = Vec::new();
            for (key, value) in whole.as_object().unwrap() {
                places.push(vec![key.clone()]);
                places.extend(value.as_object().into_iter().flatten().map(|(inner, _)| nested(key, inner)));
            }
            for place in places {
                for value in &strange {
                    let mut changed = whole.clone();
                    *place.iter().fold(&mut changed, |at, key| &mut at[key.as_str()]) = value.clone();
                    read += usize::from(Spec::read(&changed).is_ok());
                    // A few of them with their tensors too.
                    let whole = file == "config.json" && ["gpt2", "llama_scaled", "gemma3_text"].contains(&name);
                    loaded += usize::from(whole && Causal::load(&changed, &tensors).is_ok());
                }
            }
        }
    }
    // Most keys do not concern the network.
    assert!(loaded > 300 && loaded < read, "{loaded} of {read}");
}
