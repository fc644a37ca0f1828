//! `/v1/chat/completions`: the function `generate` in the shape that clients of OpenAI's API write and read.
//!
//! What a request leaves out is as the pipeline's options say, so that an answer is greedy where they do not say otherwise.

use super::pieces::{Piece, begun, pieces};
use super::{Functions, Known, call};
use crate::admin::{ApiError, Events, Said, Versioned};
use crate::function::Function;
use futures_util::stream::{StreamExt, iter, once};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A request.
pub struct Asked {
    /// A pipeline, its model, or `generate`.
    pub model: Option<String>,
    messages: Vec<Value>,
    parameters: Map<String, Value>,
    stream: bool,
    usage: bool,
}

fn refused(message: impl Into<String>, param: &str) -> ApiError {
    ApiError { status: 400, kind: "invalid_request", message: message.into(), param: Some(param.to_owned()) }
}

impl Asked {
    pub fn read(input: &Value) -> Result<Self, ApiError> {
        let Value::Object(input) = input else { return Err(refused("the body must be an object", "messages")) };
        let list = input.get("messages").and_then(Value::as_array).filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| refused("`messages` must be a list of messages", "messages"))?;
        let messages = list.iter().enumerate().map(|(at, one)| message(at, one)).collect::<Result<_, _>>()?;
        let mut parameters = Map::new();
        for (name, value) in input.iter().filter(|(_, value)| !value.is_null()) {
            if let Some((name, value)) = parameter(name, value)? {
                parameters.insert(name.to_owned(), value);
            }
        }
        let is = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let stream = is(input.get("stream"));
        if stream && input.get("n").is_some_and(|n| !n.is_null() && *n != 1) {
            return Err(refused("several answers come without `stream` alone", "n"));
        }
        let usage = is(input.get("stream_options").and_then(|options| options.get("include_usage")));
        // huggingface_hub writes `dummy` where its user names an address and no model.
        let model = input.get("model").and_then(Value::as_str).filter(|name| *name != "dummy").map(str::to_owned);
        Ok(Self { model, messages, parameters, stream, usage })
    }
}

/// A message with its content as one text.
fn message(at: usize, message: &Value) -> Result<Value, ApiError> {
    let param = format!("messages.{at}");
    let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err(refused("content must be a text, or parts of type text", &param)),
    };
    let content = match &message["content"] {
        Value::String(content) => content.clone(),
        Value::Null => String::new(),
        Value::Array(parts) => parts.iter().map(text).collect::<Result<_, _>>()?,
        _ => return Err(refused("content must be a text, or parts of type text", &param)),
    };
    match message["role"].as_str() {
        // The newer name of the same.
        Some("developer") => Ok(json!({ "role": "system", "content": content })),
        Some(role) => Ok(json!({ "role": role, "content": content })),
        None => Err(refused("a message needs a `role`", &param)),
    }
}

/// A field of the request as an option of `generate`; `None` for those that say nothing about the answer.
fn parameter<'a>(name: &'a str, value: &Value) -> Result<Option<(&'a str, Value)>, ApiError> {
    Ok(match name {
        "model"
        | "messages"
        | "stream"
        | "stream_options"
        | "user"
        | "metadata"
        | "store"
        | "service_tier"
        | "tool_choice"
        | "parallel_tool_calls"
        | "modalities" => None,
        "max_tokens" | NEWER => Some(("max_new_tokens", value.clone())),
        "n" => Some(("num_return_sequences", value.clone())),
        "tools" | "functions" if value.as_array().is_some_and(Vec::is_empty) => None,
        "tools" | "functions" => return Err(refused("tools are not called here", name)),
        "response_format" => schema(value)?.map(|schema| ("schema", schema)),
        other => Some((other, value.clone())),
    })
}

