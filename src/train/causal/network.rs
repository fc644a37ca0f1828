//! A network of Llama's layout whose every step has a gradient: RMS norms, rotary positions, grouped heads, gated feed-forward parts.

use super::adapter::{Adapter, Part};
use super::attention::{Angles, Heads, attention};
use super::ops::{IGNORED, add_columns, cross_entropy, drop_out, frozen, gated, rms_norm};
use crate::inference::causal::{Activation, Biases, Family, NormKind, Positions, Spec};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Texts one behind the other, and what is to be guessed after each token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub ids: Vec<u32>,
    /// Tokens of each text.
    pub lengths: Vec<usize>,
    /// The token that follows each, or [`IGNORED`].
    pub targets: Vec<u32>,
}

/// Parts of what goes through the network are left out while it learns.
#[derive(Debug, Clone, Copy)]
pub struct DropOut {
    pub share: f32,
    /// Which parts, that is.
    pub seed: u64,
}

/// Parameters under names of their own (see [`super::names`]). Matrices are held as `[in, out]`; queries, keys and values are joined, and so are gate and up.
pub struct Network {
    pub spec: Spec,
    /// What is trained.
    pub parameters: BTreeMap<String, Var>,
    /// What stays as it is.
    pub(super) fixed: BTreeMap<String, Tensor>,
    pub(super) adapters: Vec<Adapter>,
    angles: Arc<Angles>,
}

impl Network {
    /// From all its tensors; a network with `adapters` trains those alone. Texts have at most `positions` tokens.
    pub(super) fn new(spec: Spec, tensors: BTreeMap<String, Tensor>, positions: usize) -> Result<Self> {
        supported(&spec)?;
        let most = spec.max_positions;
        ensure!((2..=most).contains(&positions), "texts of {positions} tokens; this network has 2 to {most} positions");
        let Positions::Rotary(rotary) = &spec.positions else { anyhow::bail!("the network has no rotary positions") };
        let frequencies = rotary.first().context("the network has no rotary setting")?.frequencies();
        let angles = Arc::new(Angles::new(positions, &frequencies));
        let var = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let parameters = tensors.into_iter().map(var).collect::<Result<_>>()?;
        Ok(Self { spec, parameters, fixed: BTreeMap::new(), adapters: Vec::new(), angles })
    }

    /// The longest text that it can be trained on, in tokens.
    pub fn positions(&self) -> usize {
        self.angles.positions()
    }

    /// Numbers in all its tensors, without those of adapters.
    pub fn numbers(&self) -> usize {
        super::names::all(&self.spec).iter().map(super::names::Named::numbers).sum()
    }

    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor> {
        let trained = self.parameters.get(name).map(|var| var.as_tensor());
        trained.or_else(|| self.fixed.get(name)).with_context(|| format!("the network has no tensor {name}"))
    }

    /// `x` times a matrix, with what its adapters add.
    fn product(&self, x: &Tensor, layer: usize, part: Part) -> Result<Tensor> {
        let name = part.name(layer);
        let mut out = match self.parameters.get(&name) {
            Some(weight) => x.matmul(weight)?,
            None => frozen(x, self.tensor(&name)?)?,
        };
        for adapter in self.adapters.iter().filter(|adapter| (adapter.layer, adapter.matrix.part()) == (layer, part)) {
            let (first, _) = adapter.matrix.columns(&self.spec);
            let narrow = x.matmul(self.tensor(&adapter.down())?)?;
            let more = narrow.matmul(self.tensor(&adapter.up())?)?.affine(adapter.scale, 0.0)?;
            out = add_columns(&out, &more, first)?;
        }
        Ok(out)
    }

