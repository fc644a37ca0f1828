//! A model folder brought to life: texts in, vectors or label probabilities out.

use super::InferenceError;
use super::batch;
use super::bert::{Bert, Config, Pooling, Scratch};
use super::handle::{Handle, Model, Threads};
use super::tokenizer::{TextTokenizer, Tokens};
use super::weights::{Digest, Weights};
use futures_util::future::try_join_all;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;

/// How a model is run.
#[derive(Debug, Clone)]
pub struct Options {
    pub threads: Threads,
    /// Pieces of slices that wait for a model thread at most; callers wait beyond that.
    pub queue: usize,
    /// Tokens that go through the network together. More do not make it faster once the products are large, but need more memory:
    /// about 24 KB a token for MiniLM.
    pub token_budget: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: Threads::default(), queue: 64, token_budget: 512 }
    }
}

/// What is asked about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The pooled vector, of length 1: `[hidden]`.
    Embed,
    /// The probability of each label: `[labels]`.
    Classify,
}

/// The answer for one text.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Finite numbers; what they are depends on the [`Head`].
    pub values: Vec<f32>,
    /// Tokens that the network saw, special ones included.
    pub tokens: usize,
    /// Whether the text was longer than the model can see.
    pub truncated: bool,
}

struct Shared {
    bert: Bert,
    tokenizer: TextTokenizer,
    token_budget: usize,
}

/// A loaded model with its threads.
pub struct Encoder {
    id: String,
    digest: Digest,
    shared: Arc<Shared>,
    handle: Handle<Engine>,
}

impl Encoder {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = Config::open(folder)?;
        let weights = Weights::open(folder, expected)?;
        let bert = Bert::load(&config, &weights.tensors()?, pooling(folder)?)?;
        let tokenizer = TextTokenizer::open(folder, max_tokens(folder, &config)?)?;
        if tokenizer.vocabulary() > config.vocab_size {
            let cause = format!("tokenizer.json has {} tokens, the model only {}", tokenizer.vocabulary(), config.vocab_size);
            return Err(InferenceError::Unsupported { path: folder.join("tokenizer.json"), cause });
        }
        let shared = Arc::new(Shared { bert, tokenizer, token_budget: options.token_budget });
        let engine = Arc::clone(&shared);
        let build = move || Engine { shared: Arc::clone(&engine), scratch: Scratch::default() };
        let handle = Handle::start(name, options.threads, options.queue, build)?;
        let digest = weights.digest().clone();
        Ok(Self { id: format!("{name}@{}", digest.short()), digest, shared, handle })
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Numbers in an embedding.
    pub fn dimensions(&self) -> usize {
        self.shared.bert.hidden()
    }

    /// The classifier's labels in the order of its probabilities; `None` for a model without a classifier.
    pub fn labels(&self) -> Option<&[String]> {
        self.shared.bert.classifier().map(|c| c.labels())
    }

    /// Tokens of a text that the model sees at most.
    pub fn max_tokens(&self) -> usize {
        self.shared.tokenizer.max_tokens()
    }

    pub fn tokenize(&self, text: &str) -> Result<Tokens, InferenceError> {
        self.shared.tokenizer.encode(text)
    }

    /// One answer a text, in the same order. The texts are shared out among the model threads.
    pub async fn answer(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        let requests = self.requests(head, texts);
        Ok(try_join_all(requests.into_iter().map(|r| self.handle.infer(r))).await?.concat())
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn answer_blocking(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        Ok(self.handle.infer_blocking(self.requests(head, texts))?.concat())
    }

    fn requests(&self, head: Head, texts: Vec<String>) -> Vec<Request> {
        // A token has about five bytes, and every text costs its special tokens.
        let longest = self.max_tokens();
        let weights: Vec<usize> = texts.iter().map(|t| (2 + t.len() / 5).min(longest)).collect();
        let mut texts = texts.into_iter();
        let ranges = batch::shares(&weights, self.handle.threads());
        ranges.into_iter().map(|range| Request { head, texts: texts.by_ref().take(range.len()).collect() }).collect()
    }
}

struct Request {
    head: Head,
    texts: Vec<String>,
}

struct Engine {
    shared: Arc<Shared>,
    scratch: Scratch,
}

impl Model for Engine {
    type Input = Request;
    type Output = Vec<Answer>;

    fn infer(&mut self, request: Request) -> Result<Vec<Answer>, InferenceError> {
        let Shared { bert, tokenizer, token_budget } = &*self.shared;
        let tokens: Vec<Tokens> = request.texts.iter().map(|t| tokenizer.encode(t)).collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = tokens.iter().map(|t| t.ids.len()).collect();
        let mut answers: Vec<Answer> =
            tokens.iter().map(|t| Answer { values: Vec::new(), tokens: t.ids.len(), truncated: t.truncated }).collect();
        for batch in batch::by_token_budget(&lengths, *token_budget) {
            let texts: Vec<&[u32]> = batch.iter().map(|&i| tokens[i].ids.as_slice()).collect();
            let values = match request.head {
                Head::Embed => bert.embed(&texts, &mut self.scratch)?,
                Head::Classify => bert.classify(&texts, &mut self.scratch)?,
            };
            for (index, values) in batch.into_iter().zip(values) {
                answers[index].values = values;
            }
        }
        match answers.iter().any(|a| a.values.iter().any(|v| !v.is_finite())) {
            true => Err(InferenceError::Poison("an answer is not a finite number".to_owned())),
            false => Ok(answers),
        }
    }
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

/// What the position table allows, less when `sentence_bert_config.json` says so.
fn max_tokens(folder: &Path, config: &Config) -> Result<usize, InferenceError> {
    #[derive(Deserialize)]
    struct Sentence {
        max_seq_length: Option<usize>,
    }
    let file: Option<Sentence> = optional(folder, "sentence_bert_config.json")?;
    let wanted = file.and_then(|s| s.max_seq_length).filter(|&n| n >= 3);
    Ok(wanted.unwrap_or(config.max_position_embeddings).min(config.max_position_embeddings))
}

/// Mean pooling, unless `1_Pooling/config.json` says otherwise.
fn pooling(folder: &Path) -> Result<Pooling, InferenceError> {
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
