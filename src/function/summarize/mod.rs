//! `summarize`: what a text says, in short. By default its own sentences that say most of it, in their order (`extract`); or written anew by
//! a model (`generate`): one that writes a text from a text, or one that goes on with a text.

mod choose;
mod extract;
mod sentences;
mod write;

use super::fields::Fields;
use super::model::{Model, Opened};
use super::options::TooLong;
use super::rewrite::{self, SEARCH, Search};
use super::task::{Task, tokens};
use super::{CallError, Limits, Prediction};
use crate::event::Rejection;
use extract::Extract;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use write::{Prompted, Rewrite};

pub use sentences::{join, split};

/// Where a summary comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Sentences of the text. For models that embed.
    #[default]
    Extract,
    /// Written anew, and so perhaps not what the text says. For T5 and BART, and for causal models.
    Generate,
}

/// Options of `summarize`. Those from `prefix` on are for `generate`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// `extract` (default) or `generate`.
    pub method: Method,
    /// Sentences of a summary at most. Default 3. For `extract`, as `ratio` and `relevance`.
    pub max_sentences: Option<usize>,
    /// Share of the sentences, 0 to 1, rounded up; with both, the smaller counts.
    pub ratio: Option<f64>,
    /// How much it counts that a sentence is near the whole text, against that it says something new: 1 is all, 0 nothing. Default 0.7.
    pub relevance: Option<f32>,
    /// What stands before each text. Default: what the model's folder says; for T5 "summarize: ".
    pub prefix: Option<String>,
    /// What a causal model is told, with {text} where the text goes.
    pub prompt: Option<String>,
    /// `truncate`, `window` (a summary of each part, in a row; not for causal models) or `reject`.
    pub too_long: TooLong,
    /// Takes out blanks before marks. Default false.
    pub clean_up_tokenization_spaces: bool,
    /// More of the same by the names of transformers.
    pub generate_parameters: Map<String, Value>,
    #[serde(flatten)]
    pub search: Search,
}

impl Options {
    /// Refuses what the other method is told.
    fn check(&self) -> Result<(), String> {
        let set = |value: Value| value.as_object().is_some_and(|all| all.values().any(|value| !value.is_null()));
        let search = serde_json::to_value(&self.search).is_ok_and(set);
        let extract = [
            ("max_sentences", self.max_sentences.is_some()),
            ("ratio", self.ratio.is_some()),
            ("relevance", self.relevance.is_some()),
        ];
        let generate = [
            ("prefix", self.prefix.is_some()),
            ("prompt", self.prompt.is_some()),
            ("too_long", self.too_long != TooLong::default()),
            ("clean_up_tokenization_spaces", self.clean_up_tokenization_spaces),
            ("generate_parameters", search || !self.generate_parameters.is_empty()),
        ];
        let (wrong, method) = match self.method {
            Method::Extract => (generate.iter().find(|(_, set)| *set), "generate"),
            Method::Generate => (extract.iter().find(|(_, set)| *set), "extract"),
        };
        match wrong {
            Some(("generate_parameters", _)) => {
                Err("options such as `max_new_tokens` are for the method `generate`; set `method`, or leave them out".to_owned())
            }
            Some((name, _)) => Err(format!("option `{name}` is for the method `{method}`; set `method`, or leave it out")),
            None => Ok(()),
        }
    }
}

/// A text to be summarised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(pub String);

impl<T: AsRef<str>> From<T> for Document {
    fn from(text: T) -> Self {
        Self(text.as_ref().to_owned())
    }
}

/// A sentence of the text: `text[start..end] == text`, in characters.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence {
    pub text: String,
    pub start: usize,
    pub end: usize,
    /// Cosine with the whole text.
    pub score: f64,
}

/// The summary of one text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    pub summary_text: String,
    /// In the order of the text; none of a summary that was written.
    pub sentences: Vec<Sentence>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether a sentence was longer than the model sees, or the text longer than it reads.
    pub truncated: bool,
    /// Tokens that were written.
    pub generated_tokens: usize,
    /// Of a summary that was written: `eos_token` or `length`.
    pub finish_reason: Option<String>,
    /// Parts in which a text was read whose summary was written.
    pub windows: usize,
}

