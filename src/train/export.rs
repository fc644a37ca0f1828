//! The trained network as a folder that `inference` and transformers' readers know.

use super::network::Network;
use super::quantise::rows_to_int8;
use anyhow::Result;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Writes config.json, tokenizer.json and model.safetensors; returns the weights' size and SHA-256.
pub fn write(
    folder: &Path,
    network: &Network,
    base: &Value,
    tokenizer: &Value,
    labels: &[String],
    int8: bool,
) -> Result<(usize, String)> {
    std::fs::create_dir_all(folder)?;
    let mut held: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut vocabulary = 0;
    for (name, tensor) in network.state()? {
        let dims = tensor.dims().to_vec();
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        if name.ends_with("word_embeddings.weight") {
            vocabulary = dims[0];
        }
        if int8 && dims.len() == 2 {
            let (quantised, scales) = rows_to_int8(&values, dims[1]);
            held.push((format!("{name}.scale"), Dtype::F32, vec![dims[0]], bytes(&scales)));
            held.push((name, Dtype::I8, dims, quantised.iter().map(|q| *q as u8).collect()));
        } else {
            held.push((name, Dtype::F32, dims, bytes(&values)));
        }
    }
    let views = held.iter().map(|(name, dtype, dims, data)| Ok((name.as_str(), TensorView::new(*dtype, dims.clone(), data)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let weights = safetensors::serialize(views, Some([("format".to_string(), "pt".to_string())].into()))?;
    std::fs::write(folder.join("model.safetensors"), &weights)?;
    std::fs::write(folder.join("tokenizer.json"), serde_json::to_vec(tokenizer)?)?;
    let config = config(network, base, labels, vocabulary);
    std::fs::write(folder.join("config.json"), format!("{}\n", serde_json::to_string_pretty(&config)?))?;
    Ok((weights.len(), Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect()))
}

fn config(network: &Network, base: &Value, labels: &[String], vocabulary: usize) -> Value {
    let mut config = base.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.retain(|key, _| {
            !matches!(key.as_str(), "_name_or_path" | "gradient_checkpointing" | "transformers_version" | "use_cache")
        });
    }
    config["architectures"] = json!(["BertForSequenceClassification"]);
    config["num_hidden_layers"] = json!(network.shape.num_hidden_layers);
    config["vocab_size"] = json!(vocabulary);
    config["id2label"] =
        labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect::<serde_json::Map<_, _>>().into();
    config["label2id"] = labels.iter().enumerate().map(|(i, l)| (l.clone(), json!(i))).collect::<serde_json::Map<_, _>>().into();
    config["problem_type"] = json!("single_label_classification");
    config
}
