//! The text functions by name.

use super::Function;
use super::answer::Answer;
use super::classify::Classify;
use super::fill::Fill;
use super::model::Model;
use super::reply::Reply;
use super::rerank::Rerank;
use super::similar::Similar;
use super::summarize::Summarize;
use super::tag::Tag;
use super::task::TextFunction;
use super::translate::Translate;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Functions that [`text_function`] builds.
pub const TEXT_FUNCTIONS: [&str; 9] =
    ["answer", "classify", "fill", "reply", "rerank", "similar", "summarize", "tag", "translate"];

/// Builds a text function on an open model; the error says what to change in the options or the model.
pub fn text_function(name: &str, model: impl Into<Model>, options: &Map<String, Value>) -> Result<Arc<dyn Function>, String> {
    let model = model.into();
    let read = || model.clone().encoder().map_err(|cause| format!("{name}: {cause}"));
    Ok(match name {
        "answer" => Arc::new(TextFunction::<Answer>::new(read()?, options)?),
        "classify" => Arc::new(TextFunction::<Classify>::new(Arc::new(model), options)?),
        "fill" => Arc::new(TextFunction::<Fill>::new(read()?, options)?),
        "reply" => Arc::new(TextFunction::<Reply>::new(read()?, options)?),
        "rerank" => Arc::new(TextFunction::<Rerank>::new(read()?, options)?),
        "similar" => Arc::new(TextFunction::<Similar>::new(read()?, options)?),
        "summarize" => Arc::new(TextFunction::<Summarize>::new(Arc::new(model), options)?),
        "tag" => Arc::new(TextFunction::<Tag>::new(read()?, options)?),
        "translate" => {
            let model = model.text_to_text().map_err(|cause| format!("{name}: {cause}"))?;
            Arc::new(TextFunction::<Translate>::new(model, options)?)
        }
        other => return Err(format!("there is no text function `{other}`; known: {}", TEXT_FUNCTIONS.join(", "))),
    })
}
