//! A model folder that writes: network, vocabulary, chat template.

use super::super::causal::{BeamOptions, Choose, Generator, Hypothesis, Options, Request, Spec};
use super::super::checkpoint::ModelConfig;
use super::super::handle::{Handle, Model, Threads};
use super::super::template::ChatTemplate;
use super::super::{Digest, InferenceError};
use super::sampler::{Sampler, Trace};
use super::steering::Steering;
use super::vocabulary::Vocabulary;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

/// Tokens, prompt and answer, for which a cache must have room at least.
const USEFUL: usize = 64;

/// A loaded model.
pub struct Writer {
    generator: Generator,
    vocabulary: Arc<Vocabulary>,
    template: Option<ChatTemplate>,
    room: usize,
    aside: Handle<Aside>,
}

/// What tokenises prompts, so that no runtime's thread does.
struct Aside;

impl Model for Aside {
    type Input = Box<dyn FnOnce() + Send>;
    type Output = ();

    fn infer(&mut self, work: Self::Input) -> Result<(), InferenceError> {
        work();
        Ok(())
    }
}

impl Writer {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of the weights, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        // What the model is comes before what its files look like.
        let config = ModelConfig::open(folder)?;
        Spec::read(config.json()).map_err(|cause| config.unsupported(cause))?;
        let vocabulary = Vocabulary::open(folder)?;
        let unreadable = |cause: String| InferenceError::Malformed { path: folder.to_owned(), cause };
        let template = ChatTemplate::open(folder, None).map_err(|error| unreadable(error.to_string()))?;
        let generator = Generator::open(name, folder, expected, options)?;
        if vocabulary.size() > generator.vocabulary() {
            let (tokens, known) = (vocabulary.size(), generator.vocabulary());
            let cause = format!(
                "it has {tokens} tokens, the model only {known}; the two do not belong together, or tokens were added later"
            );
            return Err(InferenceError::Unsupported { path: folder.join("tokenizer.json"), cause });
        }
        let (room, useful) = (generator.room(), generator.max_positions().min(USEFUL));
        if room < useful {
            let needed = generator.bytes().token * useful;
            let cause =
                format!("cache_bytes has room for {room} tokens of a text, too few to write; give at least {needed} bytes");
            return Err(InferenceError::Unsupported { path: folder.to_owned(), cause });
        }
        let aside = Handle::start(&format!("{name}-words"), Threads::Exactly(1), options.queue, || Aside)?;
        Ok(Self { generator, vocabulary: Arc::new(vocabulary), template, room, aside })
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

    /// Tokens of a prompt at most, behind which so many more come, and the same again for so many others that share it.
    pub fn room_for(&self, more: usize, others: usize) -> usize {
        self.generator.room_for(more, others)
    }

    /// Keeps what is computed for these ids, with which many prompts begin.
    pub fn remember(&self, ids: Vec<u32>) -> Result<(), InferenceError> {
        self.generator.remember(ids)
    }

    /// Does some work on a thread of the model's own: rendering and tokenising a prompt takes long where it is long. A panic is an error.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, InferenceError> {
        let (to, from) = oneshot::channel();
        // Who has gone away needs no answer.
        self.aside.infer(Box::new(move || drop(to.send(work())))).await?;
        from.await.map_err(|_| InferenceError::Closed("they ended before they answered".to_owned()))
    }

    /// Goes on with a prompt as each sampler says, in order; the prompt is computed once. Given up when the future is dropped.
    pub async fn write(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        samplers: Vec<Sampler>,
    ) -> Result<Vec<Trace>, InferenceError> {
        let traces: Vec<_> = samplers.iter().map(Sampler::trace).collect();
        let mut choose = samplers.into_iter().map(|sampler| Box::new(sampler) as Box<dyn Choose>);
        let Some(first) = choose.next() else { return Ok(Vec::new()) };
        // The sampler itself knows what ends a text, so that the ending token is in its record.
        let request = Request { ids, max_new_tokens, stop_ids: Vec::new(), choose: first };
        self.generator.generate_several(request, choose.collect()).await?;
        Ok(traces.into_iter().map(|trace| trace.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect())
    }

    /// Goes on with a prompt in several ways at once, and gives the best whole texts, the best first.
    pub async fn search(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        options: BeamOptions,
        steering: Steering,
    ) -> Result<Vec<Hypothesis>, InferenceError> {
        let ends = self.vocabulary.ends().to_vec();
        self.generator.search_steered(ids, max_new_tokens, ends, options, Box::new(steering)).await
    }

    /// The summed log-probability of each continuation after a prompt, which is computed once.
    pub async fn score(&self, prompt: Vec<u32>, continuations: Vec<Vec<u32>>) -> Result<Vec<f32>, InferenceError> {
        self.generator.score(prompt, continuations).await
    }
}
