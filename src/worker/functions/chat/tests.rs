mod clients;
mod logprobs;

use super::super::IN_WORK;
use super::*;
use crate::admin::{FunctionApi, Shape};
use crate::config::Config;
use crate::event::Rejection;
use crate::function::requests::{About, BadParameter, Pieces, Requests, Sink, Written};
use crate::function::{CallError, Input, Limits, Outcome, offline};
use crate::inference::import::{Dtype, Request, import};
use crate::inference::{Options, Registry};
use crate::worker::{build, folds};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A worker with one pipeline, whose model is the tiny one of the import.
fn functions() -> Functions {
    functions_with("max_new_tokens = 8")
}

fn functions_with(options: &str) -> Functions {
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        file: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/llama.gguf"),
        folder: folder.path().join("tiny"),
        dtype: Dtype::F32,
        tokenizer: None,
        rope_theta: None,
    };
    import(&request).unwrap();
    let text = format!(
        "[models.tiny]\npath = {:?}\n[[pipeline]]\nname = \"chat\"\ntopic = \"t\"\nevent = \"json\"\nfunction = \"generate\"\n\
         model = \"tiny\"\noptions = {{ {options} }}\n",
        request.folder.display().to_string()
    );
    let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
    let functions = Functions::new(Duration::from_secs(60));
    let pipeline = &config.pipeline[0];
    let function = build::function(&config, pipeline, &Registry::new(Options::default())).unwrap();
    functions.add_plain("chat", function, folds::offline(&config, pipeline));
    functions
}

async fn whole(functions: &Functions, input: Value) -> Result<Value, ApiError> {
    match functions.said(input).await? {
        Said::Whole(answer) => Ok(answer),
        Said::Events(_) => panic!("events were not asked for"),
    }
}

async fn events(functions: &Functions, input: Value) -> Result<Vec<String>, ApiError> {
    match functions.said(input).await? {
        Said::Events(events) => Ok(events.collect().await),
        Said::Whole(answer) => panic!("not in pieces: {answer}"),
    }
}

