//! A model folder that writes, brought to life: ids in, ids out, on threads of its own. Texts become ids outside. The network may have to go
//! while it has nothing to write, and is then read again.

use super::{GenerateOptions, Seq2Seq, Sizes};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::contents::contents;
use crate::inference::handle::{Handle, Model};
use crate::inference::memory::Resident;
use crate::inference::weights::{Digest, Tensors, Weights};
use crate::inference::{InferenceError, Options, backbone::changed, batch};
use futures_util::future::try_join_all;
use std::path::Path;
use std::sync::Arc;

/// A loaded model with its threads.
pub struct Transducer {
    id: String,
    digest: Digest,
    unread: Vec<String>,
    resident: Arc<Resident<Seq2Seq>>,
    sizes: Sizes,
    defaults: GenerateOptions,
    handle: Handle<Engine>,
}

impl Transducer {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let contents = contents(folder, weights.digest())?;
        let again = {
            let folder = folder.to_owned();
            move || reload(&folder, &contents)
        };
        let bytes = tensors.elements(&[]) * size_of::<f32>();
        let resident = Arc::new(Resident::open(&options.memory, name, bytes, || read(&config, &tensors), again)?);
        let (sizes, unread) = (resident.lease()?.sizes(), tensors.unread());
        let mut defaults = GenerateOptions::read(folder, &config)?;
        // What a folder says about length is a wish; the network's own bound is not.
        defaults.max_new_tokens = defaults.max_new_tokens.min(sizes.max_tokens());
        defaults.check(&sizes)?;
        let (engine, token_budget) = (Arc::clone(&resident), options.token_budget);
        let build = move || Engine { resident: Arc::clone(&engine), token_budget };
        let handle = Handle::start(name, options.threads, options.queue, build)?;
        let digest = weights.digest().clone();
        Ok(Self { id: format!("{name}@{}", digest.short()), digest, unread, resident, sizes, defaults, handle })
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Tensors of the file that nothing has read, by name: copies of a shared word table, positions that are worked out anew. Many of
    /// others tell that the file is of another architecture than its `config.json` says.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// What the folder says about writing.
    pub fn defaults(&self) -> &GenerateOptions {
        &self.defaults
    }

    /// What the network takes and gives, whether it is loaded just now or not.
    pub fn network(&self) -> &Sizes {
        &self.sizes
    }

    /// Keeps the network in memory, whatever other models need. An error when it does not fit beside those that are pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.resident.pin()
    }

    /// What is written for each source, in the same order: without the start token, with the token that ended it. The sources are
    /// shared out among the model threads.
    pub async fn transduce(&self, sources: Vec<Vec<u32>>, options: &GenerateOptions) -> Result<Vec<Vec<u32>>, InferenceError> {
        let requests = self.requests(sources, options);
        Ok(try_join_all(requests.into_iter().map(|request| self.handle.infer(request))).await?.concat())
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn transduce_blocking(&self, sources: Vec<Vec<u32>>, options: &GenerateOptions) -> Result<Vec<Vec<u32>>, InferenceError> {
        Ok(self.handle.infer_blocking(self.requests(sources, options))?.concat())
    }

    fn requests(&self, sources: Vec<Vec<u32>>, options: &GenerateOptions) -> Vec<Request> {
        let weights: Vec<usize> = sources.iter().map(Vec::len).collect();
        let mut sources = sources.into_iter();
        let ranges = batch::shares(&weights, self.handle.threads());
        let request = |range: std::ops::Range<usize>| Request {
            sources: sources.by_ref().take(range.len()).collect(),
            options: options.clone(),
        };
        ranges.into_iter().map(request).collect()
    }
}

struct Request {
    sources: Vec<Vec<u32>>,
    options: GenerateOptions,
}

/// A network, and the bytes of what it has read: each number takes four in memory.
fn read(config: &ModelConfig, tensors: &Tensors<'_>) -> Result<(Seq2Seq, usize), InferenceError> {
    let network = Seq2Seq::load(config, tensors)?;
    Ok((network, tensors.elements(&tensors.unread()) * size_of::<f32>()))
}

/// The same once more from a folder that must be as it was.
fn reload(folder: &Path, wanted: &Digest) -> Result<(Seq2Seq, usize), InferenceError> {
    let (config, weights) = (ModelConfig::open(folder)?, Weights::open(folder, None)?);
    if contents(folder, weights.digest())? != *wanted {
        return Err(changed(folder));
    }
    read(&config, &weights.tensors()?)
}

struct Engine {
    resident: Arc<Resident<Seq2Seq>>,
    token_budget: usize,
}

impl Model for Engine {
    type Input = Request;
    type Output = Vec<Vec<u32>>;

    fn infer(&mut self, request: Request) -> Result<Vec<Vec<u32>>, InferenceError> {
        let lengths: Vec<usize> = request.sources.iter().map(Vec::len).collect();
        let mut outputs = vec![Vec::new(); lengths.len()];
        let mut network = self.resident.lease()?;
        for batch in batch::by_token_budget(&lengths, self.token_budget) {
            if network.is_wanted() {
                // Writing is slow: others who wait for the room have it between two batches.
                drop(network);
                network = self.resident.lease()?;
            }
            let texts: Vec<&[u32]> = batch.iter().map(|&at| request.sources[at].as_slice()).collect();
            let written = network.generate_batch(&texts, &request.options)?;
            batch.into_iter().zip(written).for_each(|(at, written)| outputs[at] = written);
        }
        Ok(outputs)
    }
}
