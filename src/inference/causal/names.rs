//! What the tensors of each family are called in checkpoints.

use super::spec::Family;

/// Names below the prefix; those of layers below `layers.N.`. A name that a family has not is empty.
pub(super) struct Names {
    pub(super) words: &'static str,
    pub(super) positions: Option<&'static str>,
    pub(super) layers: &'static str,
    pub(super) norm: &'static str,
    /// Of the logits' table, without a prefix; the first is told when it is missing.
    pub(super) heads: &'static [&'static str],
    pub(super) input_norm: &'static str,
    /// Queries, keys and values in one tensor.
    pub(super) joined: Option<&'static str>,
    pub(super) query_key_value: [&'static str; 3],
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    pub(super) attended: &'static str,
    /// The norm before the feed-forward part; in families with norms after each part, the one after attention has this name.
    pub(super) feed_forward_norm: &'static str,
    pub(super) feed_forward_norm_between: &'static str,
    /// `None` where the gate is in `up`, or there is none.
    pub(super) gate: Option<&'static str>,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) down_norm: &'static str,
}

const LLAMA: Names = Names {
    words: "embed_tokens.weight",
    positions: None,
    layers: "layers",
    norm: "norm",
    heads: &["lm_head"],
    input_norm: "input_layernorm",
    joined: None,
    query_key_value: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attended: "self_attn.o_proj",
    feed_forward_norm: "post_attention_layernorm",
    feed_forward_norm_between: "pre_feedforward_layernorm",
    gate: Some("mlp.gate_proj"),
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    down_norm: "post_feedforward_layernorm",
};

const PHI3: Names = Names { joined: Some("self_attn.qkv_proj"), gate: None, up: "mlp.gate_up_proj", ..LLAMA };

const PHI: Names = Names {
    norm: "final_layernorm",
    query_norm: "self_attn.q_layernorm",
    key_norm: "self_attn.k_layernorm",
    attended: "self_attn.dense",
    gate: None,
    up: "mlp.fc1",
    down: "mlp.fc2",
    ..LLAMA
};

const GPT_NEOX: Names = Names {
    words: "embed_in.weight",
    norm: "final_layer_norm",
    // Files say embed_out; the module of transformers 5 says lm_head.
    heads: &["embed_out", "lm_head"],
    joined: Some("attention.query_key_value"),
    query_norm: "attention.q_norm",
    attended: "attention.dense",
    gate: None,
    up: "mlp.dense_h_to_4h",
    down: "mlp.dense_4h_to_h",
    ..LLAMA
};

const GPT2: Names = Names {
    words: "wte.weight",
    positions: Some("wpe.weight"),
    layers: "h",
    norm: "ln_f",
    input_norm: "ln_1",
    joined: Some("attn.c_attn"),
    query_norm: "attn.q_norm",
    attended: "attn.c_proj",
    feed_forward_norm: "ln_2",
    gate: None,
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    ..LLAMA
};

impl Names {
    pub(super) fn of(family: Family) -> &'static Self {
        match family {
            Family::Gpt2 => &GPT2,
            Family::GptNeoX => &GPT_NEOX,
            Family::Phi => &PHI,
            Family::Phi3 => &PHI3,
            Family::Llama | Family::Qwen2 | Family::Qwen3 | Family::Gemma | Family::Gemma2 | Family::Gemma3 => &LLAMA,
        }
    }

    /// What stands before the names: that of the backbone in a checkpoint with a head (question answering says `transformer.`
    /// for Llama), or nothing.
    pub(super) fn prefix(&self, has: impl Fn(&str) -> bool) -> &'static str {
        let prefixes = ["model.", "transformer.", "gpt_neox."];
        prefixes.into_iter().find(|prefix| has(&format!("{prefix}{}", self.words))).unwrap_or("")
    }
}
