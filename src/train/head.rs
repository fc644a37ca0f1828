//! A head on an encoder that others may share, as a folder of its own: config.json, which names the encoder by folder and digest, and the head's
//! tensors.

use super::probe::Linear;
use super::task::Task;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

/// The encoder that a head stands on.
#[derive(Debug, Clone)]
pub struct Backbone {
    /// Its folder, as seen from the head's folder.
    pub folder: String,
    /// sha256 of its weights.
    pub sha256: String,
}

/// What a head's outputs are.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// Labels of texts or of words, or numbers.
    pub task: Task,
    pub labels: &'a [String],
    /// From which probability a label holds, where several may.
    pub threshold: Option<f64>,
}

impl<'a> Outputs<'a> {
    /// One label a text.
    pub fn one_of(labels: &'a [String]) -> Self {
        Self { task: Task::Label, labels, threshold: None }
    }
}

/// Writes config.json and model.safetensors; returns the size and the sha256 of the latter. The encoder's digest stands in the file's
/// metadata too, so that the head's digest covers both.
pub fn write(folder: &Path, backbone: &Backbone, head: &Linear, outputs: &Outputs<'_>) -> Result<(usize, String)> {
    let numbers = head.weight.iter().chain(&head.bias).all(|value| value.is_finite());
    ensure!(
        numbers,
        "the head's weights are no longer finite; no model is written. Take a lower --lr, or for a probe a lower --c"
    );
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let labels = outputs.labels;
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let (weight, bias) = (bytes(&head.weight), bytes(&head.bias));
    let width = head.weight.len() / labels.len().max(1);
    let views = [
        ("classifier.bias", TensorView::new(Dtype::F32, vec![labels.len()], &bias)?),
        ("classifier.weight", TensorView::new(Dtype::F32, vec![labels.len(), width], &weight)?),
    ];
    // One entry alone: several would stand in another order each time, and the digest with them.
    let metadata = [("backbone".to_owned(), backbone.sha256.clone())].into();
    let file = safetensors::serialize(views, Some(metadata))?;
    std::fs::write(folder.join("model.safetensors"), &file)?;
    let named = |(i, label): (usize, &String)| (i.to_string(), json!(label));
    let mut config = json!({
        "model_type": "millrace_head",
        "architectures": [class(outputs.task)?],
        "backbone": { "folder": backbone.folder, "sha256": backbone.sha256 },
        "id2label": labels.iter().enumerate().map(named).collect::<serde_json::Map<_, _>>(),
        "label2id": labels.iter().enumerate().map(|(i, label)| (label.clone(), json!(i))).collect::<serde_json::Map<_, _>>(),
    });
    if let Some(problem) = outputs.task.problem() {
        config["problem_type"] = json!(problem);
    }
    if let Some(threshold) = outputs.threshold {
        config["threshold"] = json!(threshold);
    }
    std::fs::write(folder.join("config.json"), format!("{config:#}\n"))?;
    Ok((file.len(), Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect()))
}

/// The name by which the reader knows what the head reads.
fn class(task: Task) -> Result<&'static str> {
    match task {
        Task::Label | Task::Labels | Task::Score => Ok("MillraceHeadForSequenceClassification"),
        Task::Tag => Ok("MillraceHeadForTokenClassification"),
        Task::Answer => bail!("a head of answers has no folder of its own"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a digest that changes though nothing of the head has.
    #[test]
    fn the_same_head_has_the_same_digest() {
        let folder = tempfile::tempdir().unwrap();
        let backbone = Backbone { folder: "body".into(), sha256: "0".repeat(64) };
        let head = Linear { weight: vec![0.5; 4], bias: vec![0.0; 2] };
        let written = || write(folder.path(), &backbone, &head, &Outputs::one_of(&["a".into(), "b".into()])).unwrap();
        let first = written();
        assert!((0..32).all(|_| written() == first));
    }

    #[test]
    fn a_head_without_numbers_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let backbone = Backbone { folder: "body".into(), sha256: "0".repeat(64) };
        let head = Linear { weight: vec![0.5, f32::NAN], bias: vec![0.0; 2] };
        let out = folder.path().join("out");
        let refused = write(&out, &backbone, &head, &Outputs::one_of(&["a".into(), "b".into()])).unwrap_err().to_string();
        assert!(refused.contains("no longer finite") && !out.exists(), "{refused}");
    }
}
