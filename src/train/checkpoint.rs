//! A model folder: config.json, tokenizer.json, model.safetensors (f32, f16 or int8 per row).

use super::batches::{Example, batches};
use super::network::Network;
use super::quantise::rows_from_int8;
use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
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

    pub fn network(&self, labels: usize, seed: u64) -> Result<Network> {
        let shape = serde_json::from_value(self.config.clone()).context("config.json lacks what a BERT needs")?;
        Network::new(shape, labels, &self.weights, seed)
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

/// Share of `examples` whose highest logit is their label; both cores work.
pub fn accuracy(network: &Network, examples: &[Example]) -> Result<f64> {
    let work = batches(examples, 32, 0);
    let right = |part: &[Vec<usize>]| -> Result<usize> {
        let mut right = 0;
        for batch in part {
            let ids: Vec<u32> = batch.iter().flat_map(|&i| examples[i].ids.iter().copied()).collect();
            let best = network.logits(&ids, batch.len())?.argmax(D::Minus1)?.to_vec1::<u32>()?;
            right += batch.iter().zip(best).filter(|(i, best)| examples[**i].label == *best).count();
        }
        Ok(right)
    };
    let (first, second) = work.split_at(work.len() / 2);
    let right = std::thread::scope(|scope| -> Result<usize> {
        let other = scope.spawn(|| right(second));
        Ok(right(first)? + other.join().map_err(|_| anyhow::anyhow!("a scoring thread panicked"))??)
    })?;
    Ok(right as f64 / examples.len().max(1) as f64)
}
