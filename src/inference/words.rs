//! Word tables. A table is the largest tensor of a small encoder, and a text needs few of its rows; so it stays in memory as the file has
//! it, F16, BF16 or int8 with scales, and rows are widened when they are looked up. The numbers are those of the widened table.

use super::InferenceError;
use super::dots::{self, add_products};
use super::ops::project;
use super::weights::Tensors;
use half::{bf16, f16};
use safetensors::Dtype;

/// `[words, width]`
pub struct WordTable {
    stored: Stored,
    words: usize,
    width: usize,
}

enum Stored {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    /// A number is its value times the scale of its group; groups of equally many columns follow each other, row after row.
    Int8 {
        values: Vec<i8>,
        scales: Vec<f32>,
        group: usize,
    },
}

/// Rows that are widened together for a product: they stay in a core's own cache, and are a multiple of what its kernel takes at once.
const BLOCK: usize = 192;

impl WordTable {
    /// A tensor `[words, width]` of the checkpoint. Fails as [`Tensors::f32`] does.
    pub fn read(tensors: &Tensors<'_>, name: &str, [words, width]: [usize; 2]) -> Result<Self, InferenceError> {
        let shape = [words, width];
        let stored = match tensors.kind(name)? {
            // Blocks of it could not be multiplied with.
            _ if !dots::runs() => Stored::F32(tensors.f32(name, &shape)?),
            Dtype::F16 => Stored::F16(tensors.halves(name, &shape, f16::from_le_bytes, |v| v.is_finite())?),
            Dtype::BF16 => Stored::Bf16(tensors.halves(name, &shape, bf16::from_le_bytes, |v| v.is_finite())?),
            Dtype::I8 => {
                let (values, scales) = tensors.int8(name, &shape)?;
                let group = values.len().checked_div(scales.len()).unwrap_or(0).max(1);
                Stored::Int8 { values, scales, group }
            }
            _ => Stored::F32(tensors.f32(name, &shape)?),
        };
        Ok(Self { stored, words, width })
    }

    /// Of numbers that somebody else has made.
    pub fn of(values: Vec<f32>, width: usize) -> Self {
        Self { words: values.len().checked_div(width).unwrap_or(0), stored: Stored::F32(values), width }
    }

    pub fn words(&self) -> usize {
        self.words
    }

