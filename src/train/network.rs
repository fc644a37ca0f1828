//! A BERT sequence classifier whose every step has a gradient. All texts of a batch have the same length: no mask.

use super::ops::{gelu, layer_norm, linear, softmax};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::StdRng};
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
}

/// Parameters under their HF names. Matrices are held as [in, out]: transposed on the way in and on the way out.
pub struct Network {
    pub shape: Shape,
    pub labels: usize,
    pub parameters: BTreeMap<String, Var>,
    /// Word, position and type tables: not trained.
    pub tables: BTreeMap<String, Tensor>,
}

const TABLES: [&str; 3] = ["word_embeddings", "position_embeddings", "token_type_embeddings"];

fn is_matrix(name: &str) -> bool {
    name.ends_with(".weight") && !name.contains("LayerNorm")
}

impl Network {
    /// From an encoder's tensors (HF names, with or without `bert.`); a head that is missing is drawn with `seed`.
    pub fn new(shape: Shape, labels: usize, weights: &HashMap<String, Tensor>, seed: u64) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let (h, wide) = (shape.hidden_size, shape.intermediate_size);
        let find = |name: &str| weights.get(name).or_else(|| weights.get(name.strip_prefix("bert.")?));
        let mut parameters = BTreeMap::new();
        let mut add = |name: String, dims: &[usize], may_draw: bool| -> Result<()> {
            let tensor = match find(&name) {
                Some(found) => {
                    let found = found.to_dtype(DType::F32)?;
                    if is_matrix(&name) { found.t()?.contiguous()? } else { found }
                }
                None if may_draw && is_matrix(&name) => {
                    let values: Vec<f32> = (0..dims.iter().product()).map(|_| draw(&mut rng) * 0.02).collect();
                    Tensor::from_vec(values, dims, &Device::Cpu)?
                }
                None if may_draw => Tensor::zeros(dims, DType::F32, &Device::Cpu)?,
                None => anyhow::bail!("the base model has no tensor {name}"),
            };
            ensure!(tensor.dims() == dims, "{name} is {:?}, expected {dims:?}", tensor.dims());
            parameters.insert(name, Var::from_tensor(&tensor)?);
            Ok(())
        };
        let mut norm = vec!["bert.embeddings.LayerNorm".to_string()];
        for n in 0..shape.num_hidden_layers {
            let layer = format!("bert.encoder.layer.{n}");
            for (part, dims) in [
                ("attention.self.query", [h, h]),
                ("attention.self.key", [h, h]),
                ("attention.self.value", [h, h]),
                ("attention.output.dense", [h, h]),
                ("intermediate.dense", [h, wide]),
                ("output.dense", [wide, h]),
            ] {
                add(format!("{layer}.{part}.weight"), &dims, false)?;
                add(format!("{layer}.{part}.bias"), &dims[1..], false)?;
            }
            norm.extend([format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]);
        }
        for name in norm {
            add(format!("{name}.weight"), &[h], false)?;
            add(format!("{name}.bias"), &[h], false)?;
        }
        add("bert.pooler.dense.weight".into(), &[h, h], true)?;
        add("bert.pooler.dense.bias".into(), &[h], true)?;
        add("classifier.weight".into(), &[h, labels], true)?;
        add("classifier.bias".into(), &[labels], true)?;
        let mut tables = BTreeMap::new();
        for table in TABLES {
            let name = format!("bert.embeddings.{table}.weight");
            let tensor = find(&name).with_context(|| format!("the base model has no tensor {name}"))?;
            tables.insert(name, tensor.to_dtype(DType::F32)?);
        }
        Ok(Self { shape, labels, parameters, tables })
    }

    fn p(&self, name: &str) -> Result<&Tensor> {
        Ok(self.parameters.get(name).with_context(|| format!("no parameter {name}"))?.as_tensor())
    }

    fn dense(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        Ok(linear(x, self.p(&format!("{name}.weight"))?, self.p(&format!("{name}.bias"))?)?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let eps = self.shape.layer_norm_eps;
        Ok(layer_norm(x, self.p(&format!("{name}.weight"))?, self.p(&format!("{name}.bias"))?, eps)?)
    }

    /// Logits [texts, labels] for `texts` token lists of one length, laid end to end.
    pub fn logits(&self, ids: &[u32], texts: usize) -> Result<Tensor> {
        let (h, length) = (self.shape.hidden_size, ids.len() / texts.max(1));
        ensure!(texts > 0 && length > 0 && ids.len() == texts * length, "a batch needs texts of one length");
        let table = |name: &str| &self.tables[&format!("bert.embeddings.{name}.weight")];
        let words = table("word_embeddings").index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?.reshape((texts, length, h))?;
        let rest =
            table("position_embeddings").narrow(0, 0, length)?.broadcast_add(&table("token_type_embeddings").narrow(0, 0, 1)?)?;
        let mut x = self.norm(&words.broadcast_add(&rest)?.reshape((texts * length, h))?, "bert.embeddings.LayerNorm")?;
        let mut kept = length;
        for n in 0..self.shape.num_hidden_layers {
            // Of the last layer only the first token is read.
            kept = if n + 1 == self.shape.num_hidden_layers { 1 } else { length };
            x = self.layer(&x, n, texts, length, kept)?;
        }
        let first = x.reshape((texts, kept, h))?.narrow(1, 0, 1)?.contiguous()?.reshape((texts, h))?;
        self.dense(&self.dense(&first, "bert.pooler.dense")?.tanh()?, "classifier")
    }

    fn layer(&self, x: &Tensor, n: usize, texts: usize, length: usize, kept: usize) -> Result<Tensor> {
        let (h, heads) = (self.shape.hidden_size, self.shape.num_attention_heads);
        let layer = format!("bert.encoder.layer.{n}");
        let own = match kept == length {
            true => x.clone(),
            false => x.reshape((texts, length, h))?.narrow(1, 0, kept)?.contiguous()?.reshape((texts * kept, h))?,
        };
        let split = |x: Tensor, rows: usize| -> Result<Tensor> {
            Ok(x.reshape((texts, rows, heads, h / heads))?.transpose(1, 2)?.contiguous()?)
        };
        let query = split(self.dense(&own, &format!("{layer}.attention.self.query"))?, kept)?;
        let key = split(self.dense(x, &format!("{layer}.attention.self.key"))?, length)?;
        let value = split(self.dense(x, &format!("{layer}.attention.self.value"))?, length)?;
        let weights = softmax(&query.matmul(&key.t()?)?, 1.0 / ((h / heads) as f64).sqrt())?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((texts * kept, h))?;
        let attended = self.dense(&mixed, &format!("{layer}.attention.output.dense"))?;
        let attended = self.norm(&(attended + own)?, &format!("{layer}.attention.output.LayerNorm"))?;
        let wide = gelu(&self.dense(&attended, &format!("{layer}.intermediate.dense"))?)?;
        let out = self.dense(&wide, &format!("{layer}.output.dense"))?;
        self.norm(&(out + attended)?, &format!("{layer}.output.LayerNorm"))
    }

    /// Every tensor under its HF name and in HF's orientation.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.tables.clone();
        for (name, var) in &self.parameters {
            let tensor = if is_matrix(name) { var.t()?.contiguous()? } else { var.as_tensor().clone() };
            state.insert(name.clone(), tensor.detach());
        }
        Ok(state)
    }
}