    /// Hidden states `[tokens, hidden]` after the final norm.
    fn hidden(&self, batch: &Batch, drop: Option<DropOut>) -> Result<Tensor> {
        let spec = &self.spec;
        let heads = Heads { heads: spec.heads, kv_heads: spec.kv_heads, size: spec.head_size, scale: spec.scale };
        let lengths: Arc<[usize]> = batch.lengths.clone().into();
        let norm = |x: &Tensor, name: String| -> Result<Tensor> { Ok(rms_norm(x, self.tensor(&name)?, spec.epsilon)?) };
        let mut drawn = 0;
        let mut dropped = |x: Tensor| -> Result<Tensor> {
            drawn += 1;
            Ok(match drop {
                Some(DropOut { share, seed }) => drop_out(&x, share, mixed(seed, drawn))?,
                None => x,
            })
        };
        let ids = Tensor::from_slice(&batch.ids, batch.ids.len(), &Device::Cpu)?;
        let mut x = dropped(self.tensor("embed.weight")?.index_select(&ids, 0)?)?;
        for layer in 0..spec.layers.len() {
            let normed = norm(&x, format!("layers.{layer}.attention.gain"))?;
            let mixed = attention(&self.product(&normed, layer, Part::Qkv)?, heads, &self.angles, &lengths)?;
            x = (x + dropped(self.product(&mixed, layer, Part::Out)?)?)?;
            let normed = norm(&x, format!("layers.{layer}.feed.gain"))?;
            let wide = gated(&self.product(&normed, layer, Part::GateUp)?)?;
            x = (x + dropped(self.product(&wide, layer, Part::Down)?)?)?;
        }
        norm(&x, "norm.gain".into())
    }

    fn head(&self, hidden: &Tensor) -> Result<Tensor> {
        let name = if self.spec.tied { "embed.weight" } else { "head.weight" };
        let table = self.tensor(name)?.t()?;
        Ok(if self.parameters.contains_key(name) { hidden.matmul(&table)? } else { frozen(hidden, &table)? })
    }

    /// The same network, of which nothing is trained: its answers hold no way back, and so take less memory.
    pub fn detached(&self) -> Self {
        let fixed = self.parameters.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor()));
        Self {
            spec: self.spec.clone(),
            parameters: BTreeMap::new(),
            fixed: self.fixed.clone().into_iter().chain(fixed).collect(),
            adapters: self.adapters.clone(),
            angles: Arc::clone(&self.angles),
        }
    }

    /// Logits `[tokens, vocabulary]` of whole texts.
    pub fn logits(&self, ids: &[u32], lengths: &[usize]) -> Result<Tensor> {
        let batch = Batch { ids: ids.to_vec(), lengths: lengths.to_vec(), targets: Vec::new() };
        self.check(&batch)?;
        self.head(&self.hidden(&batch, None)?)
    }

    /// The mean loss over the targets of a batch, in nats. Logits are made of those rows alone that have one.
    pub fn loss(&self, batch: &Batch, drop: Option<DropOut>) -> Result<Tensor> {
        self.check(batch)?;
        ensure!(batch.targets.len() == batch.ids.len(), "{} targets for {} tokens", batch.targets.len(), batch.ids.len());
        let hidden = self.hidden(batch, drop)?;
        let guessed = batch.targets.iter().zip(0u32..).filter(|(target, _)| **target != IGNORED);
        let (targets, rows): (Vec<u32>, Vec<u32>) = guessed.unzip();
        ensure!(!targets.is_empty(), "there is nothing to guess in this batch");
        let hidden = match rows.len() == batch.ids.len() {
            true => hidden,
            false => hidden.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?,
        };
        Ok(cross_entropy(&self.head(&hidden)?, targets)?)
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        let vocabulary = self.spec.vocabulary;
        if let Some(id) = batch.ids.iter().find(|id| **id as usize >= vocabulary) {
            anyhow::bail!("token id {id}; this network has ids below {vocabulary}");
        }
        ensure!(!batch.ids.is_empty() && !batch.lengths.contains(&0), "a text without tokens");
        Ok(())
    }
}

/// A seed for the `count`th place of a network.
fn mixed(seed: u64, count: u64) -> u32 {
    let turned = (seed ^ count.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (turned >> 32) as u32
}

/// Refuses what the layers here do not compute.
pub(super) fn supported(spec: &Spec) -> Result<()> {
    let rotary = matches!(&spec.positions, Positions::Rotary(settings) if settings.len() == 1);
    let layers = spec.layers.iter().all(|layer| layer.window.is_none() && layer.divisor == 1);
    let plain = (spec.norm, spec.activation, spec.gated) == (NormKind::Rms, Activation::Silu, true);
    ensure!(
        spec.family == Family::Llama && rotary && layers && plain && spec.biases == Biases::default(),
        "networks of Llama's layout without biases are trained here (SmolLM2, TinyLlama, what `train generate` itself writes); \
         this one is {:?} with {:?}",
        spec.family,
        spec.biases
    );
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
