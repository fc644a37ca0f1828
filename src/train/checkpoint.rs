//! A model folder: config.json, tokenizer.json, model.safetensors (f32, f16, bf16 or int8 per row).

use super::network::{Network, Tuning};
use super::quantise::rows_from_int8;
use super::task::Task;
use anyhow::{Context, Result, bail, ensure};
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
        // Nothing may be taken for a network that is to be drawn but a folder without the file.
        ensure!(!weights.is_empty(), "{} has no tensors of weights", path.display());
        Ok(Self { config: json(&folder.join("config.json"))?, tokenizer: json(&folder.join("tokenizer.json"))?, weights })
    }

    /// The same for a folder that may have no weights at all: a network to be drawn. Weights in another form are an error.
    pub fn read_or_draw(folder: &Path) -> Result<Self> {
        let others = ["model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5"];
        if folder.join("model.safetensors").exists() {
            return Self::read(folder);
        }
        if let Some(other) = others.iter().find(|other| folder.join(other).exists()) {
            bail!("{} has {other}; save its weights as one model.safetensors", folder.display());
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

/// All floating-point tensors as f32; int8 ones by their scales. Tables of whole numbers, such as positions, are no weights.
fn tensors(bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut found = HashMap::new();
    for (name, view) in file.tensors() {
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_vec(floats(view.data()), view.shape(), &Device::Cpu)?,
            Dtype::F16 => Tensor::from_raw_buffer(view.data(), DType::F16, view.shape(), &Device::Cpu)?.to_dtype(DType::F32)?,
            Dtype::BF16 => Tensor::from_raw_buffer(view.data(), DType::BF16, view.shape(), &Device::Cpu)?.to_dtype(DType::F32)?,
            Dtype::I8 => {
                let scales = file.tensor(&format!("{name}.scale")).with_context(|| format!("{name} has no scales"))?;
                ensure!(scales.dtype() == Dtype::F32, "{name}.scale is {:?}, not F32", scales.dtype());
                let quantised: Vec<i8> = view.data().iter().map(|b| *b as i8).collect();
                Tensor::from_vec(rows_from_int8(&quantised, &floats(scales.data())), view.shape(), &Device::Cpu)?
            }
            Dtype::BOOL | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64 => continue,
            other => bail!("{name} is {other:?}; save the weights as F32, F16 or BF16"),
        };
        found.insert(name, tensor);
    }
    found.retain(|name, _| !name.ends_with(".scale"));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn folder_of(tensors: &[(&str, Dtype, usize, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json"] {
            std::fs::write(folder.path().join(file), "{\"model_type\": \"bert\"}").unwrap();
        }
        let views = tensors.iter().map(|(name, dtype, n, data)| (*name, TensorView::new(*dtype, vec![*n], data).unwrap()));
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
        folder
    }

    /// Would catch: weights of a form that is not known taken for none at all, so that the network is drawn in silence.
    #[test]
    fn weights_of_every_form_are_read_or_refused_by_name() {
        let halves: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        let places = 7u64.to_le_bytes();
        let folder = folder_of(&[("a.bias", Dtype::BF16, 2, &halves), ("position_ids", Dtype::I64, 1, &places)]);
        let read = Folder::read_or_draw(folder.path()).unwrap();
        assert!(read.has_weights() && read.weights.len() == 1);
        assert_eq!(read.weights["a.bias"].to_vec1::<f32>().unwrap(), [1.0, -2.5]);
        let refused = |tensors: &[(&str, Dtype, usize, &[u8])]| {
            format!("{:#}", Folder::read_or_draw(folder_of(tensors).path()).err().unwrap())
        };
        let double = refused(&[("a.bias", Dtype::F64, 1, &1.0f64.to_le_bytes())]);
        assert!(double.contains("a.bias is F64") && double.contains("model.safetensors"), "{double}");
        assert!(refused(&[("position_ids", Dtype::I64, 1, &places)]).contains("no tensors of weights"));
        let scaled = refused(&[("b", Dtype::I8, 2, &[1, 2]), ("b.scale", Dtype::F16, 1, &[0, 60])]);
        assert!(scaled.contains("b.scale is F16"), "{scaled}");
    }
}
