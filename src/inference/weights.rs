//! Reads `model.safetensors`, in one file or several: digest first, then tensors by name, always as `f32`.

use super::{InferenceError, elsewhere};
use safetensors::{SafeTensorError, SafeTensors, tensor::TensorView};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

/// One weights file of a model.
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Whether all that is in it belongs to the model; else what the index says.
    own: bool,
}

/// The bytes of a folder's weights files, whose digest is known.
pub struct Weights {
    /// What is named in errors: `model.safetensors`, or the index of its parts.
    path: PathBuf,
    files: Vec<File>,
    /// Of each tensor that an index names, the file's number.
    index: Option<BTreeMap<String, usize>>,
    digest: Digest,
}

impl Weights {
    /// Reads `folder/model.safetensors`, or the files that `folder/model.safetensors.index.json` names, and checks the digest when one
    /// is expected. The digest of one file is its sha256. That of several is the sha256 of a list with one line a file, sorted:
    /// its name, a blank, its sha256, a line feed.
    pub fn open(folder: &Path, expected: Option<&str>) -> Result<Self, InferenceError> {
        let (path, index) = (folder.join("model.safetensors"), folder.join(INDEX));
        let is_there = path.exists() || index.exists();
        let adapter = folder.join("adapter_config.json").exists();
        if let Some(cause) = elsewhere::instead(folder).filter(|_| !is_there && (adapter || pickled(folder).is_none())) {
            return Err(InferenceError::Unsupported { path: folder.to_owned(), cause });
        }
        let weights = match (path.exists(), index.exists(), pickled(folder)) {
            (false, true, _) => Self::parts(folder, index)?,
            (false, false, Some(found)) => return Err(InferenceError::UnsafeWeights { folder: folder.to_owned(), found }),
            _ => {
                let bytes = read(&path)?;
                let digest = Digest::of(&bytes);
                Self { path: path.clone(), files: vec![File { path, bytes, own: true }], index: None, digest }
            }
        };
        match expected {
            Some(expected) if !weights.digest.matches(expected) => {
                let (expected, found) = (expected.to_owned(), weights.digest.0);
                Err(InferenceError::WrongDigest { path: weights.path, expected, found })
            }
            _ => Ok(weights),
        }
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// A value of the file's own metadata; of several files, of the first that has it.
    pub fn metadata(&self, key: &str) -> Result<Option<String>, InferenceError> {
        for file in &self.files {
            let (_, header) = SafeTensors::read_metadata(&file.bytes)
                .map_err(|e| InferenceError::Malformed { path: file.path.clone(), cause: damage(&e) })?;
            if let Some(value) = header.metadata().as_ref().and_then(|all| all.get(key)) {
                return Ok(Some(value.clone()));
            }
        }
        Ok(None)
    }

    /// Bytes of the files in the folder itself.
    pub fn bytes(&self) -> usize {
        self.files.iter().filter(|file| file.own).map(|file| file.bytes.len()).sum()
    }

    /// The tensors of all files.
    pub fn tensors(&self) -> Result<Tensors<'_>, InferenceError> {
        let mut files = Vec::with_capacity(self.files.len());
        let mut places = BTreeMap::new();
        for (number, file) in self.files.iter().enumerate() {
            let malformed = |cause: String| InferenceError::Malformed { path: file.path.clone(), cause };
            let tensors = SafeTensors::deserialize(&file.bytes).map_err(|e| malformed(damage(&e)))?;
            let named = |name: &str| self.index.as_ref().is_some_and(|index| index.get(name) == Some(&number));
            for name in tensors.names().into_iter().filter(|name| file.own || named(name)) {
                if places.insert(name.to_owned(), number).is_some() {
                    return Err(malformed(format!("it has a tensor `{name}`, which another file of the model has too")));
                }
            }
            files.push(tensors);
        }
        for (name, number) in self.index.iter().flatten() {
            if places.get(name) != Some(number) {
                return Err(InferenceError::MissingTensor { path: self.files[*number].path.clone(), name: name.clone() });
            }
        }
        Ok(Tensors { path: &self.path, files, places, read: Mutex::default() })
    }
}

/// Beside the parts of a checkpoint that was saved in several files.
const INDEX: &str = "model.safetensors.index.json";

fn read(path: &Path) -> Result<Vec<u8>, InferenceError> {
    let bytes = std::fs::read(path).map_err(|e| InferenceError::Read { path: path.to_owned(), cause: e.to_string() })?;
    match elsewhere::pointer(&bytes) {
        Some(cause) => Err(InferenceError::Malformed { path: path.to_owned(), cause }),
        None => Ok(bytes),
    }
}

/// What is wrong with a file, and what to do.
fn damage(error: &SafeTensorError) -> String {
    let what = match error {
        SafeTensorError::HeaderTooSmall => "it is shorter than the length of its header".to_owned(),
        SafeTensorError::InvalidHeaderLength => "its header is longer than the file".to_owned(),
        SafeTensorError::HeaderTooLarge => "it claims a header of more than 100 MB".to_owned(),
        SafeTensorError::MetadataIncompleteBuffer => "its tensors are not as long as the file".to_owned(),
        SafeTensorError::InvalidOffset(name) => format!("tensor `{name}` overlaps another one, or leaves a gap"),
        SafeTensorError::TensorInvalidInfo => "a tensor's shape does not fit its bytes".to_owned(),
        other => other.to_string(),
    };
    format!("{what}; the file is damaged or was cut off, copy it again")
}

/// The first file of the folder that holds weights in a form we refuse.
fn pickled(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|n| [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|end| n.ends_with(end))).min()
}

/// Whether a tensor is one that old versions of transformers saved although it is worked out anew: positions, masks, frequencies.
fn buffer(name: &str) -> bool {
    const ENDS: [&str; 7] = [
        "position_ids",
        "embeddings.token_type_ids",
        "attn.bias",
        "attn.masked_bias",
        "attention.bias",
        "attention.masked_bias",
        "rotary_emb.inv_freq",
    ];
    ENDS.iter().any(|end| name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// Tensors by name, from one file or several.
pub struct Tensors<'a> {
    path: &'a Path,
    files: Vec<SafeTensors<'a>>,
    /// The file's number of each tensor.
    places: BTreeMap<String, usize>,
    /// What was asked for.
    read: Mutex<BTreeSet<String>>,
}

impl Tensors<'_> {
    pub fn path(&self) -> &Path {
        self.path
    }

    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Numbers in all tensors but these and the buffers.
    pub fn elements(&self, without: &[String]) -> usize {
        let counted = self.places.keys().filter(|name| !without.contains(name) && !buffer(name));
        counted.filter_map(|name| self.view(name).ok()).map(|view| view.shape().iter().product::<usize>()).sum()
    }

    /// Whether any name begins so.
    pub fn any_below(&self, prefix: &str) -> bool {
        self.places.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// The tensors that nothing has read so far, by name; buffers that are worked out anew are not among them.
    pub fn unread(&self) -> Vec<String> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        self.places.keys().filter(|name| !read.contains(*name) && !buffer(name)).cloned().collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, InferenceError> {
        Ok(self.view(name)?.shape().to_vec())
    }

    fn view(&self, name: &str) -> Result<TensorView<'_>, InferenceError> {
        let missing = || InferenceError::MissingTensor { path: self.path.to_owned(), name: name.to_owned() };
        let file = self.places.get(name).ok_or_else(missing)?;
        self.files[*file].tensor(name).map_err(|_| missing())
    }
}

mod parts;
mod stored;
#[cfg(test)]
mod tests;
