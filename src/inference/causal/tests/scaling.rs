//! Settings of stretched rotary positions: which hold, and which are refused.

use super::support::config;
use crate::inference::causal::{Positions, Rotary, Spec};
use serde_json::{Value, json};

/// The rotary settings of a checkpoint with `changes` inside them and beside them; `null` takes a key away.
fn changed(name: &str, file: &str, inside: Value, beside: Value) -> Result<Rotary, String> {
    let mut value = config(name, file);
    let place = if value.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    let put = |to: &mut Value, from: &Value| {
        for (key, value) in from.as_object().unwrap() {
            to[key] = value.clone();
            if value.is_null() {
                to.as_object_mut().unwrap().remove(key);
            }
        }
    };
    put(&mut value[place], &inside);
    put(&mut value, &beside);
    match Spec::read(&value)?.positions {
        Positions::Rotary(mut all) => Ok(all.remove(0)),
        Positions::Learned => Err("learned".to_owned()),
    }
}

#[track_caller]
fn refused(result: Result<Rotary, String>, parts: &[&str]) {
    let cause = result.unwrap_err();
    assert!(parts.iter().all(|part| cause.contains(part)), "{cause:?} should have {parts:?}");
}

/// `_compute_yarn_parameters` of transformers for heads of 8 and the base 10,000.
#[test]
fn yarn_mixes_frequencies_as_transformers_does() {
    let read = |inside: Value| changed("llama_yarn", "config.json", inside, json!({})).unwrap();
    assert_eq!(read(json!({})).frequencies(), [1.0, 0.025, 0.0025, 0.00025]);
    assert!((read(json!({})).attention_factor() - 1.138_629_4).abs() < 1e-6);
    // What is not given is what transformers takes, 0 too.
    let said = read(json!({"beta_fast": 32, "beta_slow": 1, "truncate": true, "mscale": 0.0, "mscale_all_dim": 1.0}));
    assert_eq!(said, read(json!({})));
    assert_eq!(read(json!({"attention_factor": 0.5})).attention_factor(), 0.5);
    assert_eq!(read(json!({"factor": 1.0})).attention_factor(), 1.0);
}

#[test]
fn the_first_length_is_what_every_version_takes() {
    let (five, four) = ("config.json", "config-4.json");
    let absent = json!({"original_max_position_embeddings": null});
    let whole = json!({"original_max_position_embeddings": 64});
    for file in [five, four] {
        let read = |inside: &Value, beside: Value| changed("llama_yarn", file, inside.clone(), beside);
        assert_eq!(read(&absent, json!({})), read(&whole, json!({})));
        assert_eq!(read(&json!({}), json!({"original_max_position_embeddings": 16})), read(&json!({}), json!({})));
        for inside in [&absent, &json!({})] {
            refused(read(inside, json!({"original_max_position_embeddings": 17})), &["original_max_position_embeddings is 17"]);
        }
        let phi = |inside: Value, beside: Value| changed("phi3_long", file, inside, beside);
        refused(phi(json!({"original_max_position_embeddings": 8}), json!({})), &["original_max_position_embeddings is 8", "16"]);
        refused(phi(json!({}), absent.clone()), &["original_max_position_embeddings is absent"]);
        // The older names.
        let (key, other) = if file == five { ("rope_type", "type") } else { ("type", "rope_type") };
        for name in ["su", "yarn"] {
            assert_eq!(phi(json!({(key): null, (other): name}), json!({})), phi(json!({}), json!({})));
        }
    }
    // In other families version 4 reads the key beside the object, version 5 the one inside.
    let long = json!({"rope_type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2],
        "original_max_position_embeddings": null, "factor": null});
    let other = |file: &str, more: Value, beside: Value| {
        let mut inside = long.clone();
        more.as_object().unwrap().iter().for_each(|(key, value)| inside[key] = value.clone());
        changed("llama_dynamic", file, inside, beside)
    };
    assert_eq!(other(five, json!({"original_max_position_embeddings": 16}), json!({})).unwrap().limit(), Some(16));
    assert_eq!(other(four, json!({}), json!({"original_max_position_embeddings": 16})).unwrap().limit(), Some(16));
    refused(other(four, json!({"original_max_position_embeddings": 16}), json!({})), &["original_max_position_embeddings is 16"]);
    let both = json!({"original_max_position_embeddings": 16, "factor": 3.0});
    refused(other(four, both.clone(), json!({"original_max_position_embeddings": 16})), &["factor is 3.0", "attention_factor"]);
    assert!((other(five, both, json!({})).unwrap().attention_factor() - 1.181_626).abs() < 1e-6);
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let yarn = |inside: Value| changed("llama_yarn", "config.json", inside, json!({}));
    refused(yarn(json!({"factor": null})), &["rope_parameters.factor is absent"]);
    refused(yarn(json!({"factor": -1})), &["rope_parameters.factor is -1"]);
    refused(yarn(json!({"attention_factor": 0})), &["attention_factor is 0"]);
    refused(yarn(json!({"beta_fast": "many"})), &["beta_fast"]);
    refused(yarn(json!({"truncate": 1})), &["truncate is 1"]);
    refused(yarn(json!({"long_factor": [1]})), &["long_factor"]);
    refused(yarn(json!({"rope_theta": 1})), &["base 1", "no numbers"]);
    let long = |inside: Value| changed("phi3_long", "config.json", inside, json!({}));
    for wrong in [json!([1, 2]), json!([1, 2, "3"]), json!([1, 2, -3]), json!([1, 2, 1e300]), json!(3)] {
        refused(long(json!({"long_factor": wrong.clone()})), &["rope_parameters.long_factor", "3 numbers"]);
        refused(long(json!({"short_factor": wrong})), &["rope_parameters.short_factor", "3 numbers"]);
    }
    refused(long(json!({"mscale": 1.0})), &["mscale"]);
    let one = json!({"original_max_position_embeddings": 1});
    refused(changed("phi3_long", "config.json", one.clone(), one), &["no numbers"]);
    let two = json!({"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1, 1, 1, 1, 1, 1, 1, 1], "long_factor": [1, 1, 1, 1, 1, 1, 1, 1]});
    let mut gemma = config("gemma3_text", "config.json");
    gemma["rope_parameters"]["full_attention"] = two;
    assert!(Spec::read(&gemma).unwrap_err().contains("same settings"));
}
