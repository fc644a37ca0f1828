//! The models that functions are built on, by what they do with a text.

use crate::inference::causal;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::generate::Writer;
use crate::inference::seq2seq::TextToText;
use crate::inference::{Encoder, InferenceError, Options};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// A model that a task is built on.
pub trait Opened: Send + Sync + Sized + 'static {
    /// `name@digest12`.
    fn id(&self) -> &str;
    /// Tokens of a text that it sees at most.
    fn max_tokens(&self) -> usize;
    /// Opens a folder for a function with these options. Blocks while it reads.
    fn open(name: &str, folder: &Path, function: &str, options: &Map<String, Value>) -> Result<Self, InferenceError>;
}

impl Opened for Encoder {
    fn id(&self) -> &str {
        self.id()
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens()
    }

    fn open(name: &str, folder: &Path, _: &str, _: &Map<String, Value>) -> Result<Self, InferenceError> {
        Self::open(name, folder, None, &Options::default())
    }
}

impl Opened for TextToText {
    fn id(&self) -> &str {
        self.id()
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens()
    }

    fn open(name: &str, folder: &Path, _: &str, _: &Map<String, Value>) -> Result<Self, InferenceError> {
        Self::open(name, folder, None, &Options::default())
    }
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It reads a text, and says something of it.
    Encoder,
    /// It goes on with a text.
    Writer,
    /// It reads a text and writes another.
    TextToText,
}

impl Kind {
    /// What the model of a folder does by its `config.json`. Where that does not tell, it reads.
    pub fn of(folder: &Path) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let saved = config.architecture().unwrap_or_default();
        Ok(match config.family() {
            _ if saved.ends_with("ForConditionalGeneration") || saved.ends_with("MTModel") => Self::TextToText,
            _ if saved.ends_with("ForCausalLM") || saved.ends_with("LMHeadModel") => Self::Writer,
            Ok("marian") if saved.is_empty() => Self::TextToText,
            Ok(family) if saved.is_empty() && causal::Family::ALL.iter().any(|(known, _)| *known == family) => Self::Writer,
            _ => Self::Encoder,
        })
    }

    /// What a function needs with these options. Some run on models of several kinds: then the folder decides.
    pub fn wanted(function: &str, folder: &Path, options: &Map<String, Value>) -> Result<Self, InferenceError> {
        let generates = options.get("method").and_then(Value::as_str) == Some("generate");
        match function {
            "generate" => Ok(Self::Writer),
            "translate" => Ok(Self::TextToText),
            "summarize" if generates => Self::of(folder),
            "classify" => Self::of(folder).map(|kind| if kind == Self::Writer { kind } else { Self::Encoder }),
            _ => Ok(Self::Encoder),
        }
    }
}

/// An open model, where a function runs on several kinds.
#[derive(Clone)]
pub enum Model {
    Encoder(Arc<Encoder>),
    Writer(Arc<Writer>),
    TextToText(Arc<TextToText>),
}

impl Model {
    /// For a function that reads.
    pub fn encoder(self) -> Result<Arc<Encoder>, String> {
        match self {
            Self::Encoder(encoder) => Ok(encoder),
            Self::Writer(_) | Self::TextToText(_) => Err("the model writes; this function needs one that reads".to_owned()),
        }
    }

    /// For a function that writes a text from a text.
    pub fn text_to_text(self) -> Result<Arc<TextToText>, String> {
        match self {
            Self::TextToText(model) => Ok(model),
            Self::Encoder(_) | Self::Writer(_) => {
                Err("the model does not write a text from a text; T5, BART and Marian do".to_owned())
            }
        }
    }
}

impl Opened for Model {
    fn id(&self) -> &str {
        match self {
            Self::Encoder(model) => model.id(),
            Self::Writer(model) => model.id(),
            Self::TextToText(model) => model.id(),
        }
    }

    fn max_tokens(&self) -> usize {
        match self {
            Self::Encoder(model) => model.max_tokens(),
            Self::Writer(model) => model.room(),
            Self::TextToText(model) => model.max_tokens(),
        }
    }

    fn open(name: &str, folder: &Path, function: &str, options: &Map<String, Value>) -> Result<Self, InferenceError> {
        Ok(match Kind::wanted(function, folder, options)? {
            Kind::Encoder => Self::Encoder(Arc::new(Encoder::open(name, folder, None, &Options::default())?)),
            Kind::Writer => Self::Writer(Arc::new(Writer::open(name, folder, None, &causal::Options::default())?)),
            Kind::TextToText => Self::TextToText(Arc::new(TextToText::open(name, folder, None, &Options::default())?)),
        })
    }
}

impl From<Arc<Encoder>> for Model {
    fn from(model: Arc<Encoder>) -> Self {
        Self::Encoder(model)
    }
}

impl From<Arc<Writer>> for Model {
    fn from(model: Arc<Writer>) -> Self {
        Self::Writer(model)
    }
}

impl From<Arc<TextToText>> for Model {
    fn from(model: Arc<TextToText>) -> Self {
        Self::TextToText(model)
    }
}
