//! A causal network with its threads: requests in, tokens out. Texts that are asked for at the same time are written together, each
//! as if it were alone.

use super::blocks::{BLOCK, Blocks};
use super::job::Job;
use super::lane::{Lane, Remembered};
use super::limit::Limit;
use super::model::Causal;
use super::score::GROUP;
use super::spec::Spec;
use super::worker::{Loaded, Queue, work};
use crate::inference::InferenceError;
use crate::inference::handle::Threads;
use crate::inference::memory::{Memory, Resident};
use crate::inference::weights::{Digest, Tensors, Weights};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// Beginnings that a generator remembers at most.
const REMEMBERED: usize = 16;

/// How a generator is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Each thread writes its own texts together. Fewer threads make larger batches, more use more cores. There are never more than
    /// have room for one of the longest texts each.
    pub threads: Threads,
    /// Requests that wait for a model thread at most; callers wait beyond that.
    pub queue: usize,
    /// Memory for keys and values, of all threads together. A request is admitted when its share is free.
    pub cache_bytes: usize,
    /// Tokens that go through the network together: all texts that are written, and parts of new prompts.
    pub token_budget: usize,
    /// What the models may take.
    pub memory: Memory,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: Threads::default(), queue: 64, cache_bytes: 256 << 20, token_budget: 256, memory: Memory::default() }
    }
}

/// How the cache is shared out.
#[derive(Clone, Copy)]
struct Shares {
    threads: usize,
    /// Blocks of one thread.
    blocks: usize,
    /// Blocks that `cache_bytes` holds, whatever the threads.
    room: usize,
    /// Bytes of a block.
    block: usize,
}

impl Shares {
    fn new(spec: &Spec, options: &Options) -> Self {
        let block = Blocks::block_bytes(spec);
        let room = (options.cache_bytes / block).max(1);
        let longest = Blocks::needed(spec.max_positions);
        // What a text may be long does not depend on how many cores a machine has.
        let threads = options.threads.count().min((room / longest).max(1));
        // More than 64 of the longest texts a thread would never be used.
        Self { threads, blocks: (room / threads).clamp(1, 64 * longest), room, block }
    }

    /// When all blocks are in use.
    fn bytes(self) -> usize {
        self.blocks * self.block * self.threads
    }
}

/// Memory of a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// The weights, held once for all threads.
    pub weights: usize,
    /// Keys and values of one token.
    pub token: usize,
    /// Keys and values of all threads, when all blocks are in use.
    pub cache: usize,
    /// What each thread needs beside these at most: the largest pass that is admitted, with its logits.
    pub activations: usize,
}

/// A loaded network with its threads. When it is dropped, they finish what was asked and end.
pub struct Generator {
    id: String,
    digest: Digest,
    resident: Arc<Resident<Loaded>>,
    vocabulary: usize,
    max_positions: usize,
    pub(super) limit: Limit,
    /// Bytes of the weights, and of a thread's activations.
    weights: usize,
    activations: usize,
    pub(super) queue: mpsc::Sender<Job>,
    remembered: Remembered,
    shares: Shares,
}