/// Would catch: a stream that is another answer than the whole one, a chunk that OpenAI's clients cannot read, a missing end.
#[tokio::test]
async fn an_answer_is_the_same_whole_and_in_pieces() {
    let functions = functions();
    let request = json!({
        "model": "tiny", "temperature": 1.1, "seed": 7, "max_tokens": 10, "user": "u",
        "messages": [{ "role": "developer", "content": "Brief." }, { "role": "user", "content": [{ "type": "text", "text": "Hi" }] }],
    });
    let answer = whole(&functions, request.clone()).await.unwrap();
    let choice = &answer["choices"][0];
    assert_eq!((&answer["object"], &choice["message"]["role"]), (&json!("chat.completion"), &json!("assistant")));
    assert!(answer["model"].as_str().unwrap().starts_with("tiny@") && answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let sum = answer["usage"]["prompt_tokens"].as_u64().unwrap() + answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(answer["usage"]["total_tokens"], sum);
    let mut streamed = request.clone();
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({ "include_usage": true });
    let events = events(&functions, streamed).await.unwrap();
    assert_eq!(events.last().unwrap(), "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap());
    assert_eq!(chunks[chunks.len() - 1]["usage"], answer["usage"]);
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], choice["finish_reason"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let free = json!({ "temperature": 1.5, "messages": [{ "role": "user", "content": "Hi" }] });
    assert_ne!(whole(&functions, free.clone()).await.unwrap()["choices"], whole(&functions, free).await.unwrap()["choices"]);
}

#[tokio::test]
async fn forms_and_log_probabilities() {
    let functions = functions();
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"] });
    let request = json!({
        "messages": [{ "role": "user", "content": "x" }], "max_completion_tokens": 20,
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": schema.clone() } },
    });
    let answer = whole(&functions, request).await.unwrap();
    let value: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(value["ok"].is_boolean(), "{answer}");
    // As huggingface_hub writes the same, with a model that it makes up.
    let request = json!({
        "messages": [{ "role": "user", "content": "x" }], "max_tokens": 20, "model": "dummy",
        "response_format": { "type": "json_object", "value": schema },
    });
    assert_eq!(
        whole(&functions, request).await.unwrap()["choices"][0]["message"]["content"],
        answer["choices"][0]["message"]["content"]
    );
    // Any object, in all the ways in which clients leave the schema out.
    for (form, most) in [(json!({ "type": "json_object" }), 2), (json!({ "type": "json_object", "value": null }), 25)] {
        for seed in 0..6 {
            let request = json!({
                "messages": [{ "role": "user", "content": "x" }], "max_tokens": most, "response_format": form, "temperature": 1.5, "seed": seed,
            });
            let choice = whole(&functions, request).await.unwrap()["choices"][0].clone();
            let value: Value = serde_json::from_str(choice["message"]["content"].as_str().unwrap()).unwrap();
            assert!(value.is_object() && choice["finish_reason"] == "stop", "{choice}");
        }
    }
    let request = json!({ "messages": [{ "role": "user", "content": "x" }], "logprobs": true, "top_logprobs": 2 });
    let answer = whole(&functions, request).await.unwrap();
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content.len() as u64, answer["usage"]["completion_tokens"].as_u64().unwrap());
    assert_eq!(content[0]["top_logprobs"].as_array().unwrap().len(), 2);
}

/// Would catch: a conversation that is looked for where the door does not put it, a refusal that names another place.
#[tokio::test]
async fn messages_stand_where_the_pipelines_events_have_them() {
    let functions = functions_with("max_new_tokens = 8, fields = { messages = \"talk.turns\" }");
    let usual = self::functions();
    let hi = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let answer = whole(&functions, hi.clone()).await.unwrap();
    assert_eq!(answer["choices"], whole(&usual, hi).await.unwrap()["choices"]);
}

/// Would catch: a refusal from which nobody learns which message, which model, or how much would be taken.
#[tokio::test]
async fn refusals_name_message_model_and_limit() {
    let functions = functions();
    let turn = |content: &str| json!({ "role": "user", "content": content });
    let long = "a ".repeat(30_000);
    for (messages, status, param, said) in [
        (json!([turn("a"), turn(&long)]), 413, "messages.1", "20000"),
        (json!([turn("a\0"), turn("b")]), 422, "messages.0", "U+0000"),
        (json!([turn("a"), turn(" ")]), 422, "messages", "last message"),
        (Value::from(vec![turn("a"); 1_001]), 413, "messages", "1000"),
    ] {
        for stream in [false, true] {
            let request = json!({ "messages": messages, "stream": stream });
            let error = functions.said(request).await.err().unwrap();
            assert_eq!((error.status, error.param.as_deref()), (status, Some(param)), "{error}");
            let place = param.strip_prefix("messages.").map_or("the conversation".to_owned(), |place| format!("message {place}"));
            assert!(error.message.starts_with(&format!("{place} (model tiny@")) && error.message.contains(said), "{error}");
        }
    }
    let request = json!({ "inputs": " " });
    let error = functions.streamed("chat", request, Shape::Bare).await.err().unwrap();
    assert!(error.message.starts_with("input 0 (model tiny@"), "{error}");
    let documented = functions.documented();
    let openapi = crate::admin::openapi_of(&documented, 1);
    let chat = &openapi["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let messages = &chat["properties"]["messages"];
    assert_eq!(messages["maxItems"], 1_000);
    assert_eq!(messages["items"]["properties"]["content"]["anyOf"][0]["maxLength"], 100_000);
    assert_eq!(chat["properties"]["stop"]["maxItems"], 16);
}

#[tokio::test]
async fn what_is_wrong_has_a_status_and_a_field() {
    let functions = functions();
    let hi = json!([{ "role": "user", "content": "Hi" }]);
    for (request, status, param) in [
        (json!({}), 400, "messages"),
        (json!({ "messages": [] }), 400, "messages"),
        (json!({ "messages": [{ "content": "x" }] }), 400, "messages.0"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }), 400, "messages.0"),
        (json!({ "messages": [{ "role": "user", "content": " " }] }), 422, "messages"),
        (json!({ "messages": hi, "model": "gpt-4" }), 404, "model"),
        (json!({ "messages": hi, "n": 2 }), 400, "n"),
        (json!({ "messages": hi, "n": 0 }), 400, "n"),
        (json!({ "messages": hi, "n": 2, "temperature": 1, "stream": true }), 400, "n"),
        (json!({ "messages": hi, "tools": [{}] }), 400, "tools"),
        (json!({ "messages": hi, "temperature": 9000 }), 400, "temperature"),
        (json!({ "messages": hi, "best_of": 2 }), 400, "best_of"),
        (json!({ "messages": hi, "response_format": { "type": "json_object" }, "max_tokens": 1 }), 400, "max_tokens"),
        (json!({ "messages": hi, "max_completion_tokens": 0 }), 400, "max_completion_tokens"),
        (json!({ "messages": hi, "response_format": { "type": "json_schema", "json_schema": {} } }), 400, "response_format"),
        (json!({ "messages": hi, "response_format": { "type": "json_object", "value": 7 } }), 400, "response_format"),
    ] {
        let error = functions.said(request.clone()).await.err().unwrap_or_else(|| panic!("{request} was taken"));
        assert_eq!((error.status, error.param.as_deref()), (status, Some(param)), "{request}: {error}");
    }
    // In pieces too, before the first of them.
    let request = json!({ "messages": [{ "role": "user", "content": " " }], "stream": true });
    assert_eq!(functions.said(request).await.err().map(|error| error.status), Some(422));
}

