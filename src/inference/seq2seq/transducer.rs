//! A model folder that writes, brought to life: ids in, ids out, on threads of its own. Texts become ids outside.

use super::{GenerateOptions, Seq2Seq};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::handle::{Handle, Model};
use crate::inference::weights::{Digest, Weights};
use crate::inference::{InferenceError, Options, batch};
use futures_util::future::try_join_all;
use std::path::Path;
use std::sync::Arc;

/// A loaded model with its threads.
pub struct Transducer {
    id: String,
    digest: Digest,
    unread: Vec<String>,
    network: Arc<Seq2Seq>,
    defaults: GenerateOptions,
    handle: Handle<Engine>,
}

impl Transducer {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let network = Arc::new(Seq2Seq::load(&config, &tensors)?);
        let unread = tensors.unread();
        let mut defaults = GenerateOptions::read(folder, &config)?;
        // What a folder says about length is a wish; the network's own bound is not.
        defaults.max_new_tokens = defaults.max_new_tokens.min(network.max_tokens());
        defaults.check(&network)?;
        let (engine, token_budget) = (Arc::clone(&network), options.token_budget);
        let build = move || Engine { network: Arc::clone(&engine), token_budget };
        let handle = Handle::start(name, options.threads, options.queue, build)?;
        let digest = weights.digest().clone();
        Ok(Self { id: format!("{name}@{}", digest.short()), digest, unread, network, defaults, handle })
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

    pub fn network(&self) -> &Seq2Seq {
        &self.network
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

struct Engine {
    network: Arc<Seq2Seq>,
    token_budget: usize,
}

impl Model for Engine {
    type Input = Request;
    type Output = Vec<Vec<u32>>;

    fn infer(&mut self, request: Request) -> Result<Vec<Vec<u32>>, InferenceError> {
        let lengths: Vec<usize> = request.sources.iter().map(Vec::len).collect();
        let mut outputs = vec![Vec::new(); lengths.len()];
        for batch in batch::by_token_budget(&lengths, self.token_budget) {
            let texts: Vec<&[u32]> = batch.iter().map(|&at| request.sources[at].as_slice()).collect();
            let written = self.network.generate_batch(&texts, &request.options)?;
            batch.into_iter().zip(written).for_each(|(at, written)| outputs[at] = written);
        }
        Ok(outputs)
    }
}
