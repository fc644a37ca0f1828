//! A pipeline with another model or other options: what a shadow or a rung of a ladder is.

use super::Pipeline;
use serde_json::{Map, Value};

impl Pipeline {
    /// The same pipeline with another model, where one is named, and with options laid over its own key by key. It has neither shadow nor ladder.
    pub fn varied(&self, model: Option<&str>, options: &Map<String, Value>) -> Self {
        let mut varied = Self { shadow: None, ladder: None, version: Default::default(), ..self.clone() };
        if let Some(model) = model {
            varied.model = Some(model.to_owned());
        }
        varied.options.extend(options.clone());
        varied
    }
}
