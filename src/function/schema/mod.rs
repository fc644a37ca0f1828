//! What a function takes and answers, as JSON schemas: for `/openapi.json` and for the forms.
//!
//! Nothing of it is a second list of parameters. Their types are what the options' own type takes (`types.rs`), their limits what the
//! function itself takes (`limits.rs`), their words the comments of the options (`words.rs`).

mod answers;
mod fields;
mod limits;
pub mod reference;
#[cfg(test)]
mod tests;
mod types;
mod words;

pub use types::types;

use super::task::MAX_ITEMS;
use super::{Function, example};
use serde_json::{Map, Value, json};

/// One function as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Of one input.
    pub input: Value,
    /// Of the object `parameters`.
    pub parameters: Value,
    /// Of one output.
    pub output: Value,
    /// Of the bare answer to one input.
    pub bare: Value,
    /// An input that is answered.
    pub example: Value,
    /// Whether it answers in pieces.
    pub pieces: bool,
}

/// Asks a function what it takes. It builds the function with some hundred parameters to find their limits, so it is for a thread that
/// may block.
pub fn schema(function: &dyn Function) -> Schema {
    let name = function.spec().name;
    let (output, bare) = (answers::output(name), answers::bare(name));
    let Some(requests) = function.requests() else {
        let none = json!({ "type": "object", "maxProperties": 0 });
        return Schema { input: json!({ "type": "object" }), parameters: none, output, bare, example: json!({}), pieces: false };
    };
    let about = requests.about();
    let known = requests.types();
    let mut parameters = Map::new();
    for parameter in about.parameters {
        let mut one = known.get(*parameter).cloned().unwrap_or_else(|| json!({}));
        limits::add(requests, parameter, &about.options, &mut one);
        if *parameter == "candidate_labels" {
            // Checked with each input, as labels of an event are.
            one["maxItems"] = MAX_ITEMS.into();
        }
        if let Some(description) = words::of(name, parameter) {
            one["description"] = description.into();
        }
        one["default"] = about.options.get(*parameter).cloned().unwrap_or_default();
        parameters.insert((*parameter).to_owned(), one);
    }
    let options = about.options.as_object().cloned().unwrap_or_default();
    Schema {
        input: fields::input(name, about.fields, &options),
        parameters: json!({ "type": "object", "properties": parameters, "additionalProperties": false }),
        output,
        bare,
        example: example::event(about.example, about.fields, &options),
        pieces: requests.pieces().is_some(),
    }
}
