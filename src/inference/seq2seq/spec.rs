//! The canonical description of a network that writes: whatever a family and its versions call things, the layers read only this.

use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::Activation;

/// Tokens at most where a network has no bound of its own; it keeps a text's scores below 70 MB a head.
const UNBOUNDED: usize = 4096;

/// Rows at most of a table that is worked out from the configuration and not read from the file.
const TABLE: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// v1.0, v1.1 and FLAN.
    T5,
    Bart,
    Marian,
}

/// The size of the encoder or of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    pub layers: usize,
    pub heads: usize,
    /// Width of the feed-forward part.
    pub wide: usize,
}

/// T5's bias of scores by distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    pub count: usize,
    /// Distances from here on share the last bucket.
    pub furthest: usize,
}

/// Sizes and choices of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub family: Family,
    pub vocabulary: usize,
    pub target_vocabulary: usize,
    /// Encoder and decoder look words up in one table.
    pub shared_words: bool,
    pub hidden: usize,
    /// Heads times the size of one.
    pub inner: usize,
    pub encoder: Stack,
    pub decoder: Stack,
    pub activation: Activation,
    /// The feed-forward part multiplies what is activated with what is not.
    pub gated: bool,
    pub epsilon: f32,
    /// Word vectors are multiplied with it.
    pub embedding_scale: f32,
    /// The decoder's output is multiplied with it before the last product.
    pub logit_scale: f32,
    /// Tokens of a text at most.
    pub longest: usize,
    /// Where distances bias the scores.
    pub buckets: Option<Buckets>,
}

impl Spec {
    pub fn read(config: &ModelConfig) -> Result<Self, InferenceError> {
        config.refuse_unknown()?;
        let spec = match config.family()? {
            "t5" => t5(config),
            "bart" => bart(config, Family::Bart),
            "marian" => bart(config, Family::Marian),
            other => {
                let known = super::FAMILIES.join(", ");
                Err(config.unsupported(format!("model_type is `{other}`; networks that write of these families run: {known}")))
            }
        }?;
        let heads = [spec.encoder.heads, spec.decoder.heads];
        if heads.iter().any(|&heads| !spec.inner.is_multiple_of(heads)) {
            return Err(config.unsupported(format!("{heads:?} attention heads do not divide a width of {}", spec.inner)));
        }
        Ok(spec)
    }
}

fn t5(config: &ModelConfig) -> Result<Spec, InferenceError> {
    let (hidden, heads) = (config.count("d_model")?, config.count("num_heads")?);
    let projection = config.text_or("feed_forward_proj", "relu")?;
    let gated = projection.strip_prefix("gated-");
    let activation = match gated.unwrap_or(projection) {
        "relu" => Activation::Relu,
        "silu" => Activation::Silu,
        // What is called gated-gelu was trained with the hyperbolic tangent.
        "gelu" if gated.is_none() => Activation::Gelu,
        "gelu" | "gelu_new" => Activation::GeluTanh,
        _ => {
            let known = "relu, gelu, gelu_new, silu, each with or without `gated-`";
            return Err(config.unsupported(format!("feed_forward_proj is `{projection}`; known: {known}")));
        }
    };
    // transformers 4 tells by the tying whether the output is scaled; transformers 5 has a key for it, since it always says "tied".
    let scaled = config.flag_or("scale_decoder_outputs", config.flag_or("tie_word_embeddings", true)?)?;
    let (layers, wide) = (config.count("num_layers")?, config.count("d_ff")?);
    let buckets = Buckets {
        count: config.count("relative_attention_num_buckets")?,
        furthest: config.count_or("relative_attention_max_distance", 128)?,
    };
    if buckets.count < 4 || buckets.furthest <= buckets.count / 2 || buckets.furthest > TABLE {
        let (count, furthest) = (buckets.count, buckets.furthest);
        let cause = format!("relative_attention_num_buckets {count} do not fit relative_attention_max_distance {furthest}");
        return Err(config.unsupported(cause));
    }
    let vocabulary = config.count("vocab_size")?;
    Ok(Spec {
        family: Family::T5,
        vocabulary,
        target_vocabulary: vocabulary,
        shared_words: true,
        hidden,
        inner: heads * config.count("d_kv")?,
        encoder: Stack { layers, heads, wide },
        decoder: Stack { layers: config.count_or("num_decoder_layers", layers)?, heads, wide },
        activation,
        gated: gated.is_some(),
        epsilon: config.number_or("layer_norm_epsilon", 1e-6)? as f32,
        embedding_scale: 1.0,
        logit_scale: if scaled { (hidden as f32).powf(-0.5) } else { 1.0 },
        longest: UNBOUNDED,
        buckets: Some(buckets),
    })
}

fn bart(config: &ModelConfig, family: Family) -> Result<Spec, InferenceError> {
    // Left over from the programs that trained them; the networks of transformers know one value each.
    let marian = family == Family::Marian;
    let fixed = [
        ("normalize_before", false),
        ("add_final_layer_norm", false),
        ("normalize_embedding", !marian),
        ("static_position_embeddings", marian),
    ];
    for (key, only) in fixed {
        if config.flag_or(key, only)? != only {
            return Err(config.unsupported(format!("{key} is {}; this family runs with {only}", !only)));
        }
    }
    let hidden = config.count("d_model")?;
    let stack = |side: &str| {
        Ok(Stack {
            layers: config.count(&format!("{side}_layers"))?,
            heads: config.count(&format!("{side}_attention_heads"))?,
            wide: config.count(&format!("{side}_ffn_dim"))?,
        })
    };
    let vocabulary = config.count("vocab_size")?;
    let shared = !marian || config.flag_or("share_encoder_decoder_embeddings", true)?;
    let longest = config.count("max_position_embeddings")?;
    if longest > TABLE {
        return Err(config.unsupported(format!("max_position_embeddings is {longest}; at most {TABLE} run")));
    }
    if marian && !hidden.is_multiple_of(2) {
        return Err(config.unsupported(format!("d_model is {hidden}; an even width is expected")));
    }
    let scaled = config.flag_or("scale_embedding", false)?;
    Ok(Spec {
        family,
        vocabulary,
        target_vocabulary: if shared { vocabulary } else { config.count("decoder_vocab_size")? },
        shared_words: shared,
        hidden,
        inner: hidden,
        encoder: stack("encoder")?,
        decoder: stack("decoder")?,
        activation: Activation::named(config, "activation_function")?,
        gated: false,
        epsilon: 1e-5,
        embedding_scale: if scaled { (hidden as f32).sqrt() } else { 1.0 },
        logit_scale: 1.0,
        longest,
        buckets: None,
    })
}
