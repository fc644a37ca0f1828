//! The trained network as a folder that `inference` and transformers' readers know.

use super::network::Network;
use super::quantise::{Stored, stored};
use super::scale::Scale;
use super::task::Task;
use anyhow::{Context, Result, ensure};
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What a folder tells beside the weights.
#[derive(Debug, Clone)]
pub struct Described<'a> {
    /// The configuration of the base model.
    pub base: &'a Value,
    pub tokenizer: &'a Value,
    /// Names of the head's outputs; none for a head of answers.
    pub labels: &'a [String],
    /// From which probability a label holds, where several may.
    pub threshold: Option<f64>,
    /// Of a head that gives a number, how the file's were brought to those that it has learnt.
    pub scale: Option<Scale>,
    /// Tokens of a text at most, where fewer were trained than the network has positions.
    pub max_tokens: Option<usize>,
}

/// Writes config.json, tokenizer.json, tokenizer_config.json and model.safetensors; returns the weights' size and SHA-256.
pub fn write(folder: &Path, network: &Network, described: &Described<'_>, int8: bool) -> Result<(usize, String)> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut held: Vec<Stored> = Vec::new();
    for (name, tensor) in network.state()? {
        let dims = tensor.dims().to_vec();
        let mut values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if let Some(scale) = &described.scale {
            scale.written(&name, &mut values);
        }
        ensure!(values.iter().all(|value| value.is_finite()), "{name} is no longer finite; no model is written");
        held.extend(stored(&name, dims, &values, int8));
    }
    let views = held.iter().map(|(name, dtype, dims, data)| Ok((name.as_str(), TensorView::new(*dtype, dims.clone(), data)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let weights = safetensors::serialize(views, Some([("format".to_string(), "pt".to_string())].into()))?;
    let write = |file: &str, bytes: &[u8]| {
        let path = folder.join(file);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let pretty = |value: &Value| Ok::<_, anyhow::Error>(format!("{}\n", serde_json::to_string_pretty(value)?));
    write("model.safetensors", &weights)?;
    write("tokenizer.json", &serde_json::to_vec(described.tokenizer)?)?;
    write("tokenizer_config.json", pretty(&tokenizer_config(network, described))?.as_bytes())?;
    write("config.json", pretty(&config(network, described))?.as_bytes())?;
    Ok((weights.len(), Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect()))
}

fn config(network: &Network, described: &Described<'_>) -> Value {
    let (mut config, labels) = (described.base.clone(), described.labels);
    if let Some(keys) = config.as_object_mut() {
        let old = [
            "_name_or_path",
            "gradient_checkpointing",
            "transformers_version",
            "use_cache",
            "problem_type",
            "id2label",
            "label2id",
            "num_labels",
            "_num_labels",
            "torch_dtype",
            "threshold",
        ];
        keys.retain(|key, _| !old.contains(&key.as_str()));
    }
    let bare = network.outputs == 0;
    config["architectures"] = json!([if bare { "BertModel" } else { network.task.class() }]);
    config["model_type"] = json!("bert");
    // Whatever the base was stored in; int8 is read as this too.
    config["dtype"] = json!("float32");
    config["num_hidden_layers"] = json!(network.shape.num_hidden_layers);
    config["vocab_size"] = json!(network.shape.vocab_size);
    if network.task != Task::Answer && !bare {
        let named = |(i, label): (usize, &String)| (i.to_string(), json!(label));
        config["id2label"] = labels.iter().enumerate().map(named).collect::<Map<_, _>>().into();
        config["label2id"] = labels.iter().enumerate().map(|(i, label)| (label.clone(), json!(i))).collect::<Map<_, _>>().into();
    }
    if let Some(problem) = network.task.problem() {
        config["problem_type"] = json!(problem);
    }
    if let Some(threshold) = described.threshold {
        config["threshold"] = json!(threshold);
    }
    config
}

/// Writes beside an encoder that its embeddings are the mean of all vectors, of length 1, for sentence-transformers too; the longest text
/// is that of `base`.
pub fn pooled(folder: &Path, base: &Path, hidden: usize) -> Result<()> {
    let module = |idx: usize, path: &str, kind: &str| json!({"idx": idx, "name": idx.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
    let modules = json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")]);
    let pooling = json!({"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false});
    std::fs::create_dir_all(folder.join("1_Pooling"))?;
    std::fs::write(folder.join("1_Pooling/config.json"), format!("{pooling:#}\n"))?;
    std::fs::write(folder.join("modules.json"), format!("{modules:#}\n"))?;
    let limit = "sentence_bert_config.json";
    if base.join(limit).exists() {
        std::fs::copy(base.join(limit), folder.join(limit)).with_context(|| format!("cannot copy {limit}"))?;
    }
    Ok(())
}

/// What transformers reads beside tokenizer.json: its class, the longest text, and which special token is which.
fn tokenizer_config(network: &Network, described: &Described<'_>) -> Value {
    let most = network.shape.max_position_embeddings;
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        // Without it version 5 gives no segments, which answers need.
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "model_max_length": described.max_tokens.map_or(most, |tokens| tokens.min(most)),
    });
    let known: Vec<&str> = match described.tokenizer["added_tokens"].as_array() {
        Some(tokens) => tokens.iter().filter_map(|token| token["content"].as_str()).collect(),
        None => Vec::new(),
    };
    for (key, token) in
        [("cls_token", "[CLS]"), ("mask_token", "[MASK]"), ("pad_token", "[PAD]"), ("sep_token", "[SEP]"), ("unk_token", "[UNK]")]
    {
        if known.contains(&token) {
            config[key] = json!(token);
        }
    }
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
    use crate::train::batches::{Batch, Example, Target};
    use crate::train::checkpoint::Folder;
    use crate::train::network::tests::{SHAPE, tiny_with};
    use crate::train::network::{Pass, Tuning};

    #[test]
    fn a_written_folder_reads_back_as_the_same_network() {
        let folder = tempfile::tempdir().unwrap();
        let base = json!({"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "layer_norm_eps": 1e-12,
            "max_position_embeddings": 16, "_name_or_path": "/somewhere", "id2label": {"0": "old"}, "torch_dtype": "float16", "dtype": "bfloat16",
            "num_labels": 5, "_num_labels": 5});
        let example = Example { ids: vec![1, 5, 9, 2], types: vec![0, 0, 1, 1], target: Target::Label(0) };
        let batch = Batch::of(&[&example]);
        let logits = |n: &Network| n.logits(&batch, &Pass::measuring()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let labels = ["no".to_owned(), "yes".to_owned()];
        for task in [Task::Label, Task::Labels, Task::Tag, Task::Answer] {
            let network = tiny_with(task, 2, &Tuning { layers: Some(1), ..Tuning::default() });
            let want = logits(&network);
            for (int8, bound) in [(false, 0.0), (true, 4e-3)] {
                let labels = if task == Task::Answer { &[][..] } else { &labels };
                let described = Described {
                    base: &base,
                    tokenizer: &json!({}),
                    labels,
                    threshold: Some(0.3),
                    scale: None,
                    max_tokens: Some(12),
                };
                write(folder.path(), &network, &described, int8).unwrap();
                let read = Folder::read(folder.path()).unwrap();
                assert_eq!((&read.config["vocab_size"], &read.config["threshold"]), (&json!(SHAPE.vocab_size), &json!(0.3)));
                for old in ["_name_or_path", "torch_dtype", "num_labels", "_num_labels"] {
                    assert_eq!(read.config.get(old), None);
                }
                assert_eq!(read.config["dtype"], json!("float32"));
                assert_eq!(read.config["id2label"]["1"], if task == Task::Answer { Value::Null } else { json!("yes") });
                let got = logits(&read.network(task, 2, &Tuning::default()).unwrap());
                assert!(want.iter().zip(&got).all(|(a, b)| (a - b).abs() <= bound), "{task:?} {want:?} {got:?}");
            }
        }
    }

    /// Would catch: a number of the file's scale that is not, or of the network's that is scaled twice.
    #[test]
    fn a_head_that_gives_a_number_gives_one_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let network = tiny_with(Task::Score, 1, &Tuning::default());
        let base = json!({"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "layer_norm_eps": 1e-12, "max_position_embeddings": 16});
        let scale = Scale { mean: 30.0, deviation: 12.0 };
        let labels = ["stars".to_owned()];
        let described = Described {
            base: &base,
            tokenizer: &json!({}),
            labels: &labels,
            threshold: None,
            scale: Some(scale),
            max_tokens: None,
        };
        write(folder.path(), &network, &described, false).unwrap();
        let mut read = Folder::read(folder.path()).unwrap();
        assert_eq!((&read.config["problem_type"], &read.config["id2label"]), (&json!("regression"), &json!({"0": "stars"})));
        let example = Example { ids: vec![1, 5, 9, 2], types: vec![0, 0, 1, 1], target: Target::Score(0.0) };
        let batch = Batch::of(&[&example]);
        let logit = |n: &Network| {
            f64::from(n.logits(&batch, &Pass::measuring()).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()[0])
        };
        let (learnt, given) = (logit(&network), logit(&read.network(Task::Score, 1, &Tuning::default()).unwrap()));
        assert!((given - scale.outward(learnt)).abs() < 1e-4, "{given} {learnt}");
        // A run that goes on from there begins where this one ended.
        scale.taken(&mut read.weights).unwrap();
        assert!((logit(&read.network(Task::Score, 1, &Tuning::default()).unwrap()) - learnt).abs() < 1e-5);
    }

    #[test]
    fn a_folder_without_weights_is_drawn_and_other_forms_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json"] {
            std::fs::write(folder.path().join(file), "{\"model_type\": \"bert\"}").unwrap();
        }
        assert!(!Folder::read_or_draw(folder.path()).unwrap().has_weights());
        std::fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
        assert!(Folder::read_or_draw(folder.path()).err().unwrap().to_string().contains("pytorch_model.bin"));
    }
}