/// A standard normal value (Box and Muller).
fn draw(rng: &mut StdRng) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tiny() -> Network {
        let shape = Shape {
            hidden_size: 8,
            num_attention_heads: 2,
            num_hidden_layers: 2,
            intermediate_size: 16,
            layer_norm_eps: 1e-12,
            max_position_embeddings: 16,
        };
        let mut rng = StdRng::seed_from_u64(7);
        let mut weights = HashMap::new();
        let mut put = |name: String, dims: &[usize]| {
            let values: Vec<f32> = (0..dims.iter().product()).map(|_| draw(&mut rng) * 0.4).collect();
            weights.insert(name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
        };
        for (table, rows) in TABLES.into_iter().zip([20, 16, 2]) {
            put(format!("embeddings.{table}.weight"), &[rows, 8]);
        }
        put("embeddings.LayerNorm.weight".into(), &[8]);
        put("embeddings.LayerNorm.bias".into(), &[8]);
        for n in 0..2 {
            for (part, dims) in [
                ("attention.self.query", [8, 8]),
                ("attention.self.key", [8, 8]),
                ("attention.self.value", [8, 8]),
                ("attention.output.dense", [8, 8]),
                ("intermediate.dense", [16, 8]),
                ("output.dense", [8, 16]),
            ] {
                put(format!("encoder.layer.{n}.{part}.weight"), &dims);
                put(format!("encoder.layer.{n}.{part}.bias"), &dims[..1]);
            }
            for part in ["attention.output", "output"] {
                put(format!("encoder.layer.{n}.{part}.LayerNorm.weight"), &[8]);
                put(format!("encoder.layer.{n}.{part}.LayerNorm.bias"), &[8]);
            }
        }
        Network::new(shape, 2, &weights, 3).unwrap()
    }

    #[test]
    fn a_gradient_reaches_every_parameter() {
        let network = tiny();
        let logits = network.logits(&[1, 5, 9, 2, 1, 7, 3, 2], 2).unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &Tensor::new(&[0u32, 1], &Device::Cpu).unwrap()).unwrap();
        let gradients = loss.backward().unwrap();
        for (name, var) in &network.parameters {
            let gradient = gradients.get(var).unwrap_or_else(|| panic!("no gradient for {name}"));
            let size = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            // Softmax ignores a constant added to all keys' scores: the key's bias has a gradient of zero by nature.
            assert!(size > 0.0 || name.ends_with("key.bias"), "{name} has a zero gradient");
        }
    }

    #[test]
    fn logits_equal_those_of_candles_own_bert() {
        use candle_transformers::models::bert::{BertModel, Config};
        let network = tiny();
        let state: HashMap<String, Tensor> = network.state().unwrap().into_iter().collect();
        let config: Config = serde_json::from_value(serde_json::json!({
            "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "max_position_embeddings": 16, "type_vocab_size": 2,
            "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
            "use_cache": false, "classifier_dropout": null, "model_type": "bert"
        }))
        .unwrap();
        let dense = |x: &Tensor, name: &str| {
            let product = x.matmul(&state[&format!("{name}.weight")].t().unwrap()).unwrap();
            product.broadcast_add(&state[&format!("{name}.bias")]).unwrap()
        };
        let bert =
            BertModel::load(candle_nn::VarBuilder::from_tensors(state.clone(), DType::F32, &Device::Cpu), &config).unwrap();
        let ids = [1u32, 5, 9, 2, 1, 7, 3, 2];
        let batch = Tensor::from_slice(&ids, (2, 4), &Device::Cpu).unwrap();
        let hidden = bert.forward(&batch, &batch.zeros_like().unwrap(), None).unwrap();
        let first = hidden.narrow(1, 0, 1).unwrap().squeeze(1).unwrap().contiguous().unwrap();
        let want = dense(&dense(&first, "bert.pooler.dense").tanh().unwrap(), "classifier");
        let apart = (network.logits(&ids, 2).unwrap() - want).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-5, "{apart}");
    }
}
