//! Schemas against what the functions take and answer.

use super::schema;
use crate::function::embed::Embed;
use crate::function::generate::Generate;
use crate::function::sentiment::Sentiment;
use crate::function::{Function, TEXT_FUNCTIONS, offline, text_function};
use crate::inference::{Encoder, Options, causal};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn encoder(name: &str) -> Arc<Encoder> {
    Arc::new(Encoder::open("tiny", &root().join("functions").join(name), None, &Options::default()).unwrap())
}

fn text(name: &str, model: &str, options: &Value) -> Arc<dyn Function> {
    text_function(name, encoder(model), options.as_object().unwrap()).unwrap()
}

/// Every function, some under two sets of options.
fn all() -> Vec<Arc<dyn Function>> {
    let none = json!({});
    let moved = json!({ "fields": { "question": "ask", "context": "page.body" }, "output_key": "page.id", "pass_event": true });
    let passing = json!({ "pass_event": true });
    let folder = tempfile::tempdir().unwrap();
    let file = root().join("import/llama.gguf");
    let request = crate::inference::import::Request {
        file,
        folder: folder.path().join("m"),
        dtype: crate::inference::import::Dtype::parse("f32").unwrap(),
        tokenizer: None,
        rope_theta: None,
    };
    crate::inference::import::import(&request).unwrap();
    let options = causal::Options::default();
    let writer = crate::inference::generate::Writer::open("tiny", &folder.path().join("m"), None, &options).unwrap();
    vec![
        text("answer", "answer", &none),
        text("answer", "answer", &moved),
        text("classify", "one", &none),
        text("classify", "many", &none),
        text("classify", "nli", &none),
        text("fill", "fill", &none),
        text("reply", "fill", &json!({ "replies": ["It is on its way.", "We are sorry."], "min_score": -1.0 })),
        text("rerank", "rank", &none),
        text("similar", "fill", &none),
        text("summarize", "fill", &passing),
        text("tag", "tag", &none),
        Arc::new(Sentiment::new(encoder("one")).unwrap().with(passing.as_object().unwrap()).unwrap()),
        Arc::new(Embed::new(encoder("fill"))),
        Arc::new(Generate::new(Arc::new(writer), json!({ "max_new_tokens": 4 }).as_object().unwrap()).unwrap()),
    ]
}

/// What of a value the schema does not allow; knows what the schemas here use.
fn misfit(schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(any) = schema["anyOf"].as_array() {
        let all: Option<Vec<String>> = any.iter().map(|one| misfit(one, value, at)).collect();
        if let Some(all) = all {
            return Some(all.join(" and "));
        }
    }
    let is = |kind: &str| match kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{at}: no type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    };
    if !fits {
        return Some(format!("{at}: {value} is not {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Some(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return Some(format!("{at}: {value} is below {least}"));
    }
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    if let Value::Object(fields) = value {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Some(format!("{at}: {name} is not there"));
            }
        }
        return fields.iter().find_map(|(name, value)| match (properties.get(name), &schema["additionalProperties"]) {
            (Some(schema), _) | (None, schema @ Value::Object(_)) => misfit(schema, value, &format!("{at}.{name}")),
            (None, Value::Bool(false)) => Some(format!("{at}: {name} is not in the schema")),
            (None, _) => None,
        });
    }
    value.as_array().into_iter().flatten().find_map(|item| misfit(&schema["items"], item, at))
}

/// Would catch: a function without a schema, an example that is refused, an answer with fields that its schema has not.
#[tokio::test]
async fn examples_are_answered_as_the_schemas_say() {
    let all = all();
    for name in TEXT_FUNCTIONS {
        assert!(super::answers::output(name)["properties"].is_object(), "schema/answers.rs has no answer of {name}");
    }
    for function in all {
        let (name, found) = (function.spec().name, schema(&*function));
        assert_eq!(misfit(&found.input, &found.example, "input"), None, "{name}");
        let example = std::slice::from_ref(&found.example);
        let output =
            offline::call(&*function, &mut *offline::Offline::sitting(&offline::Plain), 0, example).await.unwrap().remove(0);
        assert_eq!(misfit(&found.output, &output, "output"), None, "{name}: {output}");
        assert_eq!(misfit(&found.bare, &function.requests().unwrap().bare(&output), "bare"), None, "{name}");
        for odd in [json!({ "x": 1 }), json!(7)] {
            assert!(misfit(&found.input, &odd, "input").is_some(), "{name} takes {odd}");
        }
    }
}

/// Would catch: a parameter that the document lacks or does not explain, one of another type or limit than the function takes.
#[tokio::test]
async fn parameters_are_those_that_the_functions_take() {
    for function in all() {
        let (name, found) = (function.spec().name, schema(&*function));
        let requests = function.requests().unwrap();
        let shown = found.parameters["properties"].as_object().unwrap();
        let known = requests.about().parameters;
        assert_eq!(
            shown.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
            known.iter().copied().collect(),
            "{name}"
        );
        for (parameter, schema) in shown {
            let at = format!("{name}.{parameter}: {schema}");
            assert!(schema["description"].as_str().is_some_and(|words| words.len() > 10), "{at}");
            assert_eq!(misfit(schema, &schema["default"], "default"), None, "{at}");
            let takes = |value: Value| requests.tuned(&Map::from_iter([(parameter.clone(), value)])).is_ok();
            for (limit, outside) in [("minimum", -1.0), ("maximum", 1.0), ("exclusiveMinimum", 0.0), ("exclusiveMaximum", 0.0)] {
                let Some(value) = schema[limit].as_f64() else { continue };
                let whole = schema["type"].to_string().contains("integer");
                let number = |value: f64| if whole { json!(value as i64) } else { json!(value) };
                let inclusive = limit.starts_with('m');
                assert!(!takes(number(value + outside)) && takes(number(value)) == inclusive, "{at}");
            }
        }
    }
    let found = schema(&*text("reply", "fill", &json!({ "replies": ["a"] })));
    let reply = |name: &str| found.parameters["properties"][name].clone();
    assert_eq!((&reply("top_k")["minimum"], &reply("top_k")["maximum"]), (&json!(1), &json!(100)));
    assert_eq!((&reply("min_score")["minimum"], &reply("min_score")["maximum"]), (&json!(-1.0), &json!(1.0)));
    assert_eq!((reply("one_per_intent")["type"].clone(), reply("top_k")["type"].clone()), (json!("boolean"), json!("integer")));
    let classify = schema(&*text("classify", "one", &json!({}))).parameters["properties"].clone();
    assert_eq!(classify["too_long"]["enum"], json!(["truncate", "window", "reject"]));
    assert_eq!(classify["function_to_apply"]["enum"], json!(["softmax", "sigmoid", "none", null]));
    assert_eq!(classify["candidate_labels"]["type"], json!(["string", "array", "null"]));
    assert_eq!((&classify["top_k"]["minimum"], &classify["top_k"]["type"]), (&json!(1), &json!(["integer", "null"])));
}
