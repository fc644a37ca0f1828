//! Functions in one line of Rust, without a stream:
//!
//! ```no_run
//! let sentiment = millrace::sentiment()?;
//! let one = sentiment.call("I love it")?;
//! let intent = millrace::classify("models/intent")?.top_k(3).load()?;
//! let all = intent.call_batch(["I was charged twice", "thanks!"])?;
//! # Ok::<(), millrace::function::api::Error>(())
//! ```
//!
//! Handles are cheap to clone and shared among threads. A call blocks its thread until the model threads have answered, inside a
//! Tokio runtime too; there `ask` waits without blocking.

pub(super) mod block;
mod build;
mod embed;
pub(super) mod find;
mod generate;

use super::answer::Answer;
use super::classify::{Classify, Label, Passage};
use super::embed::Embedding;
use super::fill::Fill;
use super::reply::Reply;
use super::rerank::Rerank;
use super::similar::Similar;
use super::summarize::Summarize;
use super::tag::Tag;
use super::task::{Task, TextFunction};
use super::translate::Translate;
use super::{CallError, Function, halve};
use crate::event::Rejection;
use crate::hub::Missing;
use crate::inference::InferenceError;
use std::sync::Arc;

pub use build::Builder;
pub use embed::Embedder;
pub use generate::Generator;

