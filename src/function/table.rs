//! The text functions by name.

use super::Function;
use super::answer::Answer;
use super::classify::Classify;
use super::fill::Fill;
use super::reply::Reply;
use super::rerank::Rerank;
use super::similar::Similar;
use super::summarize::Summarize;
use super::tag::Tag;
use super::task::TextFunction;
use crate::inference::Encoder;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Functions that [`text_function`] builds.
pub const TEXT_FUNCTIONS: [&str; 8] = ["answer", "classify", "fill", "reply", "rerank", "similar", "summarize", "tag"];

/// Builds a text function on an open model; the error says what to change in the options or the model.
pub fn text_function(name: &str, encoder: Arc<Encoder>, options: &Map<String, Value>) -> Result<Arc<dyn Function>, String> {
    Ok(match name {
        "answer" => Arc::new(TextFunction::<Answer>::new(encoder, options)?),
        "classify" => Arc::new(TextFunction::<Classify>::new(encoder, options)?),
        "fill" => Arc::new(TextFunction::<Fill>::new(encoder, options)?),
        "reply" => Arc::new(TextFunction::<Reply>::new(encoder, options)?),
        "rerank" => Arc::new(TextFunction::<Rerank>::new(encoder, options)?),
        "similar" => Arc::new(TextFunction::<Similar>::new(encoder, options)?),
        "summarize" => Arc::new(TextFunction::<Summarize>::new(encoder, options)?),
        "tag" => Arc::new(TextFunction::<Tag>::new(encoder, options)?),
        other => return Err(format!("there is no text function `{other}`; known: {}", TEXT_FUNCTIONS.join(", "))),
    })
}
