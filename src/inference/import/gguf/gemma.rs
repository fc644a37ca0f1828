//! What sets Gemma 3 apart: its norms, its two kinds of layers, and what its files leave to the program that reads them.
//!
//! llama.cpp stores 1 more than each norm's weight, and has in its code what these files may not say: the base of the positions of local
//! layers (10,000), and a global layer after five local ones. The divisor of the scores is in no file: it is that of the head's size, but
//! for the 27B network, which is told by its 62 layers.

use super::super::{Fault, damaged, unsupported};
use super::value::{Metadata, Value as Field};
use serde_json::{Value, json};

const LARGEST: usize = 62;

/// The parts of the config that other families do not have. `layers`, `hidden`, `heads` and the `head`'s size are those of the network.
pub fn extend(config: &mut Value, metadata: &Metadata, [layers, hidden, heads, head]: [usize; 4]) -> Result<(), Fault> {
    let of = |field: &str| format!("gemma3.{field}");
    if metadata.get(&of("attn_logit_softcapping")).is_some() {
        return Err(unsupported("`gemma3.attn_logit_softcapping` is set, which is not read"));
    }
    let window = metadata.size(&of("attention.sliding_window"))?;
    let local = layer_kinds(metadata, &of("attention.sliding_window_pattern"), layers)?;
    let kinds: Vec<&str> = local.iter().map(|local| if *local { "sliding_attention" } else { "full_attention" }).collect();
    let base = metadata.number(&of("rope.freq_base_swa"))?.unwrap_or(10_000.0);
    let scaling = match metadata.text(&of("rope.scaling.type"))? {
        Some("linear") => {
            let key = of("rope.scaling.factor");
            let factor = metadata.number(&key)?.ok_or_else(|| unsupported(format!("it has no `{key}`")))?;
            json!({ "rope_type": "linear", "factor": factor })
        }
        _ => Value::Null,
    };
    let divisor = if layers == LARGEST { hidden / heads } else { head };
    let more = json!({
        "attention_bias": false,
        "attn_logit_softcapping": null,
        "final_logit_softcapping": metadata.number(&of("final_logit_softcapping"))?,
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": kinds,
        "query_pre_attn_scalar": divisor,
        "rope_local_base_freq": base,
        "rope_scaling": scaling,
        "sliding_window": window,
    });
    let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) else { return Ok(()) };
    config.remove("hidden_act");
    config.extend(more);
    Ok(())
}

/// Which layers are local: a list, or a number, of which each last one is global.
fn layer_kinds(metadata: &Metadata, key: &str, layers: usize) -> Result<Vec<bool>, Fault> {
    if let Some(Field::Bools(local)) = metadata.get(key) {
        return match local.len() == layers {
            true => Ok(local.clone()),
            false => Err(damaged(format!("`{key}` is of {} layers, and there are {layers}", local.len()))),
        };
    }
    let period = metadata.count(key)?.unwrap_or(6);
    if period == 0 {
        return Err(damaged(format!("`{key}` is 0")));
    }
    Ok((1..=layers).map(|layer| layer % period != 0).collect())
}

/// Names of a layer's norms in transformers and in GGUF.
pub const NORMS: [(&str, &str); 4] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("post_attention_layernorm.weight", "post_attention_norm.weight"),
    ("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
    ("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
];
