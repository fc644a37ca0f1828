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

/// A model card from what the run printed; data is named by file, never by where it lay.
pub fn card(folder: &Path, title: &str, command: &str, report: &[String]) -> Result<()> {
    let text = format!(
        "# {title}\n\nTrained with `millrace train`. The base model's and the data's licences apply; state them here before you share it.\n\n\
         ## Command\n\n```sh\n{command}\n```\n\n## What the run printed\n\n```text\n{}\n```\n",
        report.join("\n")
    );
    Ok(std::fs::write(folder.join("README.md"), text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::checkpoint::Folder;
    use crate::train::network::tests::tiny;

    #[test]
    fn a_written_folder_reads_back_as_the_same_network() {
        let (network, folder) = (tiny(), tempfile::tempdir().unwrap());
        let base = json!({"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "layer_norm_eps": 1e-12,
            "max_position_embeddings": 16, "_name_or_path": "/somewhere"});
        let logits =
            |n: &Network| n.logits(&[1, 5, 9, 2, 1, 7, 3, 2], 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let want = logits(&network);
        for (int8, bound) in [(false, 0.0), (true, 2e-3)] {
            write(folder.path(), &network, &base, &json!({}), &["no".into(), "yes".into()], int8).unwrap();
            let read = Folder::read(folder.path()).unwrap();
            assert_eq!((&read.config["vocab_size"], &read.config["id2label"]["1"]), (&json!(20), &json!("yes")));
            assert_eq!(read.config.get("_name_or_path"), None);
            let got = logits(&read.network(2, 0).unwrap());
            assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() <= bound), "{want:?} {got:?}");
        }
    }
}
