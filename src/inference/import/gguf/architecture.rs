//! From the metadata of a GGUF file to a config as transformers writes it, and from its tensor names to theirs.

use super::super::{Fault, damaged, unsupported};
use super::gemma;
use super::reader::Gguf;
use super::value::{Value as Field, short};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Seek};

/// A tensor to be written, and the one of the file that it is made from.
pub struct Mapped {
    pub name: String,
    pub source: String,
    pub shape: Vec<usize>,
    /// Set where the rows of that many heads are stored in pairs, as llama.cpp turns them for its rotary positions.
    pub heads: Option<usize>,
    /// Whether 1 was added to what transformers has.
    pub one_more: bool,
}

/// What the file becomes.
pub struct Plan {
    pub architecture: &'static str,
    pub config: Value,
    pub tensors: Vec<Mapped>,
    /// Tokens that the model sees at most.
    pub context: usize,
}

/// A family that is read: its names in GGUF and in transformers, and what sets it apart.
struct Family {
    gguf: &'static str,
    model_type: &'static str,
    class: &'static str,
    paired_rows: bool,
    qkv_bias: bool,
    qk_norm: bool,
    /// Two kinds of layers, norms after attention and feed-forward, and norms that are stored with 1 added.
    gemma: bool,
}

const PLAIN: Family = Family {
    gguf: "llama",
    model_type: "llama",
    class: "LlamaForCausalLM",
    paired_rows: false,
    qkv_bias: false,
    qk_norm: false,
    gemma: false,
};

const FAMILIES: [Family; 4] = [
    Family { paired_rows: true, ..PLAIN },
    Family { gguf: "qwen2", model_type: "qwen2", class: "Qwen2ForCausalLM", qkv_bias: true, ..PLAIN },
    Family { gguf: "qwen3", model_type: "qwen3", class: "Qwen3ForCausalLM", qk_norm: true, ..PLAIN },
    Family { gguf: "gemma3", model_type: "gemma3_text", class: "Gemma3ForCausalLM", qk_norm: true, gemma: true, ..PLAIN },
];

struct Sizes {
    layers: usize,
    hidden: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    vocabulary: usize,
    context: usize,
}

pub fn plan<R: Read + Seek>(gguf: &Gguf<R>, rope_theta: Option<f64>) -> Result<Plan, Fault> {
    let metadata = gguf.metadata();
    let name = metadata.text("general.architecture")?.ok_or_else(|| damaged("it has no `general.architecture`"))?;
    let family = FAMILIES.iter().find(|family| family.gguf == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.gguf).collect();
        unsupported(format!("its architecture is `{}`; known: {}", short(name), known.join(", ")))
    })?;
    let of = |field: &str| format!("{}.{field}", family.gguf);
    for field in ["expert_count", "attention.sliding_window"] {
        let known = family.gemma && field == "attention.sliding_window";
        if !known && metadata.count(&of(field))?.is_some_and(|count| count > 0) {
            return Err(unsupported(format!("`{}` is set, which changes the maths and is not read", of(field))));
        }
    }
    match metadata.text(&of("rope.scaling.type"))? {
        None | Some("none") => {}
        Some("linear") if family.gemma => {}
        Some(kind) => return Err(unsupported(format!("its rotary positions are scaled ({}), which is not read", short(kind)))),
    }
    let heads = metadata.size(&of("attention.head_count"))?;
    let hidden = metadata.size(&of("embedding_length"))?;
    let embedding = gguf.tensor("token_embd.weight").ok_or_else(|| damaged("it has no tensor `token_embd.weight`"))?;
    let sizes = Sizes {
        layers: metadata.size(&of("block_count"))?,
        hidden,
        inner: metadata.size(&of("feed_forward_length"))?,
        heads,
        kv_heads: metadata.count(&of("attention.head_count_kv"))?.unwrap_or(heads),
        head: match metadata.count(&of("attention.key_length"))? {
            // Its heads have no size that follows from others.
            None if family.gemma => return Err(unsupported(format!("it has no `{}`", of("attention.key_length")))),
            given => given.unwrap_or(hidden / heads),
        },
        vocabulary: embedding.shape.first().copied().unwrap_or(0),
        context: metadata.size(&of("context_length"))?,
    };
    sizes.check(gguf.tensors().len())?;
    for (field, expected) in [("rope.dimension_count", sizes.head), ("attention.value_length", sizes.head)] {
        if let Some(found) = metadata.count(&of(field))?.filter(|found| *found != expected) {
            return Err(unsupported(format!("`{}` is {found}, and a head has {expected} numbers; that is not read", of(field))));
        }
    }
    let theta = match (metadata.number(&of("rope.freq_base"))?, rope_theta) {
        (Some(theta), _) | (None, Some(theta)) if theta > 1.0 => theta,
        (None, None) => {
            let cause = format!(
                "it has no `{}`, the base of its rotary positions; name it with --rope-theta (llama.cpp takes 10000)",
                of("rope.freq_base")
            );
            return Err(unsupported(cause));
        }
        _ => return Err(damaged(format!("`{}` is not above 1", of("rope.freq_base")))),
    };
    let eps_key = of("attention.layer_norm_rms_epsilon");
    let eps = metadata.number(&eps_key)?.ok_or_else(|| unsupported(format!("it has no `{eps_key}`")))?;
    let tied = gguf.tensor("output.weight").is_none();
    let tensors = mapped(family, &sizes, tied);
    hold_against(gguf, &tensors)?;
    let mut config = config(family, &sizes, theta, eps, tied);
    if family.gemma {
        gemma::extend(&mut config, metadata, [sizes.layers, hidden, heads, sizes.head])?;
    }
    for (id, field) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        if let Some(Field::Integer(number)) = metadata.get(&format!("tokenizer.ggml.{field}_token_id")) {
            config[id] = u32::try_from(*number).ok().map_or(Value::Null, Into::into);
        }
    }
    Ok(Plan { architecture: family.gguf, config, tensors, context: sizes.context })
}

