//! The types of GGUF tensors. candle decodes their blocks.

use super::super::{Fault, damaged};
use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    name: &'static str,
    dtype: GgmlDType,
}

/// By the number that stands in the file.
const KINDS: [(u32, Kind); 13] = [
    (0, Kind { name: "F32", dtype: GgmlDType::F32 }),
    (1, Kind { name: "F16", dtype: GgmlDType::F16 }),
    (2, Kind { name: "Q4_0", dtype: GgmlDType::Q4_0 }),
    (3, Kind { name: "Q4_1", dtype: GgmlDType::Q4_1 }),
    (6, Kind { name: "Q5_0", dtype: GgmlDType::Q5_0 }),
    (7, Kind { name: "Q5_1", dtype: GgmlDType::Q5_1 }),
    (8, Kind { name: "Q8_0", dtype: GgmlDType::Q8_0 }),
    (10, Kind { name: "Q2_K", dtype: GgmlDType::Q2K }),
    (11, Kind { name: "Q3_K", dtype: GgmlDType::Q3K }),
    (12, Kind { name: "Q4_K", dtype: GgmlDType::Q4K }),
    (13, Kind { name: "Q5_K", dtype: GgmlDType::Q5K }),
    (14, Kind { name: "Q6_K", dtype: GgmlDType::Q6K }),
    (30, Kind { name: "BF16", dtype: GgmlDType::BF16 }),
];

impl Kind {
    pub const KNOWN: &'static str = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are read";

    pub fn of(number: u32) -> Option<Self> {
        KINDS.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
    }

    pub fn name(self) -> &'static str {
        self.name
    }

    /// Bytes of a tensor of this shape; `None` where a row is no whole number of blocks, or there are too many values to count.
    pub fn bytes(self, shape: &[u64]) -> Option<u64> {
        let block = self.dtype.block_size() as u64;
        let row = shape.last().filter(|row| row.is_multiple_of(block))?;
        let rows = shape[..shape.len() - 1].iter().try_fold(1u64, |rows, n| rows.checked_mul(*n))?;
        (row / block).checked_mul(self.dtype.type_size() as u64)?.checked_mul(rows).filter(|bytes| *bytes > 0)
    }

    /// The values of a tensor of this shape.
    pub fn decode(self, bytes: &[u8], shape: &[usize]) -> Result<Vec<f32>, Fault> {
        let decoded = || {
            let tensor = qtensor_from_ggml(self.dtype, bytes, shape.to_vec(), &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()
        };
        decoded().map_err(|error: candle_core::Error| damaged(format!("a tensor of {}: {error}", self.name)))
    }
}
