//! What the text functions share: which inputs have a text, and outcomes in the order of the inputs.

use super::{CallError, Outcome, Prediction};
use crate::event::Rejection;
use crate::inference::{Answer, InferenceError};

/// The inputs of a call: the texts to score, and for each input whether it has one.
pub struct Asked {
    texts: Vec<String>,
    refusals: Vec<Option<Rejection>>,
}

impl Asked {
    pub fn new<'a>(inputs: impl Iterator<Item = Option<&'a str>>) -> Self {
        let mut asked = Self { texts: Vec::new(), refusals: Vec::new() };
        for input in inputs {
            let refusal = match input {
                None => Some(Rejection::new("missing_field", "the event has no text to score").at("text")),
                Some(text) if text.trim().is_empty() => {
                    Some(Rejection::new("empty_text", "the text is empty or only white space").at("text"))
                }
                Some(text) => {
                    asked.texts.push(text.to_owned());
                    None
                }
            };
            asked.refusals.push(refusal);
        }
        asked
    }

    /// Takes the texts out, to be sent to the model.
    pub fn take_texts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.texts)
    }

    /// One outcome an input; the answers are those to the texts.
    pub fn outcomes(self, answers: Vec<Answer>, predict: impl Fn(Answer) -> Prediction) -> Result<Vec<Outcome>, CallError> {
        let mut answers = answers.into_iter();
        let outcome = |refusal| match refusal {
            Some(refusal) => Ok(Outcome::Reject(refusal)),
            None => answers
                .next()
                .map(|answer| Outcome::Emit(vec![predict(answer)]))
                .ok_or_else(|| CallError::Fatal("the model gave fewer answers than it was asked for".to_owned())),
        };
        self.refusals.into_iter().map(outcome).collect()
    }
}

/// A number of a model's answer, rounded to seven decimals: all that `f32` holds, and short when printed.
pub fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e7).round() / 1e7
}

/// What the caller does after a failed call.
pub fn call_error(error: InferenceError) -> CallError {
    match error {
        InferenceError::Poison(cause) => CallError::Poison(cause),
        other => CallError::Fatal(other.to_string()),
    }
}