impl Sizes {
    fn check(&self, tensors: usize) -> Result<(), Fault> {
        let Self { layers, heads, kv_heads, head, hidden, .. } = *self;
        if layers > tensors {
            return Err(damaged(format!("it claims {layers} layers and has {tensors} tensors")));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) || head == 0 || !head.is_multiple_of(2) {
            let cause = format!("{heads} heads, {kv_heads} of keys, {head} numbers a head, {hidden} a token do not fit together");
            return Err(damaged(cause));
        }
        Ok(())
    }
}

fn config(family: &Family, sizes: &Sizes, theta: f64, eps: f64, tied: bool) -> Value {
    let mut config = json!({
        "architectures": [family.class],
        "attention_dropout": 0.0,
        "bos_token_id": null,
        "eos_token_id": null,
        "head_dim": sizes.head,
        "hidden_act": "silu",
        "hidden_size": sizes.hidden,
        "initializer_range": 0.02,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": sizes.context,
        "model_type": family.model_type,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.kv_heads,
        "rms_norm_eps": eps,
        "rope_scaling": null,
        "rope_theta": theta,
        "tie_word_embeddings": tied,
        "use_cache": true,
        "vocab_size": sizes.vocabulary,
    });
    match family.model_type {
        "gemma3_text" => {}
        "llama" => {
            config["attention_bias"] = false.into();
            config["mlp_bias"] = false.into();
            config["pretraining_tp"] = 1.into();
        }
        other => {
            config["max_window_layers"] = sizes.layers.into();
            config["sliding_window"] = Value::Null;
            config["use_sliding_window"] = false.into();
            if other == "qwen3" {
                config["attention_bias"] = false.into();
            }
        }
    }
    config
}

fn mapped(family: &Family, sizes: &Sizes, tied: bool) -> Vec<Mapped> {
    let Sizes { layers, hidden, inner, heads, kv_heads, head, vocabulary, .. } = *sizes;
    let plain = |name: String, source: String, shape: Vec<usize>| {
        let one_more = family.gemma && name.ends_with("norm.weight");
        Mapped { name, source, shape, heads: None, one_more }
    };
    let mut all = vec![
        plain("model.embed_tokens.weight".into(), "token_embd.weight".into(), vec![vocabulary, hidden]),
        plain("model.norm.weight".into(), "output_norm.weight".into(), vec![hidden]),
    ];
    if !tied {
        all.push(plain("lm_head.weight".into(), "output.weight".into(), vec![vocabulary, hidden]));
    }
    for layer in 0..layers {
        let mut add = |ours: &str, theirs: &str, shape: Vec<usize>, paired: Option<usize>| {
            let heads = paired.filter(|_| family.paired_rows);
            all.push(Mapped { heads, ..plain(format!("model.layers.{layer}.{ours}"), format!("blk.{layer}.{theirs}"), shape) });
        };
        let norms = [("input_layernorm.weight", "attn_norm.weight"), ("post_attention_layernorm.weight", "ffn_norm.weight")];
        for (ours, theirs) in if family.gemma { &gemma::NORMS[..] } else { &norms } {
            add(ours, theirs, vec![hidden], None);
        }
        for (letter, count, paired) in [("q", heads, true), ("k", kv_heads, true), ("v", kv_heads, false)] {
            let paired = paired.then_some(count);
            let (ours, theirs) = (format!("self_attn.{letter}_proj"), format!("attn_{letter}"));
            add(&format!("{ours}.weight"), &format!("{theirs}.weight"), vec![count * head, hidden], paired);
            if family.qkv_bias {
                add(&format!("{ours}.bias"), &format!("{theirs}.bias"), vec![count * head], None);
            }
            if family.qk_norm && letter != "v" {
                add(&format!("self_attn.{letter}_norm.weight"), &format!("{theirs}_norm.weight"), vec![head], None);
            }
        }
        add("self_attn.o_proj.weight", "attn_output.weight", vec![hidden, heads * head], None);
        add("mlp.gate_proj.weight", "ffn_gate.weight", vec![inner, hidden], None);
        add("mlp.up_proj.weight", "ffn_up.weight", vec![inner, hidden], None);
        add("mlp.down_proj.weight", "ffn_down.weight", vec![hidden, inner], None);
    }
    all
}

/// Every tensor that is needed is there in its shape, and no other.
fn hold_against<R: Read + Seek>(gguf: &Gguf<R>, needed: &[Mapped]) -> Result<(), Fault> {
    for tensor in needed {
        match gguf.tensor(&tensor.source) {
            None => return Err(damaged(format!("it has no tensor `{}`", tensor.source))),
            Some(found) if found.shape != tensor.shape => {
                let (source, found, expected) = (&tensor.source, &found.shape, &tensor.shape);
                return Err(damaged(format!("tensor `{source}` has shape {found:?}, its metadata say {expected:?}")));
            }
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = needed.iter().map(|tensor| tensor.source.as_str()).collect();
    match gguf.tensors().iter().find(|tensor| !known.contains(tensor.name.as_str())) {
        Some(extra) if extra.name == "rope_freqs.weight" => {
            Err(unsupported("its rotary positions are scaled (`rope_freqs.weight`), which is not read"))
        }
        Some(extra) => Err(unsupported(format!("it has a tensor `{}` that this architecture does not know", short(&extra.name)))),
        None => Ok(()),
    }
}
