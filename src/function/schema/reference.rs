//! The options of each function, without building one: for the reference of the config file.

use super::{types, words};
use crate::config::risk;
use crate::function::texts::TextOptions;
use crate::function::{
    answer, classify, copy, embed, fill, generate, recommend, reply, rerank, sentiment, similar, summarize, tag, translate,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What each function takes as `options`, as JSON schemas by the function's name.
pub fn options() -> Vec<(&'static str, Value)> {
    vec![
        ("answer", of_text::<answer::Options>("answer")),
        ("classify", of_text::<classify::Options>("classify")),
        ("copy", derived::<copy::Options>()),
        ("embed", of_text::<embed::Options>("embed")),
        ("fill", of_text::<fill::Options>("fill")),
        ("generate", of_text::<generate::Options>("generate")),
        ("recommend", derived::<recommend::Options>()),
        ("reply", of_text::<reply::Options>("reply")),
        ("rerank", of_text::<rerank::Options>("rerank")),
        ("risk", derived::<risk::Options>()),
        ("sentiment", of_text::<sentiment::Options>("sentiment")),
        ("similar", of_text::<similar::Options>("similar")),
        ("summarize", of_text::<summarize::Options>("summarize")),
        ("tag", of_text::<tag::Options>("tag")),
        ("translate", of_text::<translate::Options>("translate")),
    ]
}

/// What every text function takes beside its own options.
pub fn common() -> Value {
    let mut common = derived::<TextOptions>();
    common["properties"]["fields"] = json!({
        "type": "object",
        "additionalProperties": { "type": "string" },
        "default": {},
        "description": "Dotted paths by the names of the function's input fields, for events whose fields are called otherwise, such \
                        as `{ context = \"doc.body\" }`.",
    });
    common
}

/// From the comments, the type and the defaults of a text function's options.
fn of_text<O: DeserializeOwned + Serialize + Default>(function: &str) -> Value {
    let defaults = serde_json::to_value(O::default()).unwrap_or_default();
    let mut properties = types::<O>();
    for (name, schema) in &mut properties {
        let Value::Object(schema) = schema else { continue };
        if let Some(words) = words::of(function, name) {
            schema.insert("description".into(), words.into());
        }
        if let Some(default) = defaults.get(name).filter(|default| !default.is_null()) {
            schema.insert("default".into(), shortest(default));
        }
    }
    // A reply may be a table too, which no list of texts shows.
    if let Some(replies) = properties.get_mut("replies") {
        replies["items"] = json!({});
    }
    if let Value::Object(common) = common()["properties"].take() {
        properties.extend(common);
    }
    object(properties)
}

/// A number of 32 bits as it was written, not as 64 bits show it.
fn shortest(value: &Value) -> Value {
    let short = value.as_f64().filter(|_| value.is_f64()).and_then(|number| (number as f32).to_string().parse::<f64>().ok());
    short.map_or_else(|| value.clone(), Value::from)
}

fn derived<O: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<O>().to_value()
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::options;
    use crate::config::FUNCTIONS;

    /// Would catch: a function that the reference of the config does not have, an option without words.
    #[test]
    fn every_function_and_every_option_is_described() {
        let all = options();
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, FUNCTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (function, schema) in &all {
            for (name, option) in schema["properties"].as_object().unwrap() {
                let words = option["description"].as_str().unwrap_or_default();
                assert!(words.ends_with('.') && words.len() > 10, "{function}: `{name}` says {words:?}");
            }
        }
    }
}
