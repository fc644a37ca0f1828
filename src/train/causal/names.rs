//! The tensors of a network, what they are called in a folder, and how they begin.
//!
//! Inside, names say what the optimiser does: what ends in `.weight` is a matrix and is decayed, what ends in `.gain` is a norm.

use super::adapter::Part;
use crate::inference::causal::Spec;
use crate::inference::weights::Tensors;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

/// One tensor of a folder, as it stands there.
pub(super) struct Stored {
    pub name: String,
    pub dims: Vec<usize>,
}

/// A tensor of the network, and the tensors of a folder that it is joined of, in order. Matrices of a folder are `[out, in]`, and
/// side by side here, `[in, out, out, ..]`; tables and norms are the same in both.
pub(super) struct Named {
    pub name: String,
    pub stored: Vec<Stored>,
    pub turned: bool,
    /// How far numbers are drawn from 0; a norm begins with ones.
    deviation: f32,
}

/// What a normal distribution begins with, as in GPT-2; what goes back into the residual stream is the smaller the more layers do.
const DEVIATION: f32 = 0.02;

/// All tensors of a network.
pub(super) fn all(spec: &Spec) -> Vec<Named> {
    let Spec { hidden, wide, head_size, heads, kv_heads, vocabulary, .. } = *spec;
    let (queries, keys) = (heads * head_size, kv_heads * head_size);
    let small = DEVIATION / (2.0 * spec.layers.len() as f32).sqrt();
    let stored = |name: String, dims: &[usize]| Stored { name, dims: dims.to_vec() };
    let table = |name: &str, stored_name: &str| Named {
        name: name.into(),
        stored: vec![stored(stored_name.into(), &[vocabulary, hidden])],
        turned: false,
        deviation: DEVIATION,
    };
    let norm = |name: String, stored_name: String| Named {
        name,
        stored: vec![stored(stored_name, &[hidden])],
        turned: false,
        deviation: 0.0,
    };
    let mut all = vec![table("embed.weight", "model.embed_tokens.weight"), norm("norm.gain".into(), "model.norm.weight".into())];
    if !spec.tied {
        all.push(table("head.weight", "lm_head.weight"));
    }
    for layer in 0..spec.layers.len() {
        let at = |name: &str, dims: [usize; 2]| stored(format!("model.layers.{layer}.{name}.weight"), &dims);
        let matrix =
            |part: Part, stored: Vec<Stored>, deviation: f32| Named { name: part.name(layer), stored, turned: true, deviation };
        let qkv = ["q_proj", "k_proj", "v_proj"].into_iter().zip([queries, keys, keys]);
        let qkv = qkv.map(|(name, out)| at(&format!("self_attn.{name}"), [out, hidden])).collect();
        all.push(matrix(Part::Qkv, qkv, DEVIATION));
        all.push(matrix(Part::Out, vec![at("self_attn.o_proj", [hidden, queries])], small));
        all.push(matrix(Part::GateUp, vec![at("mlp.gate_proj", [wide, hidden]), at("mlp.up_proj", [wide, hidden])], DEVIATION));
        all.push(matrix(Part::Down, vec![at("mlp.down_proj", [hidden, wide])], small));
        for (name, stored_name) in [("attention", "input_layernorm"), ("feed", "post_attention_layernorm")] {
            all.push(norm(format!("layers.{layer}.{name}.gain"), format!("model.layers.{layer}.{stored_name}.weight")));
        }
    }
    all
}

impl Named {
    pub fn numbers(&self) -> usize {
        self.dims().iter().product()
    }

    fn dims(&self) -> Vec<usize> {
        match (self.turned, &self.stored[..]) {
            (true, [first, ..]) => vec![first.dims[1], self.stored.iter().map(|stored| stored.dims[0]).sum()],
            (_, stored) => stored.first().map(|stored| stored.dims.clone()).unwrap_or_default(),
        }
    }

    /// From a folder's tensors, each by its name and shape.
    fn joined(&self, mut read: impl FnMut(&Stored) -> Result<Vec<f32>>) -> Result<Tensor> {
        let parts = self.stored.iter().map(|stored| {
            let tensor = Tensor::from_vec(read(stored)?, stored.dims.as_slice(), &Device::Cpu)?;
            if self.turned { Ok(tensor.t()?) } else { Ok(tensor) }
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(match (self.turned, &parts[..]) {
            (true, parts) => Tensor::cat(parts, 1)?.contiguous()?,
            (false, parts) => parts.first().context("a tensor without parts")?.clone(),
        })
    }

    /// Back to a folder's tensors.
    pub fn parted(&self, tensor: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut first = 0;
        let part = |stored: &Stored| {
            let tensor = match self.turned {
                true => tensor.narrow(1, first, stored.dims[0])?.t()?.contiguous()?,
                false => tensor.detach(),
            };
            first += stored.dims[0];
            Ok((stored.name.clone(), tensor))
        };
        self.stored.iter().map(part).collect()
    }
}

/// All tensors, drawn.
pub(super) fn drawn(spec: &Spec, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut draw = |named: Named| {
        let dims = named.dims();
        let mut one = || match named.deviation > 0.0 {
            true => normal(&mut rng) * named.deviation,
            false => 1.0,
        };
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| one()).collect();
        Ok((named.name, Tensor::from_vec(values, dims, &Device::Cpu)?))
    };
    all(spec).into_iter().map(&mut draw).collect()
}

/// All tensors out of a folder, as `f32`.
pub(super) fn read(spec: &Spec, tensors: &Tensors<'_>) -> Result<BTreeMap<String, Tensor>> {
    let one = |named: Named| {
        let tensor = named.joined(|stored| Ok(tensors.f32(&stored.name, &stored.dims)?))?;
        Ok((named.name, tensor))
    };
    all(spec).into_iter().map(one).collect()
}

/// A standard normal value (Box and Muller).
pub(super) fn normal(rng: &mut StdRng) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