/// Would catch: pieces of `/v1/functions/NAME` that are not its answer, a function that has none and is asked for them.
#[tokio::test]
async fn a_function_streams_what_it_answers() {
    let functions = functions();
    let request = json!({ "inputs": "Hi", "parameters": { "temperature": 1, "seed": 3 } });
    let answer = functions.call("generate", request.clone(), Shape::Whole).await.unwrap();
    let counted = |name: &str| answer["outputs"][0][name].as_u64().unwrap();
    assert_eq!(answer["usage"]["tokens"], counted("prompt_tokens") + counted("generated_tokens"));
    let events: Vec<String> = functions.streamed("generate", request, Shape::Whole).await.unwrap().collect().await;
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(text, answer["outputs"][0]["generated_text"].as_str().unwrap());
    assert_eq!(events.last().unwrap()["output"], answer["outputs"][0]);
    let many = functions.streamed("generate", json!({ "inputs": ["a", "b"] }), Shape::Whole).await.err().unwrap();
    assert_eq!(many.param.as_deref(), Some("inputs"));
    let empty = functions.streamed("generate", json!({ "inputs": " " }), Shape::Whole).await.err().unwrap();
    assert_eq!((empty.status, empty.param.as_deref()), (422, Some("inputs.0.text")), "refused before the first piece");
    let copy = crate::function::copy::Copy::new(json!({ "fields": ["a"] }).as_object().unwrap()).unwrap();
    functions.add_plain("copied", Arc::new(copy), Arc::new(crate::function::offline::Plain));
    let error = functions.streamed("copied", json!({ "inputs": { "a": 1 } }), Shape::Whole).await.err().unwrap();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("stream")));
}

/// Writes one piece and then refuses, or never ends.
struct Half {
    spec: crate::function::Spec,
    ends: bool,
}

impl Function for Half {
    fn spec(&self) -> &crate::function::Spec {
        &self.spec
    }
    fn call<'a>(&'a self, _: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        async { Ok(Vec::new()) }.boxed()
    }
    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Half {
    fn about(&self) -> About {
        About { fields: &["messages"], parameters: &[], options: json!({ "seed": 1 }), example: json!("x") }
    }
    fn tuned(&self, _: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        Err(BadParameter::unknown("half", "x", &[]))
    }
    fn bare(&self, fields: &Value) -> Value {
        fields.clone()
    }
    fn pieces(&self) -> Option<&dyn Pieces> {
        Some(self)
    }
}

