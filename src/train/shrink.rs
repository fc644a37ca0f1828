//! A copy of a model folder with smaller matrices.

use super::checkpoint::Folder;
use super::quantise::{Stored, stored};
use anyhow::{Context, Result};
use safetensors::{Dtype, tensor::TensorView};
use std::path::Path;

/// How matrices are stored; biases and norms stay f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One scale for 32 weights of a row; for a row of the word table one.
    Int8,
    F16,
}

/// What stands beside the weights and belongs to the model.
const FILES: [&str; 14] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

/// Writes the copy; returns the bytes of its weights. `place` is where `folder` was read.
pub fn shrink(folder: &Folder, place: &Path, out: &Path, form: Form) -> Result<usize> {
    std::fs::create_dir_all(out)?;
    for file in FILES {
        let (from, to) = (place.join(file), out.join(file));
        if from.exists() {
            std::fs::create_dir_all(to.parent().unwrap_or(out))?;
            std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    let mut names: Vec<&String> = folder.weights.keys().collect();
    names.sort();
    let mut held: Vec<Stored> = Vec::new();
    for name in names {
        let tensor = &folder.weights[name];
        let (dims, values) = (tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1::<f32>()?);
        match form {
            Form::F16 if dims.len() == 2 => {
                let halves = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
                held.push((name.clone(), Dtype::F16, dims, halves));
            }
            Form::Int8 | Form::F16 => held.extend(stored(name, dims, &values, form == Form::Int8)),
        }
    }
    let views = held.iter().map(|(name, dtype, dims, data)| Ok((name.as_str(), TensorView::new(*dtype, dims.clone(), data)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let weights = safetensors::serialize(views, Some([("format".to_owned(), "pt".to_owned())].into()))?;
    std::fs::write(out.join("model.safetensors"), &weights)?;
    Ok(weights.len())
}
