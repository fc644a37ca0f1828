//! Writes a model folder: weights tensor by tensor, so that memory holds one of them at a time.

use super::{ImportError, Model, ReadTensor, Request};
use crate::inference::Digest;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    F32,
    F16,
    #[default]
    Bf16,
}

impl Dtype {
    /// As `--dtype` takes it.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("there is no type `{word}`; f32, f16 or bf16")),
        }
    }

    fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn in_safetensors(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// As config.json names it.
    pub(super) fn in_config(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Little-endian bytes, rounded to the nearest; the place of the first value that is not finite in this type.
    fn encode(self, values: &[f32]) -> Result<Vec<u8>, usize> {
        let check = |at: Option<usize>| at.map_or(Ok(()), Err);
        match self {
            Self::F32 => {
                check(values.iter().position(|v| !v.is_finite()))?;
                Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Self::F16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                check(halves.iter().position(|v| !v.is_finite()))?;
                Ok(halves.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            Self::Bf16 => {
                let mut halves = vec![bf16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                check(halves.iter().position(|v| !v.is_finite()))?;
                Ok(halves.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        }
    }
}

/// What an import has written.
#[derive(Debug, Clone)]
pub struct Written {
    pub folder: PathBuf,
    pub tensors: usize,
    pub parameters: u64,
    /// The sha256 of the file that was imported, and of the weights that were written.
    pub source: String,
    pub weights: String,
    pub notes: Vec<String>,
}

/// Writes the folder beside its place, and moves it there when it is whole.
pub(super) fn write(request: &Request, model: &Model, read: &mut ReadTensor<'_>) -> Result<Written, ImportError> {
    let folder = &request.folder;
    let failed = |path: &Path, cause: String| ImportError::Write { path: path.to_owned(), cause };
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(failed(folder, "it is there already; name a folder that does not exist".into()));
    }
    let name = folder.file_name().ok_or_else(|| failed(folder, "it has no name".into()))?.to_string_lossy();
    let partial = folder.with_file_name(format!(".{name}.partial-{}", std::process::id()));
    std::fs::create_dir_all(&partial).map_err(|error| failed(&partial, error.to_string()))?;
    let result = fill(request, model, read, &partial).and_then(|written| {
        if folder.is_dir() {
            std::fs::remove_dir(folder).map_err(|error| failed(folder, error.to_string()))?;
        }
        std::fs::rename(&partial, folder).map_err(|error| failed(folder, error.to_string()))?;
        Ok(written)
    });
    if result.is_err() {
        // What could not be finished is of no use; the first error is the one to tell.
        std::fs::remove_dir_all(&partial).ok();
    }
    result
}

fn fill(request: &Request, model: &Model, read: &mut ReadTensor<'_>, folder: &Path) -> Result<Written, ImportError> {
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| ImportError::Write { path, cause: error.to_string() })
    };
    let parameters: u64 = model.tensors.iter().map(|tensor| elements(&tensor.shape)).sum();
    let weights = weights(request, model, read, &folder.join("model.safetensors"))?;
    let source = digest_of(&request.file)?;
    let mut config = model.config.clone();
    config["torch_dtype"] = request.dtype.in_config().into();
    let ids = ["bos_token_id", "eos_token_id", "pad_token_id"];
    let mut generation = Map::from_iter([("_from_model_config".to_owned(), true.into())]);
    generation.extend(ids.iter().filter(|id| !config[**id].is_null()).map(|id| ((*id).to_owned(), config[*id].clone())));
    save("config.json", pretty(&config).as_bytes())?;
    save("generation_config.json", pretty(&Value::Object(generation)).as_bytes())?;
    save("tokenizer_config.json", pretty(&model.tokenizer_config).as_bytes())?;
    save("tokenizer.json", model.tokenizer.to_string().as_bytes())?;
    save("README.md", card(request, model, parameters, &source, &weights).as_bytes())?;
    Ok(Written {
        folder: request.folder.clone(),
        tensors: model.tensors.len(),
        parameters,
        source,
        weights,
        notes: model.notes.clone(),
    })
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|n| *n as u64).product()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A safetensors file: the length of its header, the header, then the values of each tensor one after the other.
fn weights(request: &Request, model: &Model, read: &mut ReadTensor<'_>, path: &Path) -> Result<String, ImportError> {
    let failed = |error: std::io::Error| ImportError::Write { path: path.to_owned(), cause: error.to_string() };
    let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut at = 0;
    for tensor in &model.tensors {
        let end = at + elements(&tensor.shape) * request.dtype.bytes();
        let entry = json!({ "dtype": request.dtype.in_safetensors(), "shape": tensor.shape, "data_offsets": [at, end] });
        header.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let (mut file, mut sha) = (BufWriter::new(std::fs::File::create(path).map_err(failed)?), Sha256::new());
    let mut put = |bytes: &[u8]| {
        sha.update(bytes);
        file.write_all(bytes).map_err(failed)
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for (index, tensor) in model.tensors.iter().enumerate() {
        let values = read(index).map_err(|fault| fault.at(&request.file))?;
        let wrong = |cause: String| ImportError::Damaged { path: request.file.clone(), cause };
        if values.len() as u64 != elements(&tensor.shape) {
            return Err(wrong(format!("tensor `{}` has {} values for shape {:?}", tensor.name, values.len(), tensor.shape)));
        }
        put(&request.dtype.encode(&values).map_err(|at| {
            wrong(format!(
                "tensor `{}` holds {} at element {at}, which {} cannot hold",
                tensor.name,
                values[at],
                request.dtype.in_config()
            ))
        })?)?;
    }
    file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    Ok(hex(&sha.finalize()))
}

/// The sha256 of a file, read in pieces.
fn digest_of(path: &Path) -> Result<String, ImportError> {
    let failed = |error: std::io::Error| ImportError::Read { path: path.to_owned(), cause: error.to_string() };
    let (mut file, mut sha, mut piece) = (std::fs::File::open(path).map_err(failed)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => return Ok(hex(&sha.finalize())),
            read => sha.update(&piece[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

fn card(request: &Request, model: &Model, parameters: u64, source: &str, weights: &str) -> String {
    let file = request.file.file_name().unwrap_or_default().to_string_lossy();
    let licence = model.licence.as_deref().unwrap_or("unknown");
    let mut card = format!("---\nlicense: {licence}\npipeline_tag: text-generation\n---\n\n# {file}\n\n");
    card += &format!("Imported from {}, {} parameters, stored as {}.\n\n", model.origin, parameters, request.dtype.in_config());
    card += &format!(
        "| | |\n| --- | --- |\n| file | `{file}` |\n| its sha256 | `{source}` |\n| sha256 of the weights | `{weights}` |\n"
    );
    if let Some(tokenizer) = &request.tokenizer {
        let digest = std::fs::read(tokenizer).map(|bytes| Digest::of(&bytes)).ok();
        let name = tokenizer.file_name().unwrap_or_default().to_string_lossy();
        card += &format!("| vocabulary | `{name}`, sha256 `{}` |\n", digest.as_ref().map_or("unknown", Digest::as_str));
    }
    if model.licence.is_none() {
        card += "\nThe file names no licence: ask where it came from before it is used.\n";
    }
    for note in &model.notes {
        card += &format!("\n{note}\n");
    }
    card
}
