//! A model folder that writes a text from a text: network, tokeniser, and what its configuration says of tasks. Texts become ids on a
//! thread of its own, so that no caller waits for a tokeniser.

use super::{GenerateOptions, Transducer};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::handle::{Handle, Model, Threads};
use crate::inference::tokenizer::{Marian, Source, max_tokens};
use crate::inference::weights::Digest;
use crate::inference::{Cut, InferenceError, Options, Text, TextTokenizer};
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Tokens that may stand before a text, of those that the model reads.
pub fn most_before(most: usize) -> usize {
    most - most.div_ceil(8)
}

/// A loaded model.
pub struct TextToText {
    transducer: Transducer,
    words: Arc<Words>,
    reading: Handle<Reading>,
    tasks: Map<String, Value>,
    family: String,
    max_tokens: usize,
}

/// How texts become ids.
enum Words {
    One(Box<TextTokenizer>),
    Marian(Box<Marian>),
}

/// A text to be read.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Stands before the text, such as `summarize: `.
    pub prefix: String,
    pub text: String,
    /// Marian: the language to be written, without `>>` and `<<`; without one a code may stand in the text itself.
    pub language: Option<String>,
    /// Where a text that is too long may be parted, in bytes: pieces that are kept whole where they can be. Without any its end is cut off.
    pub pieces: Vec<Range<usize>>,
}

/// A text as the network reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// In one part or several.
    Parts(Vec<Source>),
    /// What stands before it leaves less than an eighth of what the model reads.
    LongPrefix,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub text: String,
    /// Tokens that were written, with the one that ended it.
    pub tokens: usize,
    /// Whether a token ended it; else it is as long as it may be.
    pub ended: bool,
}

impl TextToText {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let transducer = Transducer::open(name, folder, expected, options)?;
        let network = transducer.network();
        let most = max_tokens(folder, network.max_tokens())?;
        let words = match config.family()? {
            "marian" => Words::Marian(Box::new(Marian::open(folder, most)?)),
            _ => Words::One(Box::new(TextTokenizer::open(folder, most)?)),
        };
        let ids = match &words {
            Words::One(tokenizer) => tokenizer.vocabulary(),
            Words::Marian(marian) => marian.vocabulary(),
        };
        if ids > network.vocabulary() {
            return Err(config.unsupported(format!("the tokeniser has {ids} tokens, the model only {}", network.vocabulary())));
        }
        let words = Arc::new(words);
        let read = Arc::clone(&words);
        let build = move || Reading(Arc::clone(&read));
        let reading = Handle::start(&format!("{name}-words"), Threads::Exactly(1), options.queue, build)?;
        let tasks = config.get("task_specific_params").and_then(Value::as_object).cloned().unwrap_or_default();
        let family = config.family()?.to_owned();
        Ok(Self { transducer, words, reading, tasks, family, max_tokens: most })
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        self.transducer.id()
    }

    pub fn digest(&self) -> &Digest {
        self.transducer.digest()
    }

    /// Keeps the network in memory, whatever other models need. An error when it does not fit beside those that are pinned already.
    pub fn pin(&self) -> Result<(), InferenceError> {
        self.transducer.pin()
    }

    /// As `config.json` names it: `t5`, `bart` or `marian`.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Tokens of a source at most, with its end.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    pub fn transducer(&self) -> &Transducer {
        &self.transducer
    }

    /// The tokeniser of a model that is none of Marian's.
    pub fn tokenizer(&self) -> Option<&TextTokenizer> {
        match &*self.words {
            Words::One(tokenizer) => Some(tokenizer),
            Words::Marian(_) => None,
        }
    }

    /// Marian's tokeniser.
    pub fn marian(&self) -> Option<&Marian> {
        match &*self.words {
            Words::One(_) => None,
            Words::Marian(marian) => Some(marian),
        }
    }

    /// What `config.json` says of a task, such as `translation_en_to_de` or `summarization`: a prefix, and options of its own.
    pub fn task(&self, name: &str) -> Option<&Map<String, Value>> {
        self.tasks.get(name).and_then(Value::as_object)
    }

    /// The tasks that `config.json` describes.
    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }

    /// The ids of texts, each in one part or several, in order.
    pub async fn read(&self, asks: Vec<Ask>) -> Result<Vec<Read>, InferenceError> {
        self.reading.infer(asks).await
    }

    /// What is written for each source, in order.
    pub async fn write(&self, sources: Vec<Vec<u32>>, options: &GenerateOptions) -> Result<Vec<Written>, InferenceError> {
        let written = self.transducer.transduce(sources, options).await?;
        written.into_iter().map(|ids| self.written(&ids, options)).collect()
    }

    fn written(&self, ids: &[u32], options: &GenerateOptions) -> Result<Written, InferenceError> {
        let text = match &*self.words {
            Words::One(tokenizer) => tokenizer.decode(ids, true)?,
            Words::Marian(marian) => marian.decode(ids),
        };
        // An end that was forced where the output is as long as it may be says nothing.
        let forced = options.forced_last.is_some() && ids.len() >= options.max_new_tokens;
        let ended = !forced && ids.last().is_some_and(|last| options.ends.contains(last));
        Ok(Written { text, tokens: ids.len(), ended })
    }
}