/// The schema that an answer is held to; huggingface_hub and other servers' clients have it in `value` or `schema` of a json_object,
/// which without one is an object of any shape.
fn schema(format: &Value) -> Result<Option<Value>, ApiError> {
    let (schema, place) = match format["type"].as_str() {
        Some("text") => return Ok(None),
        Some("json_schema") => (&format["json_schema"]["schema"], "`json_schema.schema`"),
        Some("json_object") => {
            match ["value", "schema"].iter().find_map(|name| format.get(name).filter(|given| !given.is_null())) {
                Some(schema) => (schema, "`value`"),
                None => return Ok(Some(json!({ "type": "object", "additionalProperties": true }))),
            }
        }
        _ => return Err(refused("`response_format` is of type text, json_schema or json_object", "response_format")),
    };
    match schema {
        Value::Object(_) => Ok(Some(schema.clone())),
        _ => Err(refused(format!("`response_format` needs an object as {place}"), "response_format")),
    }
}

impl Functions {
    pub(super) async fn completion(&self, version: Option<&str>, input: Value) -> Result<Versioned<Said>, ApiError> {
        let mut asked = Asked::read(&input)?;
        let (known, by) = self.at(self.of_task("generate", asked.model.as_deref())?, version).await?;
        let place = self.room()?;
        let own_seed = known.function.requests().is_some_and(|requests| !requests.about().options["seed"].is_null());
        if !own_seed && !asked.parameters.contains_key("seed") {
            // A request has no id that a seed could be made of.
            let seed = uuid::Uuid::new_v4().as_u128() as u64 >> 11;
            asked.parameters.insert("seed".into(), seed.into());
        }
        let most = if input.get(NEWER).is_some_and(|most| !most.is_null()) { NEWER } else { "max_tokens" };
        let function = known.builds.tuned(&known.function, &asked.parameters).await.map_err(|error| at_top(error, most))?;
        let event = known.event(&json!({ "messages": asked.messages }));
        let head = Head::new(&*function);
        if asked.stream {
            let events = stream(&known, function, &event, head, asked.usage, place).await?;
            return Ok(Versioned { by, answer: Said::Events(events) });
        }
        let gives_up = known.function.gives_up();
        let work = |given_up| async move {
            let outputs = call::outputs(&known, &*function, std::slice::from_ref(&event), &given_up).await?;
            Ok(head.whole(&fields(outputs.into_iter().next().unwrap_or_default(), &head.model)?))
        };
        Ok(Versioned { by, answer: Said::Whole(self.within(place, gives_up, work).await?) })
    }
}

/// The newer of the two names for the tokens of an answer at most.
const NEWER: &str = "max_completion_tokens";

/// The parameters of the function are fields of the body here; `most` is the name of the tokens of an answer at most.
fn at_top(error: ApiError, most: &str) -> ApiError {
    let param = error.param.map(|param| match param.trim_start_matches("parameters.") {
        "num_return_sequences" => "n".to_owned(),
        "max_new_tokens" => most.to_owned(),
        other => other.to_owned(),
    });
    ApiError { param, ..error }
}

/// The fields of an answer, or why there is none.
fn fields(output: Value, model: &str) -> Result<Value, ApiError> {
    let Some(rejected) = output.get("rejected") else { return Ok(output) };
    let param = rejected["field"].as_str().unwrap_or("messages").to_owned();
    let what = match param.rsplit_once('.').filter(|(_, last)| last.parse::<usize>().is_ok()) {
        Some((_, place)) => format!("message {place}"),
        None => "the conversation".to_owned(),
    };
    let message = format!("{what}{}: {}", call::of_model(model), rejected["detail"].as_str().unwrap_or_default());
    Err(ApiError { param: Some(param), message, ..call::rejection("messages", 0, rejected, model) })
}

