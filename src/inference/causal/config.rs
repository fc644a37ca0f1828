//! `config.json` of a causal network, as transformers 4 and 5 save it, to a [`Spec`].
//!
//! A key that changes what is computed is required. It may be absent only where every version of the family takes the same value
//! for it; each such case says so. Values that are not known here are refused by name: a network that is nearly right answers
//! nonsense without an error.

use super::super::checkpoint::known;
use super::super::network;
use super::families;
use super::keys::Keys;
use super::spec::{Activation, Family, LayerKind, Positions, Spec};
use serde_json::Value;

/// Keys that change what is computed and that no family here has; `null`, `false`, 0 and empty values are harmless.
const FOREIGN: [&str; 17] = [
    "quantization_config",
    "rope_interleaved",
    "alibi",
    "add_cross_attention",
    "use_bidirectional_attention",
    "per_layer_config",
    "use_mrope",
    "clip_qkv",
    "use_qk_norm",
    "no_rope_layers",
    "attention_chunk_size",
    "num_local_experts",
    "logit_scale",
    "embedding_multiplier",
    "attention_multiplier",
    "residual_multiplier",
    "logits_scaling",
];

impl Spec {
    /// Reads a config.json. The error says which key is wrong, absent or not known, and its value.
    pub fn read(config: &Value) -> Result<Self, String> {
        let keys = Keys::new(config, "")?;
        let name = keys.text("model_type")?;
        let Some((_, family)) = Family::ALL.into_iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = Family::ALL.iter().map(|(known, _)| *known).collect();
            let reads =
                "; a network of this family reads a text and does not go on with it: use it with classify, tag, answer or embed";
            let reads = if network::FAMILIES.contains(&name) { reads } else { "" };
            return Err(format!("model_type is `{name}`; causal networks here are {}{reads}", known.join(", ")));
        };
        let foreign = |key: &&&str| match keys.get(key) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Object(o)) => !o.is_empty(),
            Some(Value::Array(a)) => !a.is_empty(),
            Some(Value::Number(n)) => n.as_f64() != Some(0.0),
            Some(_) => true,
        };
        if let Some(key) = FOREIGN.iter().find(foreign) {
            return Err(keys.wrong(key, "networks that need this key are not computed here"));
        }
        if let Some(cause) = known::objection(config) {
            return Err(cause);
        }
        let spec = families::read(keys, family)?;
        match spec.objection() {
            Some(cause) => Err(cause),
            None => Ok(spec),
        }
    }

    fn objection(&self) -> Option<String> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Some(format!("num_key_value_heads {} does not divide num_attention_heads {}", self.kv_heads, self.heads));
        }
        // Far above any network: it keeps sizes of buffers from overflowing.
        let (size, hidden) = (self.head_size, self.hidden);
        if size > 1 << 12 || hidden > 1 << 18 {
            return Some(format!("heads of {size}, hidden size {hidden}: no such network is known"));
        }
        let Positions::Rotary(settings) = &self.positions else { return None };
        let strange = settings.iter().find(|rotary| !rotary.finite())?;
        Some(format!("the rotary settings with the base {} give frequencies that are no numbers", strange.theta))
    }
}

pub(super) fn activation(keys: Keys<'_>, name: &str) -> Result<Activation, String> {
    match keys.text(name)? {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "silu" | "swish" => Ok(Activation::Silu),
        _ => Err(keys.wrong(name, "gelu, gelu_new, gelu_pytorch_tanh, relu and silu are computed here")),
    }
}

/// Numbers of a head: said, or the hidden size shared out.
pub(super) fn head_size(keys: Keys<'_>, hidden: usize, heads: usize) -> Result<usize, String> {
    match keys.optional_size("head_dim")? {
        Some(size) => Ok(size),
        None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
        None => Err(format!("{heads} attention heads do not divide hidden size {hidden}, and head_dim is absent")),
    }
}

/// Layers that all see everything before them.
pub(super) fn alike(count: usize) -> Vec<LayerKind> {
    vec![LayerKind { window: None, rotary: 0, divisor: 1 }; count]
}

/// Layers by `layer_types`, else by `otherwise` (whether a layer has the window), and the rotary setting of each by `rotary`.
pub(super) fn windows(
    keys: Keys<'_>,
    count: usize,
    window: Option<usize>,
    otherwise: impl Fn(usize) -> bool,
    rotary: impl Fn(bool) -> usize,
) -> Result<Vec<LayerKind>, String> {
    let sliding = match keys.get("layer_types") {
        None => (0..count).map(otherwise).collect(),
        Some(value) => {
            let kind = |value: &Value| match value.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            let kinds: Option<Vec<bool>> = value.as_array().and_then(|list| list.iter().map(kind).collect());
            kinds.filter(|kinds| kinds.len() == count).ok_or_else(|| {
                keys.wrong("layer_types", &format!("full_attention or sliding_attention for each of {count} layers is expected"))
            })?
        }
    };
    if window.is_none() && sliding.contains(&true) {
        return Err(keys.wrong("sliding_window", "layer_types has sliding layers, which need it"));
    }
    let kind = |sliding: bool| LayerKind { window: window.filter(|_| sliding), rotary: rotary(sliding), divisor: 1 };
    Ok(sliding.into_iter().map(kind).collect())
}
