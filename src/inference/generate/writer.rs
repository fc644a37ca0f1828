//! A model folder that writes: network, vocabulary, chat template.

use super::super::causal::{Generator, Options, Request};
use super::super::template::ChatTemplate;
use super::super::{Digest, InferenceError};
use super::sampler::{Sampler, Trace};
use super::vocabulary::Vocabulary;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Tokens, prompt and answer, for which a cache must have room at least.
const USEFUL: usize = 64;

/// A loaded model.
pub struct Writer {
    generator: Generator,
    vocabulary: Arc<Vocabulary>,
    template: Option<ChatTemplate>,
    room: usize,
}

impl Writer {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of the weights, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let vocabulary = Vocabulary::open(folder)?;
        let unreadable = |cause: String| InferenceError::Malformed { path: folder.to_owned(), cause };
        let template = ChatTemplate::open(folder, None).map_err(|error| unreadable(error.to_string()))?;
        let generator = Generator::open(name, folder, expected, options)?;
        if vocabulary.size() > generator.vocabulary() {
            let cause = format!("tokenizer.json has {} tokens, the model only {}", vocabulary.size(), generator.vocabulary());
            return Err(InferenceError::Unsupported { path: folder.join("tokenizer.json"), cause });
        }
        let (room, useful) = (generator.room(), generator.max_positions().min(USEFUL));
        if room < useful {
            let needed = generator.bytes().token * useful;
            let cause =
                format!("cache_bytes has room for {room} tokens of a text, too few to write; give at least {needed} bytes");
            return Err(InferenceError::Unsupported { path: folder.to_owned(), cause });
        }
        Ok(Self { generator, vocabulary: Arc::new(vocabulary), template, room })
    }

    /// Keeps the network in memory, whatever other models need. An error when it does not fit beside those that are pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.generator.pin()
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        self.generator.id()
    }

    pub fn digest(&self) -> &Digest {
        self.generator.digest()
    }

    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// Ids that the network knows: all below this.
    pub fn ids(&self) -> usize {
        self.generator.vocabulary()
    }

    /// `None` for a model that was trained on no template.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Tokens of a text at most, prompt and answer.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Keeps what is computed for these ids, with which many prompts begin.
    pub fn remember(&self, ids: Vec<u32>) -> Result<(), InferenceError> {
        self.generator.remember(ids)
    }

    /// Goes on with a prompt as the sampler says. Given up when the future is dropped.
    pub async fn write(&self, ids: Vec<u32>, max_new_tokens: usize, sampler: Sampler) -> Result<Trace, InferenceError> {
        let trace = sampler.trace();
        // The sampler itself knows what ends a text, so that the ending token is in its record.
        self.generator.generate(Request { ids, max_new_tokens, stop_ids: Vec::new(), choose: Box::new(sampler) }).await?;
        let trace = trace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(trace)
    }
}