/// What all parts of an answer say.
#[derive(Clone)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn new(function: &dyn Function) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()), created, model: function.spec().model.clone() }
    }

    fn with(&self, object: &str, choices: Value) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    fn whole(&self, fields: &Value) -> Value {
        let choice = |(index, answer): (usize, &Value)| {
            let message = json!({ "role": "assistant", "content": answer["generated_text"], "refusal": null });
            json!({ "index": index, "message": message, "finish_reason": finish(answer), "logprobs": logprobs(answer) })
        };
        let choices: Value = answers(fields).iter().enumerate().map(choice).collect();
        let mut whole = self.with("chat.completion", choices);
        whole["usage"] = usage(fields);
        tell_cut(&mut whole, fields);
        whole
    }

    /// `tokens` as the answer has them; none is no word about them.
    fn chunk(&self, delta: Value, tokens: &[Value]) -> String {
        self.piece(delta, Value::Null, tokens).to_string()
    }

    /// The chunk that says how the answer ended, and whether the conversation was cut.
    fn last(&self, fields: &Value) -> String {
        let mut last = self.piece(json!({}), finish(fields), &[]);
        tell_cut(&mut last, fields);
        last.to_string()
    }

    fn piece(&self, delta: Value, finish: Value, tokens: &[Value]) -> Value {
        let logprobs = if tokens.is_empty() { Value::Null } else { content(tokens) };
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs });
        self.with("chat.completion.chunk", json!([choice]))
    }
}

/// OpenAI's clients keep fields that they do not know.
fn tell_cut(answer: &mut Value, fields: &Value) {
    if fields["truncated"] == true {
        answer["truncated"] = true.into();
    }
}

/// The answers, of which there may be several.
fn answers(fields: &Value) -> &[Value] {
    fields["answers"].as_array().map_or_else(|| std::slice::from_ref(fields), Vec::as_slice)
}

fn finish(fields: &Value) -> Value {
    if fields["finish_reason"] == "length" { "length".into() } else { "stop".into() }
}

fn usage(fields: &Value) -> Value {
    let count = |fields: &Value, name: &str| fields[name].as_u64().unwrap_or(0);
    let prompt = count(fields, "prompt_tokens");
    let answer: u64 = answers(fields).iter().map(|answer| count(answer, "generated_tokens")).sum();
    json!({ "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer })
}

fn logprobs(fields: &Value) -> Value {
    fields["tokens"].as_array().map_or(Value::Null, |tokens| content(tokens))
}

/// Tokens with their log-probabilities.
fn content(tokens: &[Value]) -> Value {
    let one = |token: &Value| {
        let text = token["text"].as_str().unwrap_or_default();
        json!({ "token": text, "logprob": token["logprob"], "bytes": text.as_bytes() })
    };
    let with_top = |token: &Value| {
        let mut all = one(token);
        all["top_logprobs"] = token["top"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(one).collect();
        all
    };
    json!({ "content": tokens.iter().map(with_top).collect::<Value>(), "refusal": null })
}

/// An answer in chunks. What is refused before the first of them has its own status.
async fn stream(
    known: &Known,
    function: Arc<dyn Function>,
    input: &Value,
    head: Head,
    with_usage: bool,
    place: tokio::sync::OwnedSemaphorePermit,
) -> Result<Events, ApiError> {
    let input = known.offline.sitting().input(0, input).map_err(|rejection| refused(rejection.detail, "messages"))?;
    let model = head.model.clone();
    let pieces = begun(pieces(function, input, place), move |output| fields(output, &model)).await?;
    let begin = head.chunk(json!({ "role": "assistant", "content": "" }), &[]);
    let mut told = 0;
    let chunks = move |piece: Piece| {
        let all = match piece {
            Piece::Text(written) => {
                told += written.tokens.len();
                vec![head.chunk(json!({ "content": written.text }), &written.tokens)]
            }
            Piece::End(Ok(fields)) => {
                let mut all = Vec::new();
                // Such as the token that ends an answer: those that add no text to it.
                if let Some(rest) =
                    fields["tokens"].as_array().and_then(|tokens| tokens.get(told..)).filter(|rest| !rest.is_empty())
                {
                    all.push(head.chunk(json!({ "content": "" }), rest));
                }
                all.push(head.last(&fields));
                if with_usage {
                    let mut last = head.with("chat.completion.chunk", json!([]));
                    last["usage"] = usage(&fields);
                    all.push(last.to_string());
                }
                all.push("[DONE]".to_owned());
                all
            }
            Piece::End(Err(error)) => vec![json!({ "error": { "type": error.kind, "message": error.message } }).to_string()],
        };
        iter(all)
    };
    Ok(once(async { begin }).chain(pieces.flat_map(chunks)).boxed())
}

#[cfg(test)]
mod tests;
