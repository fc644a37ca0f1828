//! An encoder without its heads: tokeniser, network and pooling. Models that stand on the same encoder share it, by the digest of its
//! weights.

use super::InferenceError;
use super::checkpoint::ModelConfig;
use super::contents::contents;
use super::flights::Flights;
use super::memory::{Lease, Memory, Resident};
use super::network::{self, Network, Plan, Scratch};
use super::tokenizer::{TextTokenizer, max_tokens};
use super::weights::{Digest, Tensors, Weights};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How token vectors become one text vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    FirstToken,
}

/// A network in memory, with the buffers of those who ran it.
pub struct Loaded {
    pub network: Box<dyn Network>,
    free: Mutex<Vec<Scratch>>,
}

impl Loaded {
    fn new(network: Box<dyn Network>) -> Self {
        Self { network, free: Mutex::default() }
    }

    /// Buffers for one thread; to be put back when it has read what is in them.
    pub fn scratch(&self) -> Scratch {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub fn put_back(&self, scratch: Scratch) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

/// What heads stand on. The network may have to go while nobody uses it, and is then read again; the rest stays.
pub struct Backbone {
    resident: Resident<Loaded>,
    /// Numbers in a token's vector.
    pub hidden: usize,
    /// Ids that have a vector.
    pub vocabulary: usize,
    pub tokenizer: TextTokenizer,
    /// The id of the mask token, for tokenisers that have one.
    pub mask_token: Option<u32>,
    pub pooling: Pooling,
    /// Tensors of the file that the network has not read.
    pub unread: Vec<String>,
    /// The digest of what the encoder's answers depend on.
    pub contents: Digest,
    /// Texts whose vectors are computed just now, for whichever model on this encoder.
    pub flights: Flights,
}

impl Backbone {
    fn load(
        name: &str,
        folder: &Path,
        config: &ModelConfig,
        weights: &Weights,
        contents: Digest,
        (memory, plan): (&Memory, Plan),
    ) -> Result<Self, InferenceError> {
        let tensors = weights.tensors()?;
        let again = {
            let (folder, contents) = (folder.to_owned(), contents.clone());
            move || reload(&folder, &contents, plan)
        };
        let first = || read(config, &tensors, plan);
        let resident = Resident::open(memory, name, tensors.bytes_in_memory(&[]), first, again)?;
        let loaded = resident.lease()?;
        let (hidden, vocabulary) = (loaded.network.hidden(), loaded.network.vocabulary());
        let tokenizer = TextTokenizer::open(folder, max_tokens(folder, loaded.network.max_tokens())?)?;
        if tokenizer.vocabulary() > vocabulary {
            let tokens = tokenizer.vocabulary();
            let cause = format!(
                "it has {tokens} tokens, the model only {vocabulary}; the two do not belong together, or tokens were added later"
            );
            return Err(InferenceError::Unsupported { path: tokenizer.path().to_owned(), cause });
        }
        let mask_token = ["[MASK]", "<mask>"].into_iter().find_map(|token| tokenizer.id(token));
        let (unread, pooling) = (tensors.unread(), pooling(folder)?);
        drop(loaded);
        let flights = Flights::default();
        Ok(Self { resident, hidden, vocabulary, tokenizer, mask_token, pooling, unread, contents, flights })
    }

    /// Around a network that somebody else has made.
    #[cfg(test)]
    pub fn of(network: Box<dyn Network>, tokenizer: TextTokenizer, contents: Digest) -> Self {
        let (hidden, vocabulary) = (network.hidden(), network.vocabulary());
        let resident = Resident::fixed(Loaded::new(network), 0);
        let (mask_token, pooling, unread) = (None, Pooling::Mean, Vec::new());
        let flights = Flights::default();
        Self { resident, hidden, vocabulary, tokenizer, mask_token, pooling, unread, contents, flights }
    }

    /// The network, read again where it had to go; blocks meanwhile.
    pub fn lease(&self) -> Result<Lease<Loaded>, InferenceError> {
        self.resident.lease()
    }

    /// Keeps the network in memory from now on.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.resident.pin()
    }
}

/// A network, and the bytes of what it has read: each number takes four in memory, however it is stored, but in the word table.
fn read(config: &ModelConfig, tensors: &Tensors<'_>, plan: Plan) -> Result<(Loaded, usize), InferenceError> {
    let network = network::load_by(plan, config, tensors)?;
    Ok((Loaded::new(network), tensors.bytes_in_memory(&tensors.unread())))
}

/// The same once more from a folder that must be as it was.
fn reload(folder: &Path, wanted: &Digest, plan: Plan) -> Result<(Loaded, usize), InferenceError> {
    let (config, weights) = (ModelConfig::open(folder)?, Weights::open(folder, None)?);
    if contents(folder, weights.digest())? != *wanted {
        return Err(changed(folder));
    }
    read(&config, &weights.tensors()?, plan)
}

/// Of a folder that is not as it was when its model was read first.
pub fn changed(folder: &Path) -> InferenceError {
    let cause = "its files are others than when the model was opened; start again, so that answers name the model they are of";
    InferenceError::Unsupported { path: folder.to_owned(), cause: cause.to_owned() }
}

/// The encoders of this process that are in use, by the digest of their contents: what stands beside the weights (configuration,
/// tokeniser, pooling) counts too, the place does not.
#[derive(Clone, Default)]
pub struct Backbones {
    open: Arc<Mutex<Open>>,
    /// How networks are loaded.
    plan: Plan,
}

/// By contents. Each has a lock of its own, so that one that is being loaded keeps nobody from another.
type Open = HashMap<String, Arc<Mutex<Weak<Backbone>>>>;

impl std::fmt::Debug for Backbones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backbones")
    }
}

