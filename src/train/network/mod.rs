//! A BERT network with a head, whose every step has a gradient.

mod forward;
#[cfg(test)]
pub(crate) mod tests;

pub use forward::Pass;

use super::task::Task;
use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// The keys of BERT's config.json that the network needs; everything else is kept as it was.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Shape {
    pub hidden_size: usize,
    pub num_attention_heads: usize,
    pub num_hidden_layers: usize,
    pub intermediate_size: usize,
    pub layer_norm_eps: f64,
    pub max_position_embeddings: usize,
    #[serde(default = "bert_words")]
    pub vocab_size: usize,
    #[serde(default = "two")]
    pub type_vocab_size: usize,
}

fn bert_words() -> usize {
    30_522
}

fn two() -> usize {
    2
}

/// What of a network is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// The last so many layers and the head, and nothing else.
    pub layers: Option<usize>,
    /// Word, position and type tables too.
    pub tables: bool,
    /// Share of values that each pass leaves out.
    pub dropout: f32,
    /// Of what is drawn.
    pub seed: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { layers: None, tables: false, dropout: 0.0, seed: 42 }
    }
}

/// Tensors under their HF names. Matrices are held as [in, out]: transposed on the way in and on the way out.
pub struct Network {
    pub shape: Shape,
    pub task: Task,
    /// Numbers that the head gives for a text or a token.
    pub outputs: usize,
    pub dropout: f32,
    /// What is trained.
    pub parameters: BTreeMap<String, Var>,
    /// What stays as it is.
    pub frozen: BTreeMap<String, Tensor>,
}

fn is_table(name: &str) -> bool {
    name.ends_with("_embeddings.weight")
}

fn is_matrix(name: &str) -> bool {
    name.ends_with(".weight") && !name.contains("LayerNorm") && !is_table(name)
}

/// Every tensor of the network with its dimensions, matrices as [in, out]. In the order in which they are drawn.
fn tensors(shape: &Shape, task: Task, outputs: usize) -> Vec<(String, Vec<usize>)> {
    let (h, wide) = (shape.hidden_size, shape.intermediate_size);
    let mut all = Vec::new();
    let mut linear = |name: String, inputs: usize, outputs: usize| {
        all.push((format!("{name}.weight"), vec![inputs, outputs]));
        all.push((format!("{name}.bias"), vec![outputs]));
    };
    let mut norms = vec!["bert.embeddings.LayerNorm".to_owned()];
    for n in 0..shape.num_hidden_layers {
        let layer = format!("bert.encoder.layer.{n}");
        for (part, inputs, outputs) in [
            ("attention.self.query", h, h),
            ("attention.self.key", h, h),
            ("attention.self.value", h, h),
            ("attention.output.dense", h, h),
            ("intermediate.dense", h, wide),
            ("output.dense", wide, h),
        ] {
            linear(format!("{layer}.{part}"), inputs, outputs);
        }
        norms.extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
    }
    if task.is_pooled() {
        linear("bert.pooler.dense".to_owned(), h, h);
    }
    if outputs > 0 {
        linear(task.out().to_owned(), h, outputs);
    }
    all.extend(norms.iter().flat_map(|name| [format!("{name}.weight"), format!("{name}.bias")]).map(|name| (name, vec![h])));
    for (table, rows) in
        [("word", shape.vocab_size), ("position", shape.max_position_embeddings), ("token_type", shape.type_vocab_size)]
    {
        all.push((format!("bert.embeddings.{table}_embeddings.weight"), vec![rows, h]));
    }
    all
}

impl Network {
    /// From an encoder's tensors (HF names, with or without `bert.`). Without outputs there is no head. A head that is missing, or is of another size, is drawn; without
    /// any tensors all of the network is.
    pub fn new(shape: Shape, task: Task, outputs: usize, weights: &HashMap<String, Tensor>, tuning: &Tuning) -> Result<Self> {
        let layers = shape.num_hidden_layers;
        ensure!(
            shape.num_attention_heads > 0 && shape.hidden_size.is_multiple_of(shape.num_attention_heads),
            "hidden_size {} is no multiple of num_attention_heads {}",
            shape.hidden_size,
            shape.num_attention_heads
        );
        if let Some(tuned) = tuning.layers {
            ensure!((1..=layers).contains(&tuned), "of {layers} layers the last 1 to {layers} can be tuned, not {tuned}");
        }
        let mut rng = StdRng::seed_from_u64(tuning.seed);
        let find = |name: &str| weights.get(name).or_else(|| weights.get(name.strip_prefix("bert.")?));
        let (mut parameters, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for (name, dims) in tensors(&shape, task, outputs) {
            let of_head = name.starts_with("bert.pooler") || name.starts_with(task.out());
            let found = match find(&name) {
                Some(found) if is_matrix(&name) => Some(found.to_dtype(DType::F32)?.t()?.contiguous()?),
                Some(found) => Some(found.to_dtype(DType::F32)?),
                None => None,
            };
            let tensor = match found {
                Some(found) if found.dims() == dims => found,
                Some(found) if !of_head => anyhow::bail!("{name} is {:?}, expected {dims:?}", found.dims()),
                None if !of_head && !weights.is_empty() => anyhow::bail!("the base model has no tensor {name}"),
                _ => drawn(&name, &dims, &mut rng)?,
            };
            if is_trained(&name, layers, tuning) {
                parameters.insert(name, Var::from_tensor(&tensor)?);
            } else {
                frozen.insert(name, tensor);
            }
        }
        Ok(Self { shape, task, outputs, dropout: tuning.dropout, parameters, frozen })
    }

    /// Adds to a fingerprint what the network is now.
    pub fn mark(&self, digest: &mut Sha256) -> Result<()> {
        let Self { shape, task, outputs, dropout, .. } = self;
        digest.update(format!("{shape:?} {task:?} {outputs} {dropout}"));
        for (name, tensor) in self.state()? {
            digest.update(format!("{name} {:?}", tensor.dims()));
            tensor.flatten_all()?.to_vec1::<f32>()?.iter().for_each(|value| digest.update(value.to_le_bytes()));
        }
        digest.update(format!("{:?}", self.parameters.keys()));
        Ok(())
    }

    /// Every tensor under its HF name and in HF's orientation.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let trained = self.parameters.iter().map(|(name, var)| (name, var.as_tensor()));
        let one = |(name, tensor): (&String, &Tensor)| {
            let tensor = if is_matrix(name) { tensor.t()?.contiguous()? } else { tensor.clone() };
            Ok((name.clone(), tensor.detach()))
        };
        trained.chain(&self.frozen).map(one).collect()
    }
}

fn is_trained(name: &str, layers: usize, tuning: &Tuning) -> bool {
    let layer = name.strip_prefix("bert.encoder.layer.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match (layer, tuning.layers) {
        (Some(layer), Some(tuned)) => layer + tuned >= layers,
        (None, Some(_)) if name.starts_with("bert.embeddings.") => false,
        _ if is_table(name) => tuning.tables,
        _ => true,
    }
}

/// As BERT begins: matrices and tables normal with a deviation of 0.02, norms 1, biases 0.
pub fn drawn(name: &str, dims: &[usize], rng: &mut StdRng) -> Result<Tensor> {
    let count: usize = dims.iter().product();
    let values: Vec<f32> = match name.ends_with(".weight") {
        true if name.contains("LayerNorm") => vec![1.0; count],
        true => (0..count).map(|_| draw(rng) * 0.02).collect(),
        false => vec![0.0; count],
    };
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// A standard normal value (Box and Muller).
fn draw(rng: &mut StdRng) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
