//! candle's own networks on the same files, as candle-transformers has them: what ours are measured beside. Nothing else runs on them.

use super::InferenceError;
use super::weights::Weights;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, llama};
use safetensors::Dtype;
use std::collections::HashMap;
use std::path::Path;

/// A network of candle's.
pub enum Stock {
    Bert(Box<bert::BertModel>),
    Llama(Box<llama::Llama>, Box<llama::Config>),
}

impl Stock {
    /// `None` where candle is not compared: of a folder that is neither BERT nor Llama.
    pub fn open(folder: &Path) -> Result<Option<Self>, InferenceError> {
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(|e| InferenceError::Read { path, cause: e.to_string() })
        };
        let config = read("config.json")?;
        let malformed =
            |e: serde_json::Error| InferenceError::Malformed { path: folder.join("config.json"), cause: e.to_string() };
        let family: serde_json::Value = serde_json::from_slice(&config).map_err(malformed)?;
        let weights = || match widened(folder)? {
            Some(tensors) => Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)),
            None => VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu).map_err(failed),
        };
        match family["model_type"].as_str() {
            Some("bert") => {
                let config: bert::Config = serde_json::from_slice(&config).map_err(malformed)?;
                Ok(Some(Self::Bert(Box::new(bert::BertModel::load(weights()?, &config).map_err(failed)?))))
            }
            Some("llama") => {
                let config: llama::LlamaConfig = serde_json::from_slice(&config).map_err(malformed)?;
                let config = config.into_config(false);
                let model = llama::Llama::load(weights()?, &config).map_err(failed)?;
                Ok(Some(Self::Llama(Box::new(model), Box::new(config))))
            }
            _ => Ok(None),
        }
    }

    /// Runs texts through an encoder, padded to the longest.
    pub fn encode(&self, batch: &[&[u32]]) -> Result<(), InferenceError> {
        self.run(batch).map(drop)
    }

    /// The vectors that it gives, `[texts, longest, hidden]`.
    pub fn vectors(&self, batch: &[&[u32]]) -> Result<Vec<f32>, InferenceError> {
        self.run(batch)?.flatten_all().and_then(|all| all.to_vec1()).map_err(failed)
    }

    fn run(&self, batch: &[&[u32]]) -> Result<Tensor, InferenceError> {
        let Self::Bert(model) = self else { return Err(not_so()) };
        let width = batch.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let padded = |of: fn(u32) -> u32| {
            let place = |ids: &&[u32]| (0..width).map(|i| ids.get(i).map_or(0, |id| of(*id))).collect::<Vec<u32>>();
            let flat: Vec<u32> = batch.iter().flat_map(place).collect();
            Tensor::from_vec(flat, (batch.len(), width), &Device::Cpu)
        };
        let run = || model.forward(&padded(|id| id)?, &padded(|_| 0)?, Some(&padded(|_| 1)?));
        run().map_err(failed)
    }

    /// Goes on with a prompt, always with the likeliest token, for `new` tokens.
    pub fn write(&self, prompt: &[u32], new: usize) -> Result<Vec<u32>, InferenceError> {
        let Self::Llama(model, config) = self else { return Err(not_so()) };
        let run = || {
            let mut cache = llama::Cache::new(true, DType::F32, config, &Device::Cpu)?;
            let (mut fed, mut position, mut written) = (prompt.to_vec(), 0, Vec::with_capacity(new));
            while written.len() < new {
                let ids = Tensor::new(fed.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
                let logits = model.forward(&ids, position, &mut cache)?.flatten_all()?;
                position += fed.len();
                let id = logits.argmax(0)?.to_scalar::<u32>()?;
                written.push(id);
                fed = vec![id];
            }
            Ok(written)
        };
        run().map_err(failed)
    }
}

/// The tensors of a folder that has some as I8, as F32, since candle does not read those; `None` for one that it reads itself.
fn widened(folder: &Path) -> Result<Option<HashMap<String, Tensor>>, InferenceError> {
    let weights = Weights::open(folder, None)?;
    let tensors = weights.tensors()?;
    // All of them, as nothing is read yet.
    let names = tensors.unread();
    let small = |name: &str| tensors.kind(name).is_ok_and(|kind| kind == Dtype::I8);
    if !names.iter().any(|name| small(name)) {
        return Ok(None);
    }
    let scale = |name: &String| name.strip_suffix(".scale").is_some_and(small);
    let one = |name: String| {
        let shape = tensors.shape(&name)?;
        let numbers = tensors.f32(&name, &shape)?;
        Ok((name, Tensor::from_vec(numbers, shape, &Device::Cpu).map_err(failed)?))
    };
    names.into_iter().filter(|name| !scale(name)).map(one).collect::<Result<_, _>>().map(Some)
}

fn failed(error: candle_core::Error) -> InferenceError {
    InferenceError::Poison(format!("candle: {error}"))
}

fn not_so() -> InferenceError {
    InferenceError::Poison("candle's network of this folder is of the other kind".to_owned())
}