impl Generator {
    /// Opens a Hugging Face folder. Blocks while it reads. `expected` is the sha256 of the weights, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let config = config(folder)?;
        let spec =
            Spec::read(&config).map_err(|cause| InferenceError::Unsupported { path: folder.join("config.json"), cause })?;
        let (shares, digest) = (Shares::new(&spec, options), weights.digest().clone());
        let again = {
            let (folder, digest, wanted) = (folder.to_owned(), digest.clone(), config.clone());
            move || reload(&folder, &digest, &wanted, shares)
        };
        let bytes = tensors.elements(&[]) * size_of::<f32>() + shares.bytes();
        let resident = Resident::open(&options.memory, name, bytes, || read(&config, &tensors, shares), again)?;
        Self::run(name, resident, digest, shares, options)
    }

    /// Starts the threads of a network that is loaded already, and stays so. `digest` is that of its weights.
    pub fn start(name: &str, model: Causal, digest: Digest, options: &Options) -> Result<Self, InferenceError> {
        if let Some(tensor) = model.missing_head() {
            return Err(InferenceError::Poison(format!("{name} has no tensor `{tensor}`, so that it cannot write")));
        }
        let shares = Shares::new(model.spec(), options);
        let bytes = model.bytes() + shares.bytes();
        Self::run(name, Resident::fixed(Loaded::new(model), bytes), digest, shares, options)
    }

    fn run(
        name: &str,
        resident: Resident<Loaded>,
        digest: Digest,
        shares: Shares,
        options: &Options,
    ) -> Result<Self, InferenceError> {
        let (vocabulary, max_positions, limit, weights, activations) = {
            let loaded = resident.lease()?;
            let model = &loaded.model;
            // Each text that is written has a block at least, and a token in each pass, beside the prompts within the budget.
            let (texts, positions) = (shares.blocks, model.max_positions().min(shares.blocks * BLOCK));
            let activations = model.activations(options.token_budget + texts, texts.max(GROUP), positions);
            (model.vocabulary(), model.max_positions(), model.limit(), model.bytes(), activations)
        };
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let queue = Arc::new(Queue::new(receiver, shares.threads));
        let (remembered, resident) = (Remembered::default(), Arc::new(resident));
        for index in 0..shares.threads {
            let (queue, resident, remembered) = (Arc::clone(&queue), Arc::clone(&resident), Arc::clone(&remembered));
            let budget = options.token_budget;
            let lane = move |model| Lane::new(model, shares.blocks, budget, Arc::clone(&remembered));
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || work(&queue, index, &resident, lane))
                .map_err(|e| InferenceError::Closed(e.to_string()))?;
        }
        let id = format!("{name}@{}", digest.short());
        Ok(Self {
            id,
            digest,
            resident,
            vocabulary,
            max_positions,
            limit,
            weights,
            activations,
            queue: sender,
            remembered,
            shares,
        })
    }

    /// Keeps the network in memory, whatever other models need. An error when it does not fit beside those that are pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.resident.pin()
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Tokens of a text at most, prompt and new ones.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Tokens of a text at most for which there are positions and cache. The same for any number of threads.
    pub fn room(&self) -> usize {
        self.max_positions.min(self.shares.room * BLOCK)
    }

    /// Tokens of a prompt at most, behind which `more` tokens come, and the same again in `others` texts that share it.
    pub fn room_for(&self, more: usize, others: usize) -> usize {
        if self.limit.exists() {
            // Each text may need blocks of its own for all that it has.
            let blocks = self.shares.room / others.saturating_add(1);
            return self.max_positions().min(blocks * BLOCK).saturating_sub(more);
        }
        // Another text takes what it writes, and the block that the prompt has begun.
        let beside = others.saturating_mul(more.next_multiple_of(BLOCK) + BLOCK);
        let cached = (self.shares.room * BLOCK).saturating_sub(beside);
        self.max_positions().min(cached).saturating_sub(more)
    }

    pub fn bytes(&self) -> Bytes {
        Bytes {
            weights: self.weights,
            token: self.shares.block / BLOCK,
            cache: self.shares.bytes(),
            activations: self.activations,
        }
    }

    /// Keeps the keys and values of these ids, such as the beginning of a template: texts that begin with them do not compute them
    /// again. They stay while there is room, and should hold nothing of one sender that another must not notice. When there are
    /// more than 16, the oldest is given up. A text that begins with a remembered prefix has the same numbers to the bit whether that is
    /// kept just now or not; where nothing is remembered they are the same up to rounding.
    pub fn remember(&self, ids: Vec<u32>) -> Result<(), InferenceError> {
        self.check(&ids, ids.len(), Blocks::needed(ids.len()))?;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Arc<[u32]> = ids.into();
        remembered.retain(|other| *other != ids);
        if remembered.len() == REMEMBERED {
            remembered.remove(0);
        }
        remembered.push(ids);
        Ok(())
    }

    pub(super) fn known(&self, ids: &[u32]) -> Result<(), InferenceError> {
        let vocabulary = self.vocabulary();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => Err(InferenceError::Poison(format!("token id {id}; this model has ids below {vocabulary}"))),
            None => Ok(()),
        }
    }

    /// Whether a text of so many tokens, which begins with `ids`, can ever run.
    pub(super) fn check(&self, ids: &[u32], tokens: usize, blocks: usize) -> Result<(), InferenceError> {
        self.known(ids)?;
        let (most, room) = (self.max_positions(), self.shares.blocks);
        if ids.is_empty() {
            return Err(InferenceError::Poison("a text without ids; at least 1 is expected".to_owned()));
        }
        if tokens > most {
            let (prompt, new) = (ids.len(), tokens - ids.len());
            let cause = format!("{prompt} ids and {new} more are {tokens} tokens; this model has positions for {most}");
            return Err(InferenceError::Poison(cause));
        }
        if blocks > room {
            let cause = format!("it takes {blocks} blocks of {BLOCK} tokens, and a thread's cache has {room}; raise cache_bytes");
            return Err(InferenceError::Poison(cause));
        }
        Ok(())
    }
}

fn config(folder: &Path) -> Result<Value, InferenceError> {
    let path = folder.join("config.json");
    let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
    serde_json::from_slice(&bytes).map_err(|e| InferenceError::Malformed { path, cause: e.to_string() })
}

/// A network that can write, and what it takes with its cache.
fn read(config: &Value, tensors: &Tensors<'_>, shares: Shares) -> Result<(Loaded, usize), InferenceError> {
    let model = Causal::load(config, tensors)?;
    if let Some(name) = model.missing_head() {
        return Err(InferenceError::MissingTensor { path: tensors.path().to_owned(), name: name.to_owned() });
    }
    let bytes = model.bytes() + shares.bytes();
    Ok((Loaded::new(model), bytes))
}

/// The same once more from a folder that must be as it was.
fn reload(folder: &Path, digest: &Digest, wanted: &Value, shares: Shares) -> Result<(Loaded, usize), InferenceError> {
    let (config, weights) = (config(folder)?, Weights::open(folder, Some(digest.as_str()))?);
    if config != *wanted {
        let cause = "it is another than when the model was opened; start again".to_owned();
        return Err(InferenceError::Unsupported { path: folder.join("config.json"), cause });
    }
    read(&config, &weights.tensors()?, shares)
}
