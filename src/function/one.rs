//! What the functions of one text share: `sentiment` and `embed`.

use super::options::TooLong;
use super::task::{self, Task, TextFunction};
use super::{CallError, Limits, Outcome};
use crate::event::{Rejection, missing};
use crate::inference::{Encoder, InferenceError, Options};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is asked about one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct One(pub String);

impl<T: AsRef<str>> From<T> for One {
    fn from(text: T) -> Self {
        Self(text.as_ref().to_owned())
    }
}

/// Refuses paths of fields: the text is the one that the decoder has found.
pub fn check_fields(function: &str, options: &Map<String, Value>) -> Result<(), String> {
    match options.contains_key("fields") {
        true => Err(format!(
            "{function}: option `fields` is for functions of several fields; the pipeline's own `fields.text` says where the text is"
        )),
        false => Ok(()),
    }
}

/// Texts in windows have more time than texts that are read once.
pub fn limits(too_long: TooLong) -> Limits {
    let minutes = if too_long == TooLong::Window { 10 } else { 2 };
    Limits { timeout: Duration::from_secs(60 * minutes), ..task::LIMITS }
}

/// Which texts have a token that the model knows, and those texts.
pub fn known(encoder: &Encoder, asks: Vec<One>) -> (Vec<bool>, Vec<String>) {
    let known: Vec<bool> = asks.iter().map(|ask| encoder.tokenizer().knows(&ask.0)).collect();
    let texts = asks.into_iter().zip(&known).filter(|(_, known)| **known).map(|(ask, _)| ask.0).collect();
    (known, texts)
}

/// The answers to known texts in their places, and `unknown` in those of the others.
pub fn in_known_places<A>(
    known: Vec<bool>,
    answers: Vec<Result<A, Rejection>>,
    unknown: impl Fn() -> Result<A, Rejection>,
) -> Result<Vec<Result<A, Rejection>>, CallError> {
    let mut answers = answers.into_iter();
    let missing = || CallError::Fatal("the model gave fewer answers than it was asked for".to_owned());
    known.into_iter().map(|known| if known { answers.next().ok_or_else(missing) } else { Ok(unknown()) }).collect()
}

/// A model that reads, under its folder's own name or that of the function. Blocks while it reads.
pub fn load(function: &str, folder: &Path) -> Result<Arc<Encoder>, InferenceError> {
    let name = folder.file_name().map_or(function.into(), |name| name.to_string_lossy());
    Ok(Arc::new(Encoder::open(&name, folder, None, &Options::default())?))
}

impl<T: Task> TextFunction<T>
where
    T::Ask: for<'t> From<&'t str>,
{
    /// One outcome a text, outside of a stream; `None` is an input without one.
    pub async fn answer_texts(&self, texts: &[Option<&str>]) -> Result<Vec<Outcome>, CallError> {
        let ask = |text: &Option<&str>| text.map(T::Ask::from).ok_or_else(|| missing(T::FIELDS[0]));
        let answers = self.answer(texts.iter().map(ask).collect()).await?;
        let outcome = |answer| match answer {
            Ok(answer) => Outcome::Emit(vec![self.task().prediction(answer)]),
            Err(refused) => Outcome::Reject(refused),
        };
        Ok(answers.into_iter().map(outcome).collect())
    }
}
