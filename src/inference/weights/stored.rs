//! Tensors by how their numbers are stored: F32, F16, BF16, or I8 with scales beside it.

use super::{Tensors, buffer};
use crate::inference::{InferenceError, dots};
use safetensors::{Dtype, tensor::TensorView};
use std::sync::PoisonError;

/// How the names of word tables end that [`crate::inference::words::WordTable`] keeps as they are stored.
const TABLES: [&str; 3] = ["word_embeddings.weight", "tok_embeddings.weight", "word_embedding.weight"];

impl Tensors<'_> {
    /// A tensor of exactly this shape, row-major, as `f32`. F32, F16 and BF16 are converted; I8 `[rows, cols]` is multiplied
    /// with the F32 tensor `<name>.scale`, `[rows]` or `[rows, groups]`.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        let view = self.shaped(name, shape)?;
        let data = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::I8 => self.dequantise(name, shape, data)?,
            other => {
                let cause = format!("tensor `{name}` is {other:?}; only F32, F16, BF16 and I8 with a scale are read");
                return Err(InferenceError::Unsupported { path: self.path.to_owned(), cause });
            }
        };
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.broken(name, at, &values[at])),
            None => Ok(values),
        }
    }

    /// How the numbers of a tensor are stored.
    pub fn kind(&self, name: &str) -> Result<Dtype, InferenceError> {
        Ok(self.view(name)?.dtype())
    }

    /// A tensor of exactly this shape whose numbers have two bytes, as they are; `finite` tells which of them are numbers.
    pub fn halves<T: Copy + std::fmt::Display>(
        &self,
        name: &str,
        shape: &[usize],
        of: fn([u8; 2]) -> T,
        finite: fn(&T) -> bool,
    ) -> Result<Vec<T>, InferenceError> {
        let view = self.shaped(name, shape)?;
        let values: Vec<T> = view.data().as_chunks::<2>().0.iter().map(|b| of(*b)).collect();
        match values.iter().position(|v| !finite(v)) {
            Some(at) => Err(self.broken(name, at, &values[at])),
            None => Ok(values),
        }
    }

    /// An I8 tensor of exactly this shape, and its scales: one a row, or one for each group of equally many columns, row after row.
    pub fn int8(&self, name: &str, shape: &[usize]) -> Result<(Vec<i8>, Vec<f32>), InferenceError> {
        let values = self.shaped(name, shape)?.data().iter().map(|q| *q as i8).collect();
        let scales = self.scales(name, shape)?;
        match scales.iter().position(|scale| !(scale * 128.0).is_finite()) {
            Some(at) => Err(self.broken(&format!("{name}.scale"), at, &scales[at])),
            None => Ok((values, scales)),
        }
    }

    /// A tensor that must have this shape; it counts as read.
    fn shaped(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>, InferenceError> {
        let view = self.view(name)?;
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(InferenceError::WrongShape { path: self.path.to_owned(), name: name.to_owned(), found, expected });
        }
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(view)
    }

    fn broken(&self, name: &str, at: usize, value: &dyn std::fmt::Display) -> InferenceError {
        let cause = format!("tensor `{name}` holds {value} at element {at}; the file is damaged");
        InferenceError::Malformed { path: self.path.to_owned(), cause }
    }

    /// `w = q * scale`: one scale a row, `[rows]`, or one for each group of equally many columns, `[rows, groups]`.
    fn dequantise(&self, name: &str, shape: &[usize], data: &[u8]) -> Result<Vec<f32>, InferenceError> {
        let scales = self.scales(name, shape)?;
        let width = data.len().checked_div(scales.len()).unwrap_or(0).max(1);
        Ok(data
            .chunks(width)
            .zip(scales)
            .flat_map(|(part, scale)| part.iter().map(move |q| f32::from(*q as i8) * scale))
            .collect())
    }

    fn scales(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        let (rows, cols) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
        let name = format!("{name}.scale");
        let kind = self.view(&name)?.dtype();
        if kind != Dtype::F32 {
            let cause = format!("tensor `{name}` is {kind:?}; a scale is read as F32 alone");
            return Err(InferenceError::Unsupported { path: self.path.to_owned(), cause });
        }
        match self.shape(&name)?[..] {
            [_, groups] if groups > 0 && cols.is_multiple_of(groups) => self.f32(&name, &[rows, groups]),
            _ => self.f32(&name, &[rows]),
        }
    }

    /// Bytes in memory of all tensors but these and the buffers: four for a number, but in word tables, which stay as they are. Scales of other
    /// tensors are gone once those are widened.
    pub fn bytes_in_memory(&self, without: &[String]) -> usize {
        let counted = self.places.keys().filter(|name| !without.contains(name) && !buffer(name));
        let bytes = |name: &String| -> Option<usize> {
            let view = self.view(name).ok()?;
            let numbers: usize = view.shape().iter().product();
            let table = |name: &str| dots::runs() && TABLES.iter().any(|end| name.ends_with(end));
            let scaled = name.strip_suffix(".scale").filter(|of| self.kind(of).is_ok_and(|kind| kind == Dtype::I8));
            Some(match (view.dtype(), scaled) {
                (_, Some(of)) if !table(of) => 0,
                (Dtype::I8, _) if table(name) => numbers,
                (Dtype::F16 | Dtype::BF16, _) if table(name) => 2 * numbers,
                _ => size_of::<f32>() * numbers,
            })
        };
        counted.filter_map(bytes).sum()
    }
}
