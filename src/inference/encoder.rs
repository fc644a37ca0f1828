//! A model folder brought to life: texts in, vectors or logits out.

mod ask;
mod engine;
mod once;
#[cfg(test)]
mod tests;
mod together;
mod vectors;

pub use together::Together;

use super::InferenceError;
use super::backbone::{self, Backbones};
use super::checkpoint::{ModelConfig, Problem};
use super::contents::contents;
use super::described::Described;
use super::handle::{Handle, Threads};
use super::heads::{Heads, Spans};
use super::memory::Memory;
use super::ops::softmax;
use super::prompts::{self, Prompts};
use super::results::Results;
use super::tokenizer::TextTokenizer;
use super::weights::{Digest, Weights};
use engine::{Engine, Shared};
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
    /// Encoders that are open: models that stand on the same one share its weights.
    pub backbones: Backbones,
    /// What the models may take.
    pub memory: Memory,
    /// Answers and vectors of texts that are kept. Off by default: whoever measures a model asks it the same texts again.
    pub results: Results,
    /// Whether equal texts are computed once: those of one call, and, where the vector alone is read, those that any model on the same
    /// encoder is asked about at the same time.
    pub merge: bool,
    /// Whether texts that go through the network together are of similar length.
    pub sort: bool,
    /// Whether the last layer works for first tokens alone where a head reads no others. The answers have the same bits.
    pub firsts: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: Threads::default(),
            queue: 64,
            token_budget: 512,
            backbones: Backbones::default(),
            memory: Memory::default(),
            results: Results::default(),
            merge: true,
            sort: true,
            firsts: true,
        }
    }
}

/// What is asked about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The pooled vector, of length 1: `[hidden]`.
    Embed,
    /// The same of the length that the network gave it: `[hidden]`.
    Pooled,
    /// The score of each label by the model's [`Problem`]: `[labels]`.
    Classify,
    /// The same before softmax or sigmoid: `[labels]`.
    Logits,
    /// The logits of each token's labels: `[tokens * labels]`, row-major.
    Tokens,
    /// The logits of each token as start and as end of an answer: `[tokens * 2]`, row-major. Where the model chooses ends by their
    /// starts ([`Encoder::has_beams`]) the numbers of a [`Beam`](crate::inference::Beam).
    Spans,
    /// The logits of the words behind each mask token, in order: `[masks * vocabulary]`, row-major.
    Mask,
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

/// A loaded model with its threads.
pub struct Encoder {
    id: String,
    digest: Digest,
    contents: Digest,
    described: Described,
    prompts: Prompts,
    shared: Arc<Shared>,
    handle: Handle<Engine>,
    options: Options,
}

