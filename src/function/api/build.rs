//! Options by method before a function is loaded.

use super::find;
use super::{Error, Handle};
use crate::function::answer::Answer;
use crate::function::classify::Classify;
use crate::function::fill::Fill;
use crate::function::model::Opened;
use crate::function::options::TooLong;
use crate::function::reply::{self, Entry, Reply};
use crate::function::rerank::Rerank;
use crate::function::similar::Similar;
use crate::function::summarize::{Method, Summarize};
use crate::function::tag::{Strategy, Tag};
use crate::function::task::{Task, TextFunction};
use crate::function::translate::Translate;
use crate::hub::Found;
use serde_json::{Map, Value};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

/// A function that is not loaded yet.
pub struct Builder<T> {
    model: Found,
    options: Map<String, Value>,
    task: PhantomData<fn() -> T>,
}

impl<T: Task> Builder<T> {
    pub(super) fn find(model: &str) -> Result<Self, Error> {
        Ok(Self { model: find::find(model)?, options: Map::new(), task: PhantomData })
    }

    /// Any option by its name in the configuration.
    pub fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }

    /// Reads the model; blocks while it does.
    pub fn load(self) -> Result<Handle<T>, Error> {
        let model = T::Model::open(&self.model.name, &self.model.folder, T::NAME, &self.options)?;
        let function = TextFunction::new(Arc::new(model), &self.options).map_err(Error::Options)?;
        Ok(Handle(Arc::new(function)))
    }
}

fn list<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Value {
    items.into_iter().map(Into::into).map(Value::String).collect()
}

pub(super) fn policy(too_long: TooLong) -> Value {
    serde_json::to_value(too_long).unwrap_or_default()
}

impl Builder<Classify> {
    /// Labels in an answer.
    pub fn top_k(self, labels: usize) -> Self {
        self.option("top_k", labels)
    }

    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }

    /// Least score of a label, where several may hold.
    pub fn threshold(self, score: f32) -> Self {
        self.option("threshold", score)
    }

    /// Least score of the label, where one holds.
    pub fn min_score(self, score: f32) -> Self {
        self.option("min_score", score)
    }

    /// Labels to choose from, for a model that embeds or infers.
    pub fn candidate_labels<S: Into<String>>(self, labels: impl IntoIterator<Item = S>) -> Self {
        self.option("candidate_labels", list(labels))
    }
}

impl Builder<Answer> {
    /// Answers to a question.
    pub fn top_k(self, answers: usize) -> Self {
        self.option("top_k", answers)
    }

    /// Whether "no answer" may be the answer.
    pub fn handle_impossible_answer(self, may: bool) -> Self {
        self.option("handle_impossible_answer", may)
    }

    /// What becomes of a context that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}

impl Builder<Tag> {
    /// How tokens become entities.
    pub fn aggregation_strategy(self, strategy: Strategy) -> Self {
        self.option("aggregation_strategy", serde_json::to_value(strategy).unwrap_or_default())
    }

    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}

impl Builder<Fill> {
    /// Words for a mask.
    pub fn top_k(self, words: usize) -> Self {
        self.option("top_k", words)
    }

    /// The only words that are scored.
    pub fn targets<S: Into<String>>(self, words: impl IntoIterator<Item = S>) -> Self {
        self.option("targets", list(words))
    }

    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}

impl Builder<Similar> {
    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}

impl Builder<Rerank> {
    /// Texts in an answer.
    pub fn top_k(self, texts: usize) -> Self {
        self.option("top_k", texts)
    }

    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}

impl Builder<Reply> {
    /// Approved replies out of a .jsonl, .csv or .tsv file, which is read now.
    pub fn bank(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let entries = reply::entries(path.as_ref()).map_err(|cause| Error::Options(format!("reply: {cause}")))?;
        Ok(self.replies(entries))
    }

    /// Approved replies; a plain text is one without examples.
    pub fn replies<E: Into<Entry>>(self, replies: impl IntoIterator<Item = E>) -> Self {
        let entries: Vec<Entry> = replies.into_iter().map(Into::into).collect();
        self.option("replies", serde_json::to_value(entries).unwrap_or_default())
    }

    /// What becomes of a message that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }

    /// Suggestions at most.
    pub fn top_k(self, suggestions: usize) -> Self {
        self.option("top_k", suggestions)
    }

    /// Least cosine of a suggestion with the message.
    pub fn min_score(self, score: f32) -> Self {
        self.option("min_score", score)
    }

    /// A classifier of intents: a folder or a name, as for the model.
    pub fn intent_model(self, model: &str) -> Self {
        self.option("intent_model", model)
    }

    /// A classifier of the message's sentiment, likewise.
    pub fn sentiment_model(self, model: &str) -> Self {
        self.option("sentiment_model", model)
    }

    /// A causal model that says the best suggestion in words that fit the message, likewise.
    pub fn rewrite_model(self, model: &str) -> Self {
        self.option("rewrite_model", model)
    }
}

impl Builder<Summarize> {
    /// Sentences of a summary.
    pub fn max_sentences(self, sentences: usize) -> Self {
        self.option("max_sentences", sentences)
    }

    /// Whether the summary is written anew, by a model that writes.
    pub fn method(self, method: Method) -> Self {
        self.option("method", serde_json::to_value(method).unwrap_or_default())
    }

    /// Share of the sentences, 0 to 1.
    pub fn ratio(self, ratio: f64) -> Self {
        self.option("ratio", ratio)
    }
}

impl Builder<Translate> {
    /// The language to be written: one of the model's codes, or for T5 a name.
    pub fn to(self, language: &str) -> Self {
        self.option("tgt_lang", language)
    }

    /// The language of the texts, for models that are told it.
    pub fn from(self, language: &str) -> Self {
        self.option("src_lang", language)
    }

    /// Hypotheses that are followed at the same time.
    pub fn num_beams(self, beams: usize) -> Self {
        self.option("num_beams", beams)
    }

    /// Tokens of a translation at most.
    pub fn max_new_tokens(self, tokens: usize) -> Self {
        self.option("max_new_tokens", tokens)
    }

    /// What becomes of a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Self {
        self.option("too_long", policy(too_long))
    }
}
