//! A model folder: config.json, tokenizer.json, model.safetensors (f32, f16 or int8 per row).

use super::network::{Network, Tuning};
use super::quantise::rows_from_int8;
use super::task::Task;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

pub struct Folder {
    pub config: Value,
    pub tokenizer: Value,
    pub weights: HashMap<String, Tensor>,
}

fn json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

impl Folder {
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let weights = tensors(&bytes).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { config: json(&folder.join("config.json"))?, tokenizer: json(&folder.join("tokenizer.json"))?, weights })
    }

    /// The same for a folder that may have no weights at all: a network to be drawn. Weights in another form are an error.
    pub fn read_or_draw(folder: &Path) -> Result<Self> {
        let others = ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"];
        if folder.join("model.safetensors").exists() {
            return Self::read(folder);
        }
        if let Some(other) = others.iter().find(|other| folder.join(other).exists()) {
            anyhow::bail!("{} has {other}; save its weights as one model.safetensors", folder.display());
        }
        let (config, tokenizer) = (json(&folder.join("config.json"))?, json(&folder.join("tokenizer.json"))?);
        Ok(Self { config, tokenizer, weights: HashMap::new() })
    }

    /// Whether there are weights to start from.
    pub fn has_weights(&self) -> bool {
        !self.weights.is_empty()
    }

    pub fn network(&self, task: Task, outputs: usize, tuning: &Tuning) -> Result<Network> {
        for (key, known, default) in
            [("model_type", "bert", "bert"), ("hidden_act", "gelu", "gelu"), ("position_embedding_type", "absolute", "absolute")]
        {
            let found = self.config.get(key).and_then(Value::as_str).unwrap_or(default);
            ensure!(found == known, "config.json: {key} is {found:?}; only networks with {known:?} are trained here");
        }
        let shape = serde_json::from_value(self.config.clone()).context("config.json lacks what a BERT needs")?;
        Network::new(shape, task, outputs, &self.weights, tuning)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// All floating-point tensors as f32; int8 ones by their scales.
fn tensors(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut found = HashMap::new();
    for (name, view) in file.tensors() {
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_vec(floats(view.data()), view.shape(), &Device::Cpu)?,
            Dtype::F16 => Tensor::from_raw_buffer(view.data(), DType::F16, view.shape(), &Device::Cpu)?.to_dtype(DType::F32)?,
            Dtype::I8 => {
                let scales = file.tensor(&format!("{name}.scale")).with_context(|| format!("{name} has no scales"))?;
                let quantised: Vec<i8> = view.data().iter().map(|b| *b as i8).collect();
                Tensor::from_vec(rows_from_int8(&quantised, &floats(scales.data())), view.shape(), &Device::Cpu)?
            }
            _ => continue,
        };
        found.insert(name, tensor);
    }
    found.retain(|name, _| !name.ends_with(".scale"));
    Ok(found)
}