/// Fields: `summary_text`, `tokens`, `truncated`; with `extract` also `sentences` (`text`, `start`, `end`, `score`), with `generate`
/// `generated_tokens`, `finish_reason` and `windows`.
pub struct Summarize {
    model: Arc<Model>,
    by: By,
}

enum By {
    Extract(Extract),
    Rewrite(Rewrite),
    Prompted(Box<Prompted>),
}

impl Task for Summarize {
    const NAME: &'static str = "summarize";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text"];
    const PARAMETERS: &'static [&'static str] = &[
        "max_sentences",
        "ratio",
        "relevance",
        "prefix",
        "prompt",
        "too_long",
        "clean_up_tokenization_spaces",
        "generate_parameters",
        SEARCH[0],
        SEARCH[1],
        SEARCH[2],
        SEARCH[3],
        SEARCH[4],
        SEARCH[5],
        SEARCH[6],
    ];
    type Model = Model;
    type Options = Options;
    type Ask = Document;
    type Answer = Summary;

    fn new(model: Arc<Model>, options: Options) -> Result<Self, String> {
        options.check()?;
        let by = match (options.method, &*model) {
            (Method::Extract, Model::Encoder(encoder)) => By::Extract(Extract::new(encoder.clone(), &options)?),
            (Method::Extract, _) => {
                return Err(
                    "option `method` is `extract`, which needs a model that embeds; for this one set `generate`".to_owned()
                );
            }
            (Method::Generate, Model::TextToText(model)) => By::Rewrite(Rewrite::new(model.clone(), &options)?),
            (Method::Generate, Model::Writer(writer)) => By::Prompted(Box::new(Prompted::new(writer.clone(), &options)?)),
            (Method::Generate, Model::Encoder(_)) => {
                return Err(
                    "option `method` is `generate`, which needs a model that writes (T5, BART, or a causal one)".to_owned()
                );
            }
        };
        Ok(Self { model, by })
    }

    fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn limits(&self) -> Limits {
        match self.by {
            By::Extract(_) => super::task::LIMITS,
            By::Rewrite(_) | By::Prompted(_) => rewrite::LIMITS,
        }
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Document, Rejection> {
        fields.text("text").map(Document)
    }

    fn texts(ask: &Document) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("text", None, &ask.0)]
    }

    /// All sentences are read.
    fn cost(&self, ask: &Document) -> usize {
        match &self.by {
            By::Extract(_) => tokens(&ask.0),
            By::Rewrite(rewrite) => rewrite.cost(ask),
            By::Prompted(prompted) => prompted.cost(ask, self.model.max_tokens()),
        }
    }

    async fn answer(&self, asks: Vec<Document>) -> Result<Vec<Result<Summary, Rejection>>, CallError> {
        match &self.by {
            By::Extract(extract) => extract.answer(asks).await,
            By::Rewrite(rewrite) => rewrite.answer(asks).await,
            By::Prompted(prompted) => prompted.answer(asks).await,
        }
    }

    fn prediction(&self, answer: Summary) -> Prediction {
        let one = |of: &Sentence| json!({ "text": of.text, "start": of.start, "end": of.end, "score": of.score });
        let mut fields = Map::new();
        fields.insert("summary_text".into(), answer.summary_text.into());
        match answer.finish_reason {
            None => drop(fields.insert("sentences".into(), answer.sentences.iter().map(one).collect())),
            Some(finish) => {
                fields.insert("generated_tokens".into(), answer.generated_tokens.into());
                fields.insert("finish_reason".into(), finish.into());
                fields.insert("windows".into(), answer.windows.into());
            }
        }
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        Prediction { key: None, fields, label: None, score: None, model: None }
    }

    fn bare(fields: &Value) -> Value {
        json!({ "summary_text": fields["summary_text"] })
    }

    fn example(&self) -> Value {
        json!("The parcel came late. It was also broken. Nobody answered the phone. I want my money back.")
    }
}
