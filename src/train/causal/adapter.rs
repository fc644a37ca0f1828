//! Low-rank adapters (Hu et al. 2021, LoRA): a matrix `W` stays, and `x·W + alpha / r · x·A·B` is computed, where `A` is `[in, r]` and `B` is
//! `[r, out]`. `B` begins as zeros, so that training begins at the network as it was.

use super::network::Network;
use crate::inference::causal::Spec;
use anyhow::{Result, ensure};
use candle_core::{Device, Tensor, Var};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The matrices of a layer as they are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Queries, keys and values side by side.
    Qkv,
    Out,
    /// Gate and up side by side.
    GateUp,
    Down,
}

impl Part {
    pub(super) fn name(self, layer: usize) -> String {
        let part = match self {
            Self::Qkv => "qkv",
            Self::Out => "out",
            Self::GateUp => "gate_up",
            Self::Down => "down",
        };
        format!("layers.{layer}.{part}.weight")
    }

    /// Its rows and columns.
    pub(super) fn dims(self, spec: &Spec) -> (usize, usize) {
        match self {
            Self::Qkv => (spec.hidden, spec.qkv_width()),
            Self::Out => (spec.heads * spec.head_size, spec.hidden),
            Self::GateUp => (spec.hidden, 2 * spec.wide),
            Self::Down => (spec.wide, spec.hidden),
        }
    }
}

/// The matrices of a layer as people know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Matrix {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// What attention gives back.
    O,
    Gate,
    Up,
    Down,
}

impl Matrix {
    pub(super) fn part(self) -> Part {
        match self {
            Self::Q | Self::K | Self::V => Part::Qkv,
            Self::O => Part::Out,
            Self::Gate | Self::Up => Part::GateUp,
            Self::Down => Part::Down,
        }
    }

    /// Its first column in its part, and how many there are.
    pub(super) fn columns(self, spec: &Spec) -> (usize, usize) {
        let (queries, keys) = (spec.heads * spec.head_size, spec.kv_heads * spec.head_size);
        match self {
            Self::Q => (0, queries),
            Self::K => (queries, keys),
            Self::V => (queries + keys, keys),
            Self::Gate => (0, spec.wide),
            Self::Up => (spec.wide, spec.wide),
            Self::O | Self::Down => (0, spec.hidden),
        }
    }

    fn inputs(self, spec: &Spec) -> usize {
        match self {
            Self::O => spec.heads * spec.head_size,
            Self::Down => spec.wide,
            _ => spec.hidden,
        }
    }
}

/// One adapted matrix of one layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adapter {
    pub layer: usize,
    pub matrix: Matrix,
    /// `alpha / r`.
    pub scale: f64,
}

impl Adapter {
    /// The name of `A`.
    pub fn down(&self) -> String {
        format!("layers.{}.{:?}.a.weight", self.layer, self.matrix).to_lowercase()
    }

    /// The name of `B`.
    pub fn up(&self) -> String {
        format!("layers.{}.{:?}.b.weight", self.layer, self.matrix).to_lowercase()
    }
}

/// Which matrices get adapters, and how wide.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    pub rank: usize,
    /// Adapters count `alpha / rank` times.
    pub alpha: f64,
    pub matrices: Vec<Matrix>,
}

impl Network {
    /// Everything stays as it is from now on, and adapters are trained. `A` is drawn evenly from `±1 / sqrt(in)`, with `seed`.
    pub fn adapted(mut self, lora: &Lora, seed: u64) -> Result<Self> {
        let Lora { rank, alpha, matrices } = lora;
        ensure!(*rank > 0 && *rank <= self.spec.hidden, "adapters of rank {rank}; 1 to {} are possible", self.spec.hidden);
        ensure!(alpha.is_finite() && *alpha > 0.0, "alpha {alpha} must be above 0");
        ensure!(!matrices.is_empty(), "no matrix is named for the adapters");
        let mut matrices = matrices.clone();
        matrices.sort();
        matrices.dedup();
        let trained = std::mem::take(&mut self.parameters);
        self.fixed.extend(trained.into_iter().map(|(name, var)| (name, var.as_detached_tensor())));
        let mut rng = StdRng::seed_from_u64(seed);
        for layer in 0..self.spec.layers.len() {
            for &matrix in &matrices {
                let adapter = Adapter { layer, matrix, scale: alpha / *rank as f64 };
                let (inputs, (_, outputs)) = (matrix.inputs(&self.spec), matrix.columns(&self.spec));
                let most = 1.0 / (inputs as f32).sqrt();
                let a: Vec<f32> = (0..inputs * rank).map(|_| (2.0 * rng.random::<f32>() - 1.0) * most).collect();
                self.parameters.insert(adapter.down(), Var::from_vec(a, (inputs, *rank), &Device::Cpu)?);
                self.parameters.insert(adapter.up(), Var::from_vec(vec![0f32; rank * outputs], (*rank, outputs), &Device::Cpu)?);
                self.adapters.push(adapter);
            }
        }
        Ok(self)
    }

    /// A matrix with what its adapters add to it.
    pub(super) fn merged(&self, name: &str) -> Result<Tensor> {
        let mut out = self.tensor(name)?.detach();
        for adapter in self.adapters.iter().filter(|adapter| adapter.matrix.part().name(adapter.layer) == name) {
            let (first, count) = adapter.matrix.columns(&self.spec);
            let more = self.tensor(&adapter.down())?.matmul(self.tensor(&adapter.up())?)?.detach();
            let part = (out.narrow(1, first, count)? + more.affine(adapter.scale, 0.0)?)?;
            out = out.slice_assign(&[0..out.dim(0)?, first..first + count], &part)?;
        }
        Ok(out)
    }
}
