//! What each family says in its config.json, and what it takes for granted.

use super::config::{activation, alike, head_size, windows};
use super::keys::Keys;
use super::rotary::{self, Share};
use super::spec::{Activation, Biases, Family, NormKind, Positions, Residual, Rotary, Spec};

pub(super) fn read(keys: Keys<'_>, family: Family) -> Result<Spec, String> {
    match family {
        Family::Gpt2 => gpt2(keys),
        Family::GptNeoX => gpt_neox(keys),
        Family::Phi => phi(keys),
        Family::Llama => llama(keys),
        Family::Qwen2 | Family::Qwen3 => qwen(keys, family),
        Family::Phi3 => phi3(keys),
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => gemma(keys, family),
    }
}

fn gpt2(keys: Keys<'_>) -> Result<Spec, String> {
    let (hidden, heads, count) = (keys.size("n_embd")?, keys.count("n_head")?, keys.count("n_layer")?);
    let head_size = head_size(keys, hidden, heads)?;
    if head_size * heads != hidden {
        return Err(keys.wrong("head_dim", &format!("{heads} heads of a GPT-2 fill its {hidden} columns exactly")));
    }
    let mut layers = alike(count);
    // Both switches came after the first checkpoints, which behave as if they were at these values.
    if keys.switch("scale_attn_by_inverse_layer_idx", false)? {
        layers.iter_mut().enumerate().for_each(|(index, layer)| layer.divisor = index + 1);
    }
    let scaled = keys.switch("scale_attn_weights", true)?;
    Ok(Spec {
        family: Family::Gpt2,
        vocabulary: keys.size("vocab_size")?,
        hidden,
        // `null` or absent is four times the hidden size, in every version.
        wide: keys.optional_size("n_inner")?.unwrap_or(4 * hidden),
        heads,
        kv_heads: heads,
        head_size,
        max_positions: keys.size("n_positions")?,
        norm: NormKind::Layer,
        epsilon: keys.positive("layer_norm_epsilon")?,
        positions: Positions::Learned,
        layers,
        scale: if scaled { inverse_root(head_size as f32) } else { 1.0 },
        head_norms: false,
        activation: activation(keys, "activation_function")?,
        gated: false,
        residual: Residual::Sequential,
        post_norms: false,
        embedding_scale: 1.0,
        score_cap: None,
        logit_cap: None,
        // transformers 4 leaves out what equals the default of all configs, which for this key is true.
        tied: keys.switch("tie_word_embeddings", true)?,
        biases: Biases { query_key_value: true, attended: true, feed_forward: true, head: false },
    })
}

/// What the families since GPT-NeoX have in common; the rest stands as Llama has it.
fn common(keys: Keys<'_>, family: Family, head_size: usize, rotary: Vec<Rotary>) -> Result<Spec, String> {
    let heads = keys.count("num_attention_heads")?;
    Ok(Spec {
        family,
        vocabulary: keys.size("vocab_size")?,
        hidden: keys.size("hidden_size")?,
        wide: keys.size("intermediate_size")?,
        heads,
        kv_heads: keys.optional_size("num_key_value_heads")?.unwrap_or(heads),
        head_size,
        max_positions: keys.size("max_position_embeddings")?,
        norm: NormKind::Rms,
        epsilon: keys.positive(if matches!(family, Family::GptNeoX | Family::Phi) {
            "layer_norm_eps"
        } else {
            "rms_norm_eps"
        })?,
        positions: Positions::Rotary(rotary),
        layers: alike(keys.count("num_hidden_layers")?),
        scale: inverse_root(head_size as f32),
        head_norms: false,
        activation: activation(
            keys,
            if matches!(family, Family::Gemma2 | Family::Gemma3) { "hidden_activation" } else { "hidden_act" },
        )?,
        gated: true,
        residual: Residual::Sequential,
        post_norms: false,
        embedding_scale: 1.0,
        score_cap: None,
        logit_cap: None,
        // The classes of these families have false in every version, and both write the key when they save true.
        tied: keys.switch("tie_word_embeddings", false)?,
        biases: Biases::default(),
    })
}

/// The size of a head where the class derives it from the hidden size.
fn derived(keys: Keys<'_>) -> Result<usize, String> {
    head_size(keys, keys.size("hidden_size")?, keys.count("num_attention_heads")?)
}

fn gpt_neox(keys: Keys<'_>) -> Result<Spec, String> {
    let size = derived(keys)?;
    let share = Share { key: Some("rotary_pct"), absent: None };
    let rotary = rotary::read(keys, size, "rotary_emb_base", share)?;
    // Files from before these two keys have biases and the parallel form.
    let biased = keys.switch("attention_bias", true)?;
    let parallel = keys.switch("use_parallel_residual", true)?;
    let spec = common(keys, Family::GptNeoX, size, vec![rotary])?;
    if spec.kv_heads != spec.heads || size * spec.heads != spec.hidden {
        return Err(keys.wrong("num_attention_heads", "a GPT-NeoX has as many key heads, which fill its columns exactly"));
    }
    Ok(Spec {
        norm: NormKind::Layer,
        gated: false,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        biases: Biases { query_key_value: biased, attended: biased, feed_forward: true, head: false },
        ..spec
    })
}

