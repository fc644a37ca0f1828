//! The numbers of a network while a batch goes through it, and the gradients that are gathered.

use super::super::network::Network;
use anyhow::{Context, Result, bail};
use candle_core::{CpuStorage, Layout, Storage, Tensor};
use std::collections::BTreeMap;
use std::ops::Deref;

/// All tensors of a network, as slices.
pub struct Held<'a>(BTreeMap<&'a str, Lent<'a>>);

struct Lent<'a> {
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    layout: &'a Layout,
}

impl<'a> Held<'a> {
    pub fn of(network: &'a Network) -> Self {
        let trained = network.parameters.iter().map(|(name, var)| (name.as_str(), var.as_tensor()));
        let fixed = network.fixed.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let lent = |(name, tensor): (&'a str, &'a Tensor)| {
            let (storage, layout) = tensor.storage_and_layout();
            (name, Lent { storage: Box::new(storage), layout })
        };
        Self(trained.chain(fixed).map(lent).collect())
    }

    pub fn get(&self, name: &str) -> Result<&[f32]> {
        let Lent { storage, layout } = self.0.get(name).with_context(|| format!("the network has no tensor {name}"))?;
        let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&***storage, layout.contiguous_offsets()) else {
            bail!("{name} is not a plain f32 tensor of a processor");
        };
        Ok(&values[start..end])
    }
}

/// Sums over what has gone through, of what is trained.
pub struct Gradients {
    of: BTreeMap<String, Vec<f32>>,
    /// Takes those of norms that are not trained.
    sink: Vec<f32>,
}

impl Gradients {
    pub fn new(network: &Network) -> Self {
        let zeros = network.parameters.iter().map(|(name, var)| (name.clone(), vec![0.0; var.elem_count()]));
        Self { of: zeros.collect(), sink: Vec::new() }
    }

    /// Nothing for what stays as it is.
    pub fn of(&mut self, name: &str) -> Option<&mut [f32]> {
        self.of.get_mut(name).map(Vec::as_mut_slice)
    }

    /// The same, or numbers that nobody reads.
    pub fn of_norm(&mut self, name: &str, len: usize) -> &mut [f32] {
        match self.of.get_mut(name) {
            Some(gradient) => gradient,
            None => {
                self.sink.resize(len, 0.0);
                &mut self.sink
            }
        }
    }

    pub fn taken(self) -> BTreeMap<String, Vec<f32>> {
        self.of
    }
}