impl Encoder {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let (backbone, heads) = match backbone::named(&config, folder, &weights)? {
            Some(base) => {
                let backbone = options.backbones.open(name, &base.folder, &base.sha256, &options.memory)?;
                let heads = Heads::on_frozen(&config, &tensors, &*backbone.lease()?.network)?;
                (backbone, heads)
            }
            None => {
                let backbone = options.backbones.get_or_load(name, folder, &config, &weights, &options.memory)?;
                let heads = Heads::load(&config, &tensors, &*backbone.lease()?.network)?;
                (backbone, heads)
            }
        };
        let described = Described::new(&config, &weights, &tensors, &heads, &backbone)?;
        // A head's answers depend on the encoder under it too; a whole model is its own.
        let own = contents(folder, weights.digest())?;
        let contents = Digest::of(format!("{} {}", own.as_str(), backbone.contents.as_str()).as_bytes());
        let shared = Arc::new(Shared {
            backbone,
            heads,
            token_budget: options.token_budget,
            sorted: options.sort,
            firsts: options.firsts,
            results: options.results.clone(),
            merge: options.merge,
        });
        let engine = Arc::clone(&shared);
        let build = move || Engine { shared: Arc::clone(&engine) };
        let handle = Handle::start(name, options.threads, options.queue, build)?;
        let digest = weights.digest().clone();
        Ok(Self {
            id: format!("{name}@{}", digest.short()),
            digest,
            contents,
            described,
            prompts: prompts::read(folder)?,
            shared,
            handle,
            options: options.clone(),
        })
    }

    /// Opens another model as this one was opened; if it stands on the same encoder, they share it.
    pub fn open_beside(&self, name: &str, folder: &Path) -> Result<Self, InferenceError> {
        Self::open(name, folder, None, &self.options)
    }

    /// Keeps the network in memory, whatever other models need. An error when it does not fit beside those that are pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.shared.backbone.pin()
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Of the weights alone.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Of everything that the answers depend on: weights, configuration and tokeniser, of the encoder under a head too.
    pub fn contents(&self) -> &Digest {
        &self.contents
    }

    /// Whether two models stand on the same encoder, held once.
    pub fn shares_backbone(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared.backbone, &other.shared.backbone)
    }

    /// Tensors of the file that neither the network nor its head has read, by name. A pooler without a head is such a tensor; many
    /// of them tell that the file is of another architecture than its `config.json` says.
    pub fn unread(&self) -> &[String] {
        &self.described.unread
    }

    /// What the folder turned out to be.
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// What the model was trained to find before a text, by name; none where its folder does not say.
    pub fn prompts(&self) -> &Prompts {
        &self.prompts
    }

    /// Bytes that a model thread needs beside the weights at most, whatever the texts: its layers' buffers, without what heads and
    /// answers take. `None` for a family for which that is not known.
    pub fn activations(&self) -> Result<Option<usize>, InferenceError> {
        let longest = self.max_tokens();
        Ok(self.shared.backbone.lease()?.network.activations(self.options.token_budget.max(longest), longest))
    }

    /// Numbers in an embedding.
    pub fn dimensions(&self) -> usize {
        self.shared.backbone.hidden
    }

    /// The sequence head's labels in the order of its scores; `None` for a model without that head.
    pub fn labels(&self) -> Option<&[String]> {
        self.shared.heads.sequence.as_ref().map(|head| head.labels.as_slice())
    }

    /// What the sequence head's labels are to each other.
    pub fn problem(&self) -> Option<Problem> {
        self.shared.heads.sequence.as_ref().map(|head| head.problem)
    }

    /// The token head's labels; `None` for a model without that head.
    pub fn token_labels(&self) -> Option<&[String]> {
        self.shared.heads.tokens.as_ref().map(|head| head.labels.as_slice())
    }

    /// Whether [`Head::Spans`] can be asked.
    pub fn has_spans(&self) -> bool {
        self.shared.heads.spans.is_some()
    }

    /// Whether [`Head::Spans`] gives the numbers of a [`Beam`](crate::inference::Beam) instead of logits (XLNet's larger head).
    pub fn has_beams(&self) -> bool {
        matches!(self.shared.heads.spans, Some(Spans::Beams(_)))
    }

    /// Whether models of this family are fine-tuned with the context before the question; transformers tells it by the side of the
    /// padding (XLNet).
    pub fn context_first(&self) -> bool {
        self.described.family == "xlnet"
    }

    /// Whether [`Head::Mask`] can be asked, and the id of the mask token.
    pub fn mask_token(&self) -> Option<u32> {
        self.shared.backbone.mask_token.filter(|_| self.shared.heads.mask.is_some())
    }

    /// Tokens of a text that the model sees at most.
    pub fn max_tokens(&self) -> usize {
        self.shared.backbone.tokenizer.max_tokens()
    }

    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.shared.backbone.tokenizer
    }
}

/// The place of the greatest; the first of equals.
pub fn best(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The scores of one row of logits.
pub fn scores(mut row: Vec<f32>, problem: Problem) -> Vec<f32> {
    match problem {
        Problem::OneLabel if row.len() > 1 => softmax(&mut row),
        Problem::OneLabel | Problem::ManyLabels => row.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp())),
        Problem::Regression => {}
    }
    row
}
