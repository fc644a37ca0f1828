//! What a function can do for one who asks off the stream: other options for one request, a description, a bare answer.

use super::{CallError, Function, Input, Outcome};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The side of a function that `millrace call` and HTTP see beside [`Function`] itself.
pub trait Requests: Send + Sync {
    /// What to write to it.
    fn about(&self) -> About;
    /// The same function with some options changed for one request; loaded models and caches are shared.
    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter>;
    /// The answer alone, as the task's Hugging Face specification shapes it, out of the fields of a prediction.
    fn bare(&self, fields: &Value) -> Value;
    /// JSON schemas of the options by name, as [`schema::types`](super::schema::types) finds them; none where there are no parameters.
    fn types(&self) -> Map<String, Value> {
        Map::new()
    }
    /// The same answers while they are written; `None` for functions that give theirs at once.
    fn pieces(&self) -> Option<&dyn Pieces> {
        None
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Written {
    pub text: String,
    /// Tokens since the piece before, as the answer's field `tokens` has them; none where the answer has no such field. The last of an answer
    /// may add no text, and stand in that field alone.
    pub tokens: Vec<Value>,
}

/// Is given each piece as it comes; `false` ends the answer.
pub type Sink = Box<dyn FnMut(Written) -> bool + Send>;

/// A function whose answer can go out in pieces.
pub trait Pieces: Send + Sync {
    /// Answers one input as [`Function::call`] does, and gives the sink each piece as it comes.
    fn answer_in_pieces<'a>(&'a self, input: &'a Input, sink: Sink) -> BoxFuture<'a, Result<Outcome, CallError>>;
}

/// How a function is asked.
#[derive(Debug, Clone)]
pub struct About {
    /// Fields of an input; a plain text is the first.
    pub fields: &'static [&'static str],
    /// Options that a request may change.
    pub parameters: &'static [&'static str],
    /// The options in force.
    pub options: Value,
    /// An input that is answered.
    pub example: Value,
}

/// A parameter of a request that is not taken.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BadParameter {
    /// Its name.
    pub name: String,
    /// Which are known, or what it must be.
    pub message: String,
}

impl BadParameter {
    /// For a function that knows these.
    pub fn unknown(function: &str, name: &str, known: &[&str]) -> Self {
        let message = match known {
            [] => format!("{function}: there is no parameter `{name}`; it takes none"),
            known => format!("{function}: there is no parameter `{name}`; known: {}", known.join(", ")),
        };
        Self { name: name.to_owned(), message }
    }
}