/// Why a function did not load or answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No model of that name; the places that were looked at, and what helps.
    #[error(transparent)]
    NotFound(Box<Missing>),
    #[error(transparent)]
    Model(#[from] InferenceError),
    /// An option is wrong, or the model cannot do this.
    #[error("{0}")]
    Options(String),
    /// An input cannot be answered; the others were good, or not looked at.
    #[error("input {index}{}: {}", field(rejection), rejection.detail)]
    Input { index: usize, rejection: Rejection },
    #[error(transparent)]
    Call(#[from] CallError),
}

fn field(rejection: &Rejection) -> String {
    rejection.field.as_deref().map_or_else(String::new, |field| format!(", field `{field}`"))
}

/// Which label of a fine-tuned classifier fits a text: the starter model that is shipped with Millrace.
pub fn sentiment() -> Result<Sentiment, Error> {
    classify("sentiment-en")?.load().map(Sentiment)
}

/// Labels for texts. `model` is a folder, the name of one in `$MILLRACE_MODELS`, `models` here, or beside the program, or `org/name@revision`
/// of a hub, in its cache (`millrace models fetch`).
pub fn classify(model: &str) -> Result<Builder<Classify>, Error> {
    Builder::find(model)
}

/// Answers out of contexts. See [`classify`] for `model`.
pub fn answer(model: &str) -> Result<Builder<Answer>, Error> {
    Builder::find(model)
}

/// Named pieces of texts. See [`classify`] for `model`.
pub fn tag(model: &str) -> Result<Builder<Tag>, Error> {
    Builder::find(model)
}

/// Words behind masks. See [`classify`] for `model`.
pub fn fill(model: &str) -> Result<Builder<Fill>, Error> {
    Builder::find(model)
}

/// Cosines of sentences with one. See [`classify`] for `model`.
pub fn similar(model: &str) -> Result<Builder<Similar>, Error> {
    Builder::find(model)
}

/// Texts by how well they fit a query. See [`classify`] for `model`.
pub fn rerank(model: &str) -> Result<Builder<Rerank>, Error> {
    Builder::find(model)
}

/// Approved replies for messages of customers, best first; it only suggests, and sends nothing. See [`classify`] for `model`, which must
/// embed.
pub fn reply(model: &str) -> Result<Builder<Reply>, Error> {
    Builder::find(model)
}

/// Summaries of sentences. See [`classify`] for `model`.
pub fn summarize(model: &str) -> Result<Builder<Summarize>, Error> {
    Builder::find(model)
}

/// Texts in another language. `model` is one that writes a text from a text (Marian, T5, BART); see [`classify`] for its name.
///
/// ```no_run
/// let translate = millrace::translate("models/opus-mt-en-fr")?.num_beams(4).load()?;
/// println!("{}", translate.call("Where is my parcel?")?.text);
/// # Ok::<(), millrace::function::api::Error>(())
/// ```
pub fn translate(model: &str) -> Result<Builder<Translate>, Error> {
    Builder::find(model)
}

/// A causal model that goes on with texts or answers conversations, with the options of the function `generate`. See [`classify`] for
/// `model`.
///
/// ```no_run
/// let generate = millrace::generate("models/smollm2")?.option("max_new_tokens", 40)?;
/// println!("{}", generate.call("Where is my parcel?")?.text);
/// # Ok::<(), millrace::function::api::Error>(())
/// ```
pub fn generate(model: &str) -> Result<Generator, Error> {
    Generator::open(model)
}

/// Vectors of texts. See [`classify`] for `model`.
pub fn embed(model: &str) -> Result<Embedder, Error> {
    Ok(Embedder(Builder::<Embedding>::find(model)?.load()?.0))
}

/// A loaded function.
pub struct Handle<T>(Arc<TextFunction<T>>);

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Task> Handle<T> {
    /// Answers one input.
    pub fn call(&self, input: impl Into<T::Ask>) -> Result<T::Answer, Error> {
        let mut answers = block::on(self.each(vec![input.into()]))?;
        only(answers.pop(), 0)
    }

    /// Answers inputs in their order, one answer each; an input that cannot be answered is the error, by its index.
    pub fn call_batch<A: Into<T::Ask>>(&self, inputs: impl IntoIterator<Item = A>) -> Result<Vec<T::Answer>, Error> {
        let answers = self.call_each(inputs)?;
        answers.into_iter().enumerate().map(|(index, answer)| only(Some(answer), index)).collect()
    }

    /// The same, where an input that cannot be answered spoils no other.
    pub fn call_each<A: Into<T::Ask>>(
        &self,
        inputs: impl IntoIterator<Item = A>,
    ) -> Result<Vec<Result<T::Answer, Rejection>>, Error> {
        Ok(block::on(self.each(inputs.into_iter().map(Into::into).collect()))?)
    }

    /// Answers one input without blocking the thread.
    pub async fn ask(&self, input: impl Into<T::Ask>) -> Result<T::Answer, Error> {
        let mut answers = self.each(vec![input.into()]).await?;
        only(answers.pop(), 0)
    }

    /// `name@digest12` of the model.
    pub fn model(&self) -> &str {
        &self.0.spec().model
    }

    /// In slices, so that a batch of any length needs no more memory than a stream.
    async fn each(&self, asks: Vec<T::Ask>) -> Result<Vec<Result<T::Answer, Rejection>>, CallError> {
        let mut answers = Vec::with_capacity(asks.len());
        for slice in asks.chunks(self.0.spec().limits.slice) {
            let call = |stretch| self.0.answer(Vec::from(&slice[stretch]).into_iter().map(Ok).collect());
            answers.extend(halve::each(slice.len(), call, Err).await?);
        }
        Ok(answers)
    }
}

fn only<A>(answer: Option<Result<A, Rejection>>, index: usize) -> Result<A, Error> {
    let missing = || CallError::Fatal("the model gave no answer".to_owned());
    answer.ok_or_else(missing)?.map_err(|rejection| Error::Input { index, rejection })
}

/// The shipped sentiment classifier.
#[derive(Clone)]
pub struct Sentiment(Handle<Classify>);

impl Sentiment {
    /// The most probable label of one text.
    pub fn call(&self, text: &str) -> Result<Label, Error> {
        let mut labels = self.call_batch([text])?;
        labels.pop().ok_or_else(|| CallError::Fatal("the model gave no answer".to_owned()).into())
    }

    /// The most probable label of each text, in order.
    pub fn call_batch<T: Into<Passage>>(&self, texts: impl IntoIterator<Item = T>) -> Result<Vec<Label>, Error> {
        let missing = || Error::from(CallError::Fatal("the model gave no label".to_owned()));
        let answers = self.0.call_batch(texts)?;
        answers.into_iter().map(|answer| answer.labels.into_iter().next().ok_or_else(missing)).collect()
    }

    /// `name@digest12` of the model.
    pub fn model(&self) -> &str {
        self.0.model()
    }
}
