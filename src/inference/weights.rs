//! Reads `model.safetensors`: digest first, then tensors by name, always as `f32`.

use super::InferenceError;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The sha256 of a weights file, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // Writing to a String cannot fail.
            _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as they stand in `name@digest12`.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// Whether `expected` (hexadecimal, with or without a leading `sha256:`, at least 12 digits) names this digest.
    pub fn matches(&self, expected: &str) -> bool {
        let expected = expected.trim().trim_start_matches("sha256:").to_ascii_lowercase();
        expected.len() >= 12 && self.0.starts_with(&expected)
    }
}

/// The bytes of a weights file whose digest is known.
pub struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Weights {
    /// Reads `folder/model.safetensors` and checks its digest when one is expected.
    pub fn open(folder: &Path, expected: Option<&str>) -> Result<Self, InferenceError> {
        let path = folder.join("model.safetensors");
        if !path.exists()
            && let Some(found) = pickled(folder)
        {
            return Err(InferenceError::UnsafeWeights { folder: folder.to_owned(), found });
        }
        let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = expected
            && !digest.matches(expected)
        {
            return Err(InferenceError::WrongDigest { path, expected: expected.to_owned(), found: digest.0 });
        }
        Ok(Self { path, bytes, digest })
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// A value of the file's own metadata.
    pub fn metadata(&self, key: &str) -> Result<Option<String>, InferenceError> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|e| InferenceError::Malformed { path: self.path.clone(), cause: e.to_string() })?;
        Ok(header.metadata().as_ref().and_then(|all| all.get(key).cloned()))
    }

    /// The tensors of the file.
    pub fn tensors(&self) -> Result<Tensors<'_>, InferenceError> {
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|e| InferenceError::Malformed { path: self.path.clone(), cause: e.to_string() })?;
        Ok(Tensors { path: &self.path, file })
    }
}

/// The first file of the folder that holds weights in a form we refuse.
fn pickled(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|n| [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|end| n.ends_with(end))).min()
}

/// Tensors by name.
pub struct Tensors<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
}

impl Tensors<'_> {
    pub fn path(&self) -> &Path {
        self.path
    }

    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_ok()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, InferenceError> {
        Ok(self.view(name)?.shape().to_vec())
    }

    /// A tensor of exactly this shape, row-major, as `f32`. F32, F16 and BF16 are converted; I8 `[rows, cols]` is multiplied
    /// with the F32 tensor `<name>.scale`, `[rows]` or `[rows, groups]`.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        let view = self.view(name)?;
        if view.shape() != shape {
            let (found, expected) = (view.shape().to_vec(), shape.to_vec());
            return Err(InferenceError::WrongShape { path: self.path.to_owned(), name: name.to_owned(), found, expected });
        }
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
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let cause = format!("tensor `{name}` holds {} at element {at}; the file is damaged", values[at]);
            return Err(InferenceError::Malformed { path: self.path.to_owned(), cause });
        }
        Ok(values)
    }

    /// `w = q * scale`: one scale a row, `[rows]`, or one for each group of equally many columns, `[rows, groups]`.
    fn dequantise(&self, name: &str, shape: &[usize], data: &[u8]) -> Result<Vec<f32>, InferenceError> {
        let (rows, cols) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
        let name = format!("{name}.scale");
        let scales = match self.shape(&name)?[..] {
            [_, groups] if groups > 0 && cols.is_multiple_of(groups) => self.f32(&name, &[rows, groups])?,
            _ => self.f32(&name, &[rows])?,
        };
        let width = data.len().checked_div(scales.len()).unwrap_or(0).max(1);
        Ok(data
            .chunks(width)
            .zip(scales)
            .flat_map(|(part, scale)| part.iter().map(move |q| f32::from(*q as i8) * scale))
            .collect())
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>, InferenceError> {
        self.file.tensor(name).map_err(|_| InferenceError::MissingTensor { path: self.path.to_owned(), name: name.to_owned() })
    }
}
