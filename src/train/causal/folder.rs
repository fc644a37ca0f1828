//! A network from a folder or from nothing, and back into a folder that `inference` and transformers read.

use super::names;
use super::network::Network;
use crate::inference::Weights;
use crate::inference::causal::Spec;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Sizes of a new network of Llama's layout; its head is the token table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub vocabulary: usize,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of the feed-forward parts.
    pub wide: usize,
    /// Tokens of a text at most.
    pub positions: usize,
}

/// Eight thirds of the hidden size, which gives a gated part the cost of an ungated one of four times, up to a multiple of 32.
pub fn usual_width(hidden: usize) -> usize {
    (hidden * 8).div_ceil(3).next_multiple_of(32)
}

/// The config.json of a new network. `end` is the token that ends a text.
pub fn config(sizes: &Sizes, end: Option<u32>) -> Result<Value> {
    let Sizes { vocabulary, layers, hidden, heads, kv_heads, wide, positions } = *sizes;
    let all = [vocabulary, layers, hidden, heads, kv_heads, wide, positions];
    ensure!(!all.contains(&0), "a network of these sizes has nothing in it: {sizes:?}");
    ensure!(hidden.is_multiple_of(2 * heads), "{heads} heads do not divide {hidden} columns into even parts");
    ensure!(heads.is_multiple_of(kv_heads), "{kv_heads} heads of keys do not divide {heads} heads");
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden / heads,
        "hidden_act": "silu",
        "max_position_embeddings": positions,
        "rope_theta": 10_000.0,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.02,
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "tie_word_embeddings": true,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": "float32",
        "use_cache": true,
    }))
}

fn spec(config: &Value) -> Result<Spec> {
    Spec::read(config).map_err(|cause| anyhow::anyhow!("config.json: {cause}"))
}

/// The config.json of a folder.
pub fn read_config(folder: &Path) -> Result<Value> {
    let path = folder.join("config.json");
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

impl Network {
    /// A new network, drawn with `seed`, for texts of at most `positions` tokens.
    pub fn drawn(config: &Value, positions: usize, seed: u64) -> Result<Self> {
        let spec = spec(config)?;
        let tensors = names::drawn(&spec, seed)?;
        Self::new(spec, tensors, positions)
    }

    /// The network of a folder, whatever its tensors are stored as; it goes on in `f32`.
    pub fn open(folder: &Path, config: &Value, positions: usize) -> Result<Self> {
        let spec = spec(config)?;
        super::network::supported(&spec)?;
        let weights = Weights::open(folder, None)?;
        let tensors = names::read(&spec, &weights.tensors()?)?;
        Self::new(spec, tensors, positions)
    }

    /// All tensors as a folder has them, adapters merged.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for named in names::all(&self.spec) {
            state.extend(named.parted(&self.merged(&named.name)?)?);
        }
        Ok(state)
    }

    /// Writes config.json and model.safetensors (`f32`); returns the latter's size and SHA-256.
    pub fn write(&self, folder: &Path, config: &Value) -> Result<(usize, String)> {
        let mut held: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, tensor) in self.state()? {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            ensure!(values.iter().all(|value| value.is_finite()), "{name} is no longer finite; no model is written");
            held.push((name, tensor.dims().to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
        }
        let views = held.iter().map(|(name, dims, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, dims.clone(), data)?)));
        let views: Vec<_> = views.collect::<Result<_>>()?;
        let file = safetensors::serialize(views, Some([("format".to_owned(), "pt".to_owned())].into()))?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::fs::write(folder.join("model.safetensors"), &file)?;
        std::fs::write(folder.join("config.json"), format!("{:#}\n", written(config)))?;
        Ok((file.len(), Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect()))
    }
}

/// A folder's config.json as it holds for what is written: the numbers are `f32`, and the class is the one with the tokens' head.
fn written(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.remove("_name_or_path");
        let key = if keys.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        keys.insert(key.into(), "float32".into());
        keys.insert("architectures".into(), json!(["LlamaForCausalLM"]));
    }
    config
}
