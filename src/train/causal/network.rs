//! A network of Llama's layout whose every step has a gradient: RMS norms, rotary positions, grouped heads, gated feed-forward parts.

use super::adapter::Adapter;
use super::attention::Angles;
use super::given::given;
use super::pass::{self, Workspace};
use crate::inference::causal::{Activation, Biases, Family, NormKind, Positions, Rotary, Spec};
use anyhow::{Context, Result, ensure};
use candle_core::{Tensor, Var};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// No target: nothing is guessed after this token.
pub const IGNORED: u32 = u32::MAX;

/// Texts one behind the other, and what is to be guessed after each token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub ids: Vec<u32>,
    /// Tokens of each text.
    pub lengths: Vec<usize>,
    /// The token that follows each, or [`IGNORED`].
    pub targets: Vec<u32>,
}

impl Batch {
    /// Tokens that are guessed.
    pub(super) fn guessed(&self) -> Result<usize> {
        let count = self.targets.iter().filter(|target| **target != IGNORED).count();
        ensure!(count > 0, "there is nothing to guess in this batch");
        Ok(count)
    }
}

/// Parts of what goes through the network are left out while it learns.
#[derive(Debug, Clone, Copy)]
pub struct DropOut {
    pub share: f32,
    /// Which parts, that is.
    pub seed: u64,
}

/// Parameters under names of their own (see `names`). Matrices are held as `[in, out]`; queries, keys and values are joined, and so are gate and up.
pub struct Network {
    pub spec: Spec,
    /// What is trained.
    pub parameters: BTreeMap<String, Var>,
    /// What stays as it is.
    pub(super) fixed: BTreeMap<String, Tensor>,
    pub(super) adapters: Vec<Adapter>,
    pub(super) angles: Angles,
    /// Buffers, each of a thread at a time.
    spaces: Mutex<Vec<Workspace>>,
}

impl Network {
    /// From all its tensors; a network with `adapters` trains those alone. Texts have at most `positions` tokens.
    pub(super) fn new(spec: Spec, tensors: BTreeMap<String, Tensor>, positions: usize) -> Result<Self> {
        supported(&spec)?;
        let most = spec.max_positions;
        ensure!((2..=most).contains(&positions), "texts of {positions} tokens; this network has 2 to {most} positions");
        let Positions::Rotary(rotary) = &spec.positions else { anyhow::bail!("the network has no rotary positions") };
        let frequencies = rotary.first().context("the network has no rotary setting")?.frequencies();
        let angles = Angles::new(positions, &frequencies);
        let var = |(name, tensor): (String, Tensor)| Ok((name, Var::from_tensor(&tensor)?));
        let parameters = tensors.into_iter().map(var).collect::<Result<_>>()?;
        Ok(Self { spec, parameters, fixed: BTreeMap::new(), adapters: Vec::new(), angles, spaces: Mutex::default() })
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

    /// Adds to a fingerprint what the network is now.
    pub(super) fn mark(&self, digest: &mut Sha256) -> Result<()> {
        digest.update(format!("{:?} {} {:?}", self.spec, self.positions(), self.adapters));
        let trained = self.parameters.iter().map(|(name, var)| (name, var.as_tensor()));
        for (name, tensor) in trained.chain(&self.fixed) {
            digest.update(format!("{name} {:?}", tensor.dims()));
            tensor.flatten_all()?.to_vec1::<f32>()?.iter().for_each(|value| digest.update(value.to_le_bytes()));
        }
        Ok(())
    }

    /// What `call` makes of buffers that are used again.
    fn within<T>(&self, call: impl FnOnce(&mut Workspace) -> T) -> T {
        let spaces = || self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = spaces().pop().unwrap_or_default();
        let out = call(&mut space);
        spaces().push(space);
        out
    }

    /// Logits `[tokens, vocabulary]` of whole texts.
    pub fn logits(&self, ids: &[u32], lengths: &[usize]) -> Result<Vec<f32>> {
        let batch = Batch { ids: ids.to_vec(), lengths: lengths.to_vec(), targets: vec![IGNORED; ids.len()] };
        self.check(&batch)?;
        self.within(|space| pass::logits(self, &batch, space))
    }

    /// The mean loss over the targets of a batch, in nats.
    pub fn measured(&self, batch: &Batch) -> Result<f64> {
        self.check(batch)?;
        self.within(|space| pass::loss(self, batch, space))
    }

    /// The same as a number with a gradient for all that is trained. Logits are made of those rows alone that have a target.
    pub fn loss(&self, batch: &Batch, drop: Option<DropOut>) -> Result<Tensor> {
        self.check(batch)?;
        let drop = drop.filter(|drop| drop.share > 0.0);
        let (loss, gradients) = self.within(|space| pass::gradients(self, batch, drop, space))?;
        given(loss, &self.parameters, gradients)
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        let (vocabulary, rows, most) = (self.spec.vocabulary, batch.ids.len(), self.positions());
        if let Some(id) = batch.ids.iter().find(|id| **id as usize >= vocabulary) {
            anyhow::bail!("token id {id}; this network has ids below {vocabulary}");
        }
        if let Some(id) = batch.targets.iter().find(|id| **id != IGNORED && **id as usize >= vocabulary) {
            anyhow::bail!("token id {id} to be guessed; this network has ids below {vocabulary}");
        }
        ensure!(rows > 0 && !batch.lengths.contains(&0), "a text without tokens");
        let (targets, tokens) = (batch.targets.len(), batch.lengths.iter().sum::<usize>());
        ensure!(rows == targets && rows == tokens, "{targets} targets and texts of {tokens} tokens for {rows} tokens");
        if let Some(longest) = batch.lengths.iter().find(|len| **len > most) {
            anyhow::bail!("a text of {longest} tokens; this network is trained on texts of up to {most}");
        }
        Ok(())
    }
}

/// Refuses what the layers here do not compute.
pub(super) fn supported(spec: &Spec) -> Result<()> {
    let alike = |rotary: &Rotary| rotary.attention_factor() == 1.0 && rotary.limit().is_none();
    let rotary = matches!(&spec.positions, Positions::Rotary(settings) if settings.len() == 1 && settings.iter().all(alike));
    ensure!(rotary, "networks with scaled rotary positions, or with several kinds of them, run here and are not trained");
    let layers = spec.layers.iter().all(|layer| layer.window.is_none() && layer.divisor == 1);
    let plain = (spec.norm, spec.activation, spec.gated) == (NormKind::Rms, Activation::Silu, true);
    ensure!(
        spec.family == Family::Llama && layers && plain && spec.biases == Biases::default(),
        "networks of Llama's layout without biases are trained here (SmolLM2, TinyLlama, what `train generate` itself writes); \
         this one is {:?} with {:?}",
        spec.family,
        spec.biases
    );
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