    /// Numbers in a word's vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes in memory.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        match &self.stored {
            Stored::F32(values) => size_of_val(&values[..]),
            Stored::F16(values) => size_of_val(&values[..]),
            Stored::Bf16(values) => size_of_val(&values[..]),
            Stored::Int8 { values, scales, .. } => values.len() + size_of_val(&scales[..]),
        }
    }

    /// Appends a word's vector. `word` is below [`WordTable::words`].
    pub fn push(&self, word: usize, out: &mut Vec<f32>) {
        self.widen(word, 1, out);
    }

    /// Whether these are the same numbers.
    pub fn equals(&self, other: &[f32]) -> bool {
        let mut row = Vec::with_capacity(self.width);
        let same = |(word, other): (usize, &[f32])| {
            row.clear();
            self.push(word, &mut row);
            row == other
        };
        other.len() == self.words * self.width && other.chunks_exact(self.width.max(1)).enumerate().all(same)
    }

    /// `out[rows, words] = x[rows, width] · tableᵀ + bias`, each row with the same bits however many there are and however the table is
    /// kept. `out` is resized.
    pub fn project(&self, x: &[f32], bias: &[f32], out: &mut Vec<f32>) {
        if let Stored::F32(values) = &self.stored {
            return project(x, values, bias, out);
        }
        out.clear();
        (0..x.len() / self.width.max(1)).for_each(|_| out.extend_from_slice(bias));
        if out.is_empty() {
            return;
        }
        let mut block = Vec::with_capacity(BLOCK * self.width);
        for first in (0..self.words).step_by(BLOCK) {
            block.clear();
            self.widen(first, BLOCK.min(self.words - first), &mut block);
            if !add_products(x, &block, self.width, (out, first, self.words)) {
                block.clear();
                self.widen(0, self.words, &mut block);
                return project(x, &block, bias, out);
            }
        }
    }

    fn widen(&self, first: usize, count: usize, out: &mut Vec<f32>) {
        let places = first * self.width..(first + count) * self.width;
        match &self.stored {
            Stored::F32(values) => out.extend_from_slice(&values[places]),
            Stored::F16(values) => out.extend(values[places].iter().map(|v| v.to_f32())),
            Stored::Bf16(values) => out.extend(values[places].iter().map(|v| v.to_f32())),
            Stored::Int8 { values, scales, group } => {
                let scales = &scales[places.start / group..];
                for (values, scale) in values[places].chunks(*group).zip(scales) {
                    out.extend(values.iter().map(|v| f32::from(*v) * scale));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::weights::Weights;
    use safetensors::tensor::TensorView;

    /// 200 words of 6 numbers, as a file of each kind.
    fn tables() -> Vec<(WordTable, Vec<f32>)> {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..1200).map(|i| ((i * 7919 % 251) as f32 - 125.0) / 64.0).collect();
        let bytes = |f: fn(f32) -> Vec<u8>| numbers.iter().flat_map(|v| f(*v)).collect::<Vec<u8>>();
        let int8: Vec<u8> = (0..1200).map(|i: u32| (i * 7919 % 255) as u8).collect();
        let scales = |count: usize| (0..count).flat_map(|i| (0.01 + i as f32 * 1e-4).to_le_bytes()).collect::<Vec<u8>>();
        let of = |kind: Dtype, data: &[u8], scale: Option<Vec<usize>>| {
            let scale = scale.map(|shape| (shape.clone(), scales(shape.iter().product())));
            let mut tensors = vec![("w", TensorView::new(kind, vec![200, 6], data).unwrap())];
            if let Some((shape, data)) = &scale {
                tensors.push(("w.scale", TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
            }
            safetensors::serialize_to_file(tensors, None, &folder.path().join("model.safetensors")).unwrap();
            let weights = Weights::open(folder.path(), None).unwrap();
            let tensors = weights.tensors().unwrap();
            let table = WordTable::read(&tensors, "w", [200, 6]).unwrap();
            assert!(WordTable::read(&tensors, "w", [6, 200]).is_err() && WordTable::read(&tensors, "x", [6, 200]).is_err());
            assert!(tensors.unread().is_empty());
            (table, tensors.f32("w", &[200, 6]).unwrap())
        };
        vec![
            of(Dtype::F32, &bytes(|v| v.to_le_bytes().to_vec()), None),
            of(Dtype::F16, &bytes(|v| f16::from_f32(v).to_le_bytes().to_vec()), None),
            of(Dtype::BF16, &bytes(|v| bf16::from_f32(v).to_le_bytes().to_vec()), None),
            of(Dtype::I8, &int8, Some(vec![200])),
            of(Dtype::I8, &int8, Some(vec![200, 2])),
        ]
    }

    /// Would catch: scales of another row or group, a row beside the right one, a product whose bits depend on how the table is kept.
    #[test]
    fn a_table_has_the_numbers_of_its_widened_form() {
        let sizes: Vec<usize> = tables().iter().map(|(table, _)| table.bytes()).collect();
        if dots::runs() {
            assert_eq!(sizes, [4800, 2400, 2400, 1200 + 800, 1200 + 1600]);
        }
        let x: Vec<f32> = (0..5 * 6).map(|i| ((i * 31 % 17) as f32 - 8.0) / 8.0).collect();
        let bias: Vec<f32> = (0..200).map(|i| i as f32 / 100.0).collect();
        for (table, wide) in tables() {
            assert_eq!((table.words(), table.width()), (200, 6));
            for word in [0, 1, 77, 199] {
                let mut row = Vec::new();
                table.push(word, &mut row);
                assert_eq!(row, wide[word * 6..][..6]);
            }
            let (mut own, mut expected) = (Vec::new(), Vec::new());
            table.project(&x, &bias, &mut own);
            project(&x, &wide, &bias, &mut expected);
            assert_eq!(own, expected);
            table.project(&x[..6], &bias, &mut own);
            assert_eq!(own, expected[..200]);
            table.project(&[], &bias, &mut own);
            assert!(own.is_empty() && table.equals(&wide));
            let mut other = wide;
            other[1199] += 1.0;
            assert!(!table.equals(&other) && !table.equals(&other[..1194]));
        }
    }
}