fn phi(keys: Keys<'_>) -> Result<Spec, String> {
    let size = derived(keys)?;
    let rotary = rotary::read(keys, size, "rope_theta", Share { key: Some("partial_rotary_factor"), absent: None })?;
    Ok(Spec {
        norm: NormKind::Layer,
        head_norms: keys.switch("qk_layernorm", false)?,
        gated: false,
        residual: Residual::ParallelShared,
        biases: Biases { query_key_value: true, attended: true, feed_forward: true, head: true },
        ..common(keys, Family::Phi, size, vec![rotary])?
    })
}

fn llama(keys: Keys<'_>) -> Result<Spec, String> {
    let size = derived(keys)?;
    let rotary = rotary::read(keys, size, "rope_theta", Share::WHOLE)?;
    // Files from before these two keys have no biases.
    let biased = keys.switch("attention_bias", false)?;
    let feed_forward = keys.switch("mlp_bias", false)?;
    Ok(Spec {
        biases: Biases { query_key_value: biased, attended: biased, feed_forward, head: false },
        ..common(keys, Family::Llama, size, vec![rotary])?
    })
}

fn qwen(keys: Keys<'_>, family: Family) -> Result<Spec, String> {
    let third = family == Family::Qwen3;
    // The class of Qwen 3 has 128 whatever the hidden size is, so that only a given size is right.
    let size = if third { keys.size("head_dim")? } else { derived(keys)? };
    let rotary = rotary::read(keys, size, "rope_theta", Share::WHOLE)?;
    // The class has 32 here, not the number of heads.
    keys.size("num_key_value_heads")?;
    let spec = common(keys, family, size, vec![rotary])?;
    let sliding = keys.switch("use_sliding_window", false)?;
    let window = if sliding { Some(keys.size("sliding_window")?) } else { None };
    let first = if sliding && keys.get("layer_types").is_none() { keys.size("max_window_layers")? } else { 0 };
    let layers = windows(keys, spec.layers.len(), window, |index| sliding && index >= first, |_| 0)?;
    let biased = third && keys.switch("attention_bias", false)?;
    Ok(Spec {
        layers,
        head_norms: third,
        biases: Biases { query_key_value: biased || !third, attended: biased, ..Biases::default() },
        ..spec
    })
}

fn phi3(keys: Keys<'_>) -> Result<Spec, String> {
    let size = derived(keys)?;
    let rotary = rotary::read(keys, size, "rope_theta", Share { key: Some("partial_rotary_factor"), absent: Some(1.0) })?;
    let spec = common(keys, Family::Phi3, size, vec![rotary])?;
    let window = keys.optional_size("sliding_window")?;
    Ok(Spec { layers: windows(keys, spec.layers.len(), window, |_| window.is_some(), |_| 0)?, ..spec })
}

fn gemma(keys: Keys<'_>, family: Family) -> Result<Spec, String> {
    // The classes have 256 and fixed numbers of heads, so that only given sizes are right.
    let size = keys.size("head_dim")?;
    keys.size("num_key_value_heads")?;
    let rotary = match family {
        Family::Gemma3 => rotary::read_two(keys, size)?,
        _ => vec![rotary::read(keys, size, "rope_theta", Share::WHOLE)?],
    };
    let biased = keys.switch("attention_bias", false)?;
    let spec = Spec {
        norm: NormKind::RmsPlusOne,
        embedding_scale: (keys.size("hidden_size")? as f32).sqrt(),
        // transformers 4 leaves out what equals the default of all configs, which for this key is true.
        tied: keys.switch("tie_word_embeddings", true)?,
        biases: Biases { query_key_value: biased, attended: biased, ..Biases::default() },
        ..common(keys, family, size, rotary)?
    };
    if family == Family::Gemma {
        // The first files say gelu and mean the form with tanh; transformers 5 reads them so, transformers 4 did for a while.
        let activation = if spec.activation == Activation::Gelu { Activation::GeluTanh } else { spec.activation };
        // Versions differ in which of the two keys they read.
        if keys.get("hidden_activation").is_some() && self::activation(keys, "hidden_activation")? != activation {
            return Err(keys.wrong("hidden_activation", "hidden_act says another, and only one of them can hold"));
        }
        return Ok(Spec { activation, ..spec });
    }
    let third = family == Family::Gemma3;
    if third && keys.get("attn_logit_softcapping").is_some() {
        return Err(keys.wrong("attn_logit_softcapping", "transformers reads it for this family and does not apply it"));
    }
    let every = if third { keys.optional_size("sliding_window_pattern")?.unwrap_or(6) } else { 2 };
    let window = Some(keys.size("sliding_window")?);
    let layers =
        windows(keys, spec.layers.len(), window, |index| (index + 1) % every != 0, |sliding| usize::from(third && sliding))?;
    Ok(Spec {
        layers,
        scale: inverse_root(keys.positive("query_pre_attn_scalar")?),
        head_norms: third,
        post_norms: true,
        score_cap: if third { None } else { keys.said("attn_logit_softcapping")? },
        logit_cap: keys.said("final_logit_softcapping")?,
        ..spec
    })
}

fn inverse_root(value: f32) -> f32 {
    1.0 / value.sqrt()
}
