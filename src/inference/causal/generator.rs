//! A causal network with its threads: requests in, tokens out. Texts that are asked for at the same time are written together, each
//! as if it were alone.

use super::blocks::{BLOCK, Blocks};
use super::engine::Engine;
use super::job::{Generate, Job, Score};
use super::lane::{Lane, Remembered};
use super::model::Causal;
use super::request::{Generated, Request, Token};
use super::worker::{Queue, work};
use crate::inference::InferenceError;
use crate::inference::handle::Threads;
use crate::inference::weights::{Digest, Weights};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Beginnings that a generator remembers at most.
const REMEMBERED: usize = 16;

/// How a generator is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Each thread writes its own texts together. Fewer threads make larger batches, more use more cores.
    pub threads: Threads,
    /// Requests that wait for a model thread at most; callers wait beyond that.
    pub queue: usize,
    /// Memory for keys and values, of all threads together. A request is admitted when its share is free.
    pub cache_bytes: usize,
    /// Tokens that go through the network together: all texts that are written, and parts of new prompts.
    pub token_budget: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: Threads::default(), queue: 64, cache_bytes: 256 << 20, token_budget: 256 }
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
}

/// A loaded network with its threads. When it is dropped, they finish what was asked and end.
pub struct Generator {
    id: String,
    digest: Digest,
    model: Arc<Causal>,
    queue: mpsc::Sender<Job>,
    remembered: Remembered,
    /// Blocks of one thread.
    blocks: usize,
    threads: usize,
}

impl Generator {
    /// Opens a Hugging Face folder. Blocks while it reads. `expected` is the sha256 of the weights, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let path = folder.join("config.json");
        let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
        let config = serde_json::from_slice(&bytes).map_err(|e| InferenceError::Malformed { path, cause: e.to_string() })?;
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let model = Causal::load(&config, &tensors)?;
        if let Some(name) = model.missing_head() {
            return Err(InferenceError::MissingTensor { path: tensors.path().to_owned(), name: name.to_owned() });
        }
        Self::start(name, model, weights.digest().clone(), options)
    }

    /// Starts the threads of a network that is loaded already. `digest` is that of its weights.
    pub fn start(name: &str, model: Causal, digest: Digest, options: &Options) -> Result<Self, InferenceError> {
        if let Some(tensor) = model.missing_head() {
            return Err(InferenceError::Poison(format!("{name} has no tensor `{tensor}`, so that it cannot write")));
        }
        let model = Arc::new(model);
        let threads = options.threads.count();
        // More than 64 of the longest texts a thread would never be used.
        let most = 64 * Blocks::needed(model.max_positions());
        let blocks = (options.cache_bytes / threads / Blocks::block_bytes(model.spec())).clamp(1, most);
        let (sender, receiver) = mpsc::channel(options.queue.max(1));
        let queue = Arc::new(Queue::new(receiver, threads));
        let remembered = Remembered::default();
        for index in 0..threads {
            let (queue, model, remembered) = (Arc::clone(&queue), Arc::clone(&model), Arc::clone(&remembered));
            let budget = options.token_budget;
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || work(&queue, index, Engine::new(Lane::new(model, blocks, budget, remembered))))
                .map_err(|e| InferenceError::Closed(e.to_string()))?;
        }
        Ok(Self { id: format!("{name}@{}", digest.short()), digest, model, queue: sender, remembered, blocks, threads })
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn vocabulary(&self) -> usize {
        self.model.vocabulary()
    }

    /// Tokens of a text at most, prompt and new ones.
    pub fn max_positions(&self) -> usize {
        self.model.max_positions()
    }

    pub fn bytes(&self) -> Bytes {
        let block = Blocks::block_bytes(self.model.spec());
        Bytes { weights: self.model.bytes(), token: block / BLOCK, cache: self.blocks * block * self.threads }
    }

    /// Keeps the keys and values of these ids, such as the beginning of a template: texts that begin with them do not compute them
    /// again. They stay while there is room, and should hold nothing of one sender that another must not notice. When there are
    /// more than 16, the oldest is given up.
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

    /// Goes on with a text. When the caller drops the future, the text is given up and its memory freed.
    pub async fn generate(&self, request: Request) -> Result<Generated, InferenceError> {
        self.submit(request, None).await
    }

    /// The same, and sends each token when it is chosen. When the receiver is dropped, the text is given up too.
    pub async fn stream(&self, request: Request, tokens: mpsc::UnboundedSender<Token>) -> Result<Generated, InferenceError> {
        self.submit(request, Some(tokens)).await
    }

    async fn submit(&self, request: Request, stream: Option<mpsc::UnboundedSender<Token>>) -> Result<Generated, InferenceError> {
        let Request { ids, max_new_tokens, stop_ids, choose } = request;
        if max_new_tokens == 0 {
            return Err(InferenceError::Poison("max_new_tokens is 0; at least 1 is expected".to_owned()));
        }
        let tokens = ids.len().saturating_add(max_new_tokens);
        self.check(&ids, tokens, Blocks::needed(tokens))?;
        let (reply, answer) = oneshot::channel();
        self.send(Job::Generate(Generate { ids, max_new_tokens, stop_ids, choose, stream, reply })).await?;
        answer.await.map_err(|_| gone())?
    }

    /// The summed log-probability of each continuation after the prefix, which is computed once. The first token of a continuation
    /// is predicted by the last of the prefix.
    pub async fn score(&self, prefix: Vec<u32>, continuations: Vec<Vec<u32>>) -> Result<Vec<f32>, InferenceError> {
        let scores = self.scores(prefix, continuations).await?;
        Ok(scores.into_iter().map(|tokens| tokens.iter().map(|p| f64::from(*p)).sum::<f64>() as f32).collect())
    }

    /// The log-probability of each id after the first, given those before it: `[ids - 1]`. The perplexity is `e` to the power of
    /// their negated mean.
    pub async fn log_likelihood(&self, mut ids: Vec<u32>) -> Result<Vec<f32>, InferenceError> {
        if ids.len() < 2 {
            return Err(InferenceError::Poison(format!(
                "{} ids; at least 2 are needed, since the first is not predicted",
                ids.len()
            )));
        }
        let rest = ids.split_off(1);
        Ok(self.scores(ids, vec![rest]).await?.concat())
    }

    /// The log-probability of each token of each continuation.
    async fn scores(&self, prefix: Vec<u32>, continuations: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, InferenceError> {
        if let Some(index) = continuations.iter().position(Vec::is_empty) {
            return Err(InferenceError::Poison(format!("continuation {index} is empty")));
        }
        let (reply, answer) = oneshot::channel();
        let job = Score { prefix, continuations, reply };
        self.check(&job.prefix, job.longest(), job.blocks())?;
        for continuation in &job.continuations {
            self.known(continuation)?;
        }
        self.send(Job::Score(job)).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, job: Job) -> Result<(), InferenceError> {
        self.queue.send(job).await.map_err(|_| gone())
    }

    fn known(&self, ids: &[u32]) -> Result<(), InferenceError> {
        let vocabulary = self.vocabulary();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => Err(InferenceError::Poison(format!("token id {id}; this model has ids below {vocabulary}"))),
            None => Ok(()),
        }
    }

    /// Whether a text of so many tokens, which begins with `ids`, can ever run.
    fn check(&self, ids: &[u32], tokens: usize, blocks: usize) -> Result<(), InferenceError> {
        self.known(ids)?;
        let (most, room) = (self.max_positions(), self.blocks);
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

fn gone() -> InferenceError {
    InferenceError::Closed("they ended before they answered".to_owned())
}