impl Pieces for Half {
    fn answer_in_pieces<'a>(&'a self, _: &'a Input, mut sink: Sink) -> BoxFuture<'a, Result<Outcome, CallError>> {
        async move {
            sink(Written { text: "half".into(), tokens: Vec::new() });
            if !self.ends {
                std::future::pending::<()>().await;
            }
            Ok(Outcome::Reject(Rejection::new("off_schema", "it fits no more")))
        }
        .boxed()
    }
}

/// Would catch: a refusal after some text that reads like an answer, an answer that holds its place for ever, read or not.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_and_says_how() {
    let functions = Functions::new(Duration::from_secs(60));
    let limits = Limits { slice: 1, calls_in_flight: 1, timeout: Duration::from_secs(9) };
    let half = |ends| {
        let spec = crate::function::Spec { name: "generate", version: 1, model: "m".into(), limits: limits.clone() };
        Arc::new(Half { spec, ends })
    };
    let request = json!({ "messages": [{ "role": "user", "content": "x" }], "stream": true });
    functions.add_plain("chat", half(true), Arc::new(offline::Plain));
    let events = events(&functions, request.clone()).await.unwrap();
    assert!(
        events.last().unwrap().contains("it fits no more") && !events.concat().contains("finish_reason\":\"stop"),
        "{events:?}"
    );
    functions.add_plain("chat", half(false), Arc::new(offline::Plain));
    let Said::Events(mut unread) = functions.said(request).await.unwrap() else { panic!("events were asked for") };
    assert_eq!(functions.room.available_permits(), IN_WORK - 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(functions.room.available_permits(), IN_WORK);
    let mut last = String::new();
    while let Some(event) = unread.next().await {
        last = event;
    }
    assert!(last.contains("timeout"), "{last}");
}

/// Would catch: a model that is said to be missing while it loads.
#[tokio::test]
async fn what_is_being_loaded_is_asked_for_again() {
    let functions = Functions::new(Duration::from_secs(60));
    functions.expect([("talk", "generate"), ("vectors", "embed")].into_iter());
    let chat = json!({ "messages": [{ "role": "user", "content": "x" }], "model": "tiny" });
    assert_eq!(functions.said(chat.clone()).await.err().map(|error| error.status), Some(503));
    assert_eq!(functions.embedded(json!({ "input": "x" })).await.unwrap_err().status, 503);
    let other = json!({ "messages": [{ "role": "user", "content": "x" }], "model": "vectors" });
    assert_eq!(functions.said(other).await.err().map(|error| error.status), Some(404));
}

/// Would catch: answers without their number, tokens of one answer that stand for all, a first answer that is another when it is not alone.
#[tokio::test]
async fn several_answers_are_choices() {
    let functions = functions();
    let request = |n: usize| json!({ "temperature": 1.2, "seed": 3, "n": n, "messages": [{ "role": "user", "content": "Hi" }] });
    let (one, three) = (whole(&functions, request(1)).await.unwrap(), whole(&functions, request(3)).await.unwrap());
    let choices = three["choices"].as_array().unwrap();
    assert_eq!((choices.len(), &choices[2]["index"], &choices[0]["message"]), (3, &json!(2), &one["choices"][0]["message"]));
    let count = |answer: &Value| answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(count(&three) > count(&one) && three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"], "{three}");
    let whole = functions.call(
        "generate",
        json!({ "inputs": "a", "parameters": { "num_return_sequences": 2, "temperature": 1 } }),
        Shape::Whole,
    );
    let whole = whole.await.unwrap();
    let tokens: u64 =
        whole["outputs"][0]["answers"].as_array().unwrap().iter().map(|one| one["generated_tokens"].as_u64().unwrap()).sum();
    assert_eq!(whole["usage"]["tokens"].as_u64(), whole["outputs"][0]["prompt_tokens"].as_u64().map(|prompt| prompt + tokens));
}