impl Backbones {
    /// Those whose networks are loaded by another plan than the usual one.
    pub fn by_plan(plan: Plan) -> Self {
        Self { plan, ..Self::default() }
    }

    /// Whoever asks for these contents while somebody holds this encoder gets it.
    #[cfg(test)]
    pub fn put(&self, backbone: &Arc<Backbone>) {
        let slot = Arc::new(Mutex::new(Arc::downgrade(backbone)));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(backbone.contents.as_str().to_owned(), slot);
    }

    /// The encoder of a folder whose weights must have this sha256.
    pub fn open(&self, name: &str, folder: &Path, sha256: &str, memory: &Memory) -> Result<Arc<Backbone>, InferenceError> {
        let config = ModelConfig::open(folder)?;
        if config.get("backbone").is_some() {
            return Err(config.unsupported("it is a head itself; a head must name a whole model as its backbone".to_owned()));
        }
        self.get_or_load(name, folder, &config, &Weights::open(folder, Some(sha256))?, memory)
    }

    /// The encoder of an open folder; loaded when nobody uses it yet. Others who want the same meanwhile wait.
    pub fn get_or_load(
        &self,
        name: &str,
        folder: &Path,
        config: &ModelConfig,
        weights: &Weights,
        memory: &Memory,
    ) -> Result<Arc<Backbone>, InferenceError> {
        let contents = contents(folder, weights.digest())?;
        let slot = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            // A slot that somebody is loading into, or waits for, is held by him too.
            open.retain(|_, slot| Arc::strong_count(slot) > 1 || is_used(slot));
            Arc::clone(open.entry(contents.as_str().to_owned()).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backbone) = slot.upgrade() {
            return Ok(backbone);
        }
        let backbone = Arc::new(Backbone::load(name, folder, config, weights, contents, (memory, self.plan))?);
        *slot = Arc::downgrade(&backbone);
        Ok(backbone)
    }
}

fn is_used(slot: &Mutex<Weak<Backbone>>) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
}

/// The encoder that a head's folder names.
pub struct Named {
    pub folder: PathBuf,
    pub sha256: String,
}

/// The encoder that `config.json` names under `backbone`; `None` for a whole model. The digest must stand in the head's own file too, so
/// that the head's digest covers what it stands on.
pub fn named(config: &ModelConfig, folder: &Path, weights: &Weights) -> Result<Option<Named>, InferenceError> {
    #[derive(Deserialize)]
    struct Base {
        folder: PathBuf,
        sha256: String,
    }
    let Some(value) = config.get("backbone") else { return Ok(None) };
    let base: Base = serde_json::from_value(value.clone())
        .map_err(|cause| config.unsupported(format!("`backbone` must have `folder` and `sha256`: {cause}")))?;
    let meant = weights.metadata("backbone")?;
    if base.sha256.len() != 64 || meant.as_deref() != Some(&base.sha256) {
        let meant = meant.unwrap_or_else(|| "none".to_owned());
        let cause = format!("`backbone.sha256` is {}, but model.safetensors was made for {meant}", base.sha256);
        return Err(config.unsupported(cause));
    }
    Ok(Some(Named { folder: folder.join(base.folder), sha256: base.sha256 }))
}

/// An optional file of the sentence-transformers layout.
fn optional<T: for<'a> Deserialize<'a>>(folder: &Path, file: &str) -> Result<Option<T>, InferenceError> {
    let path = folder.join(file);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
    serde_json::from_slice(&bytes).map(Some).map_err(|e| InferenceError::Malformed { path, cause: e.to_string() })
}

/// Mean pooling, unless `1_Pooling/config.json` says otherwise.
pub fn pooling(folder: &Path) -> Result<Pooling, InferenceError> {
    #[derive(Deserialize)]
    #[serde(default)]
    struct File {
        pooling_mode_mean_tokens: bool,
        pooling_mode_cls_token: bool,
    }
    impl Default for File {
        fn default() -> Self {
            Self { pooling_mode_mean_tokens: true, pooling_mode_cls_token: false }
        }
    }
    let name = "1_Pooling/config.json";
    let file: File = optional(folder, name)?.unwrap_or_default();
    match (file.pooling_mode_mean_tokens, file.pooling_mode_cls_token) {
        (true, false) => Ok(Pooling::Mean),
        (false, true) => Ok(Pooling::FirstToken),
        _ => {
            let cause = "neither mean nor first-token pooling alone; other poolings are not supported".to_owned();
            Err(InferenceError::Unsupported { path: folder.join(name), cause })
        }
    }
}
