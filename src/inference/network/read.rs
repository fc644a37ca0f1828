//! Reads the parts of a network by their names in the checkpoint.

use crate::inference::InferenceError;
use crate::inference::ops::{Linear, Norm};
use crate::inference::weights::Tensors;
use crate::inference::words::WordTable;

/// A layer as it stands in a file: weight `[outputs, inputs]`, bias `[outputs]`.
pub type Part = (Vec<f32>, Vec<f32>);

/// Tensors below a prefix.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub tensors: &'a Tensors<'a>,
    /// Such as `bert.`; empty for bare checkpoints and heads.
    pub prefix: &'a str,
}

impl<'a> Reader<'a> {
    /// Below `prefix` where that has a tensor of this name, else at the top: bare checkpoints have no prefix. Where neither has it,
    /// below a prefix that has others, so that what is missing is named in full.
    pub fn below(tensors: &'a Tensors<'a>, prefix: &'a str, known: &str) -> Self {
        let named = tensors.has(&format!("{prefix}{known}")) || (!tensors.has(known) && tensors.any_below(prefix));
        Self { tensors, prefix: if named { prefix } else { "" } }
    }

    /// At the top of the file, where the heads are.
    pub fn top(tensors: &'a Tensors<'a>) -> Self {
        Self { tensors, prefix: "" }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.has(&self.name(name))
    }

    /// A tensor of exactly this shape.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        self.tensors.f32(&self.name(name), shape)
    }

    /// A table `[words, width]` whose rows are looked up.
    pub fn words(&self, name: &str, shape: [usize; 2]) -> Result<WordTable, InferenceError> {
        WordTable::read(self.tensors, &self.name(name), shape)
    }

    /// How many rows a tensor has.
    pub fn rows(&self, name: &str) -> Result<usize, InferenceError> {
        Ok(self.tensors.shape(&self.name(name))?.first().copied().unwrap_or(0))
    }

    /// `weight` and `bias`, by the names `gamma` and `beta` in old files.
    pub fn norm(&self, name: &str, width: usize) -> Result<Norm, InferenceError> {
        let old = self.has(&format!("{name}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            weight: self.f32(&format!("{name}.{weight}"), &[width])?,
            bias: self.f32(&format!("{name}.{bias}"), &[width])?,
        })
    }

    /// Weight `[outputs, inputs]` and bias `[outputs]`.
    pub fn part(&self, name: &str, inputs: usize, outputs: usize) -> Result<Part, InferenceError> {
        Ok((self.f32(&format!("{name}.weight"), &[outputs, inputs])?, self.f32(&format!("{name}.bias"), &[outputs])?))
    }

    /// A layer without a bias.
    pub fn part_without_bias(&self, name: &str, inputs: usize, outputs: usize) -> Result<Part, InferenceError> {
        Ok((self.f32(&format!("{name}.weight"), &[outputs, inputs])?, vec![0.0; outputs]))
    }

    pub fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, InferenceError> {
        Ok(Linear::join(&[self.part(name, inputs, outputs)?], inputs))
    }
}