struct Reading(Arc<Words>);

impl Model for Reading {
    type Input = Vec<Ask>;
    type Output = Vec<Read>;

    fn infer(&mut self, asks: Vec<Ask>) -> Result<Vec<Read>, InferenceError> {
        asks.iter().map(|ask| self.0.parts(ask)).collect()
    }
}

impl Words {
    fn max_tokens(&self) -> usize {
        match self {
            Self::One(tokenizer) => tokenizer.max_tokens(),
            Self::Marian(marian) => marian.max_tokens(),
        }
    }

    /// A part of a text, up to as many tokens as the model reads.
    fn one(&self, ask: &Ask, text: &str) -> Result<Source, InferenceError> {
        match self {
            Self::One(tokenizer) => {
                let text = Text::from(format!("{}{text}", ask.prefix));
                let tokens = tokenizer.windows(&text, &Cut::default())?.swap_remove(0);
                Ok(Source { ids: tokens.ids, truncated: tokens.truncated })
            }
            Self::Marian(marian) => marian.encode(&format!("{}{text}", ask.prefix), ask.language.as_deref(), self.max_tokens()),
        }
    }

    /// A text in parts that the network can read.
    fn parts(&self, ask: &Ask) -> Result<Read, InferenceError> {
        let around = self.one(ask, "")?;
        if around.truncated || around.ids.len() > most_before(self.max_tokens()) {
            return Ok(Read::LongPrefix);
        }
        let whole = self.one(ask, &ask.text)?;
        if !whole.truncated || ask.pieces.is_empty() {
            return Ok(Read::Parts(vec![whole]));
        }
        let room = self.max_tokens() - around.ids.len();
        // Of a piece without what stands around it.
        let bare = Ask { language: ask.language.clone(), ..Ask::default() };
        let nothing = self.one(&bare, "")?.ids.len();
        let length = |piece: &Range<usize>| -> Result<usize, InferenceError> {
            let text = ask.text.get(piece.clone()).unwrap_or_default();
            Ok(self.one(&bare, text)?.ids.len().saturating_sub(nothing))
        };
        let lengths = ask.pieces.iter().map(length).collect::<Result<Vec<_>, _>>()?;
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < ask.pieces.len() {
            // Tokens of pieces that stand side by side are about those of each.
            let mut sum = lengths[at];
            let mut end = at + 1;
            while end < ask.pieces.len() && sum + lengths[end] <= room {
                sum += lengths[end];
                end += 1;
            }
            loop {
                let part = ask.pieces[at].start..ask.pieces[end - 1].end;
                if let Some(source) = self.fitting(ask, part.clone())? {
                    parts.push(source);
                    break;
                }
                if end == at + 1 {
                    self.halves(ask, part, &mut parts)?;
                    break;
                }
                end -= 1;
            }
            at = end;
        }
        Ok(Read::Parts(parts))
    }

    /// The ids of a part that is not too long.
    fn fitting(&self, ask: &Ask, part: Range<usize>) -> Result<Option<Source>, InferenceError> {
        let Some(text) = ask.text.get(part) else { return Ok(None) };
        self.one(ask, text).map(|source| Some(source).filter(|source| !source.truncated))
    }

    /// Parts a piece that is too long alone, behind a blank near its middle, or in its middle where it has none.
    fn halves(&self, ask: &Ask, piece: Range<usize>, parts: &mut Vec<Source>) -> Result<(), InferenceError> {
        let mut open = vec![piece];
        while let Some(piece) = open.pop() {
            let text = ask.text.get(piece.clone()).unwrap_or_default();
            let middle = text.floor_char_boundary(text.len() / 2);
            let blank = text[..middle].rfind(char::is_whitespace).filter(|&at| at > 0 && at >= middle / 2);
            let cut = blank.unwrap_or(middle);
            match self.fitting(ask, piece.clone())? {
                Some(source) => parts.push(source),
                // One character of many tokens.
                None if cut == 0 => parts.push(self.one(ask, text)?),
                None => open.extend([piece.start + cut..piece.end, piece.start..piece.start + cut]),
            }
        }
        Ok(())
    }
}
