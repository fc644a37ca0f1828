//! `summarize`: the sentences of a text that say most of it, in their order. Nothing is written anew, so nothing can be invented,
//! and the same text always gives the same summary.

mod choose;
mod sentences;

use super::chars::Chars;
use super::fields::Fields;
use super::task::{MAX_ITEMS, Task, tokens};
use super::texts::rounded;
use super::windows::{Seen, embeddings};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::Encoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::sync::Arc;

pub use sentences::split;

/// Options of `summarize`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Sentences of a summary at most. Default 3.
    pub max_sentences: Option<usize>,
    /// Share of the sentences, 0 to 1, rounded up; with both, the smaller counts.
    pub ratio: Option<f64>,
    /// How much it counts that a sentence is near the whole text, against that it says something new: 1 is all, 0 nothing. Default 0.7.
    pub relevance: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_sentences: None, ratio: None, relevance: 0.7 }
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
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub summary_text: String,
    /// In the order of the text.
    pub sentences: Vec<Sentence>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether a sentence was longer than the model sees.
    pub truncated: bool,
}

/// Fields: `summary_text`, `sentences` (`text`, `start`, `end`, `score`), `tokens`, `truncated`.
pub struct Summarize {
    encoder: Arc<Encoder>,
    options: Options,
}

impl Summarize {
    /// Sentences of a summary out of so many.
    fn wanted(&self, sentences: usize) -> usize {
        let most = self.options.max_sentences.unwrap_or(if self.options.ratio.is_some() { usize::MAX } else { 3 });
        let share = self.options.ratio.map_or(usize::MAX, |ratio| ((sentences as f64 * ratio).ceil() as usize).max(1));
        most.min(share).min(sentences)
    }

    fn summary(&self, text: &str, sentences: &[Range<usize>], vectors: &[(Arc<[f32]>, Seen)]) -> Summary {
        let seen = vectors.iter().fold(Seen::default(), |all, (_, seen)| all.and(*seen));
        let rows: Vec<&[f32]> = vectors.iter().map(|(vector, _)| &**vector).collect();
        let chars = Chars::new(text);
        let chosen = choose::choose(&rows, self.wanted(sentences.len()), self.options.relevance);
        let one = |(place, score): (usize, f32)| {
            let span = chars.span(sentences[place].clone());
            Sentence { text: span.text, start: span.start, end: span.end, score: rounded(score) }
        };
        let sentences: Vec<Sentence> = chosen.into_iter().map(one).collect();
        let summary_text = sentences::join(sentences.iter().map(|sentence| sentence.text.as_str()));
        Summary { summary_text, sentences, tokens: seen.tokens, truncated: seen.truncated }
    }
}

impl Task for Summarize {
    const NAME: &'static str = "summarize";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text"];
    const PARAMETERS: &'static [&'static str] = &["max_sentences", "ratio", "relevance"];
    type Options = Options;
    type Ask = Document;
    type Answer = Summary;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        if options.max_sentences == Some(0) {
            return Err("option `max_sentences` must be at least 1".to_owned());
        }
        if options.ratio.is_some_and(|ratio| !(ratio > 0.0 && ratio <= 1.0)) {
            return Err("option `ratio` must be more than 0 and at most 1".to_owned());
        }
        if !(0.0..=1.0).contains(&options.relevance) {
            return Err("option `relevance` must be 0 to 1".to_owned());
        }
        Ok(Self { encoder, options })
    }

    fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Document, Rejection> {
        fields.text("text").map(Document)
    }

    fn texts(ask: &Document) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("text", None, &ask.0)]
    }

    /// All sentences are read.
    fn cost(&self, ask: &Document) -> usize {
        tokens(&ask.0)
    }

    async fn answer(&self, asks: Vec<Document>) -> Result<Vec<Result<Summary, Rejection>>, CallError> {
        let split = |ask: &Document| {
            let sentences = split(&ask.0);
            match sentences.len() {
                0..=MAX_ITEMS => Ok(sentences),
                more => Err(Rejection::new("too_many_items", format!("{more} sentences; the limit is {MAX_ITEMS}")).at("text")),
            }
        };
        let texts: Vec<Result<Vec<Range<usize>>, Rejection>> = asks.iter().map(split).collect();
        let of_text = |(ask, sentences): (&Document, &Result<Vec<Range<usize>>, Rejection>)| -> Vec<String> {
            let sentences = sentences.as_deref().unwrap_or_default();
            sentences.iter().map(|sentence| ask.0[sentence.clone()].to_owned()).collect()
        };
        let all = asks.iter().zip(&texts).flat_map(of_text).collect();
        let vectors = embeddings(&self.encoder, all).await?;
        let mut rest = vectors.as_slice();
        let one = |(ask, sentences): (Document, Result<Vec<Range<usize>>, Rejection>)| {
            let sentences = sentences?;
            let (own, after) = rest.split_at(sentences.len().min(rest.len()));
            rest = after;
            Ok(self.summary(&ask.0, &sentences, own))
        };
        Ok(asks.into_iter().zip(texts).map(one).collect())
    }

    fn prediction(&self, answer: Summary) -> Prediction {
        let one = |of: &Sentence| json!({ "text": of.text, "start": of.start, "end": of.end, "score": of.score });
        let mut fields = Map::new();
        fields.insert("summary_text".into(), answer.summary_text.into());
        fields.insert("sentences".into(), answer.sentences.iter().map(one).collect());
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        Prediction { key: None, fields, label: None, score: None }
    }

    fn bare(fields: &Value) -> Value {
        json!({ "summary_text": fields["summary_text"] })
    }

    fn example(&self) -> Value {
        json!("The parcel came late. It was also broken. Nobody answered the phone. I want my money back.")
    }
}
