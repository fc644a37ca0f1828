//! The routes over a socket.

use super::*;
use crate::admin::{Answered, AnsweredBy, Events, Said, SwapWish, Versioned, Wish};
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with what it is asked.
pub struct Echo;
impl FunctionApi for Echo {
    fn list(&self) -> Value {
        json!(["echo"])
    }
    fn documented(&self) -> Vec<Arc<FunctionDoc>> {
        vec![Arc::new(document("echo")), Arc::new(FunctionDoc { pieces: true, ..document("full") })]
    }
    fn answer<'a>(
        &'a self,
        asked: Asked<'a>,
        input: Value,
        shape: Shape,
    ) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        let name = asked.name;
        let unknown = ApiError { status: 404, kind: "not_found", message: name.into(), param: Some("name".into()) };
        Box::pin(async move {
            match (name, shape) {
                ("echo", Shape::Whole) => Ok(by(asked.version, Answered::from(input))),
                ("echo", Shape::Bare) => Ok(by(asked.version, Answered::from(json!({ "bare": input })))),
                ("full", _) => Err(ApiError { status: 429, kind: "overloaded", message: name.into(), param: None }),
                _ => Err(unknown),
            }
        })
    }
    fn embeddings<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Answered>, ApiError>> {
        Box::pin(async move { Ok(by(version, Answered::from(json!({ "embedded": input })))) })
    }
    fn chat<'a>(&'a self, version: Option<&'a str>, input: Value) -> BoxFuture<'a, Result<Versioned<Said>, ApiError>> {
        Box::pin(async move { Ok(by(version, Said::Whole(json!({ "said": input })))) })
    }
    fn models(&self) -> Value {
        json!({ "listed": true })
    }
    fn model(&self, name: &str) -> Result<Value, ApiError> {
        match name {
            "a/b" => Ok(json!({ "id": name })),
            _ => Err(ApiError { status: 404, kind: "not_found", message: name.into(), param: Some("model".into()) }),
        }
    }
    fn stream<'a>(&'a self, asked: Asked<'a>, _: Value, _: Shape) -> BoxFuture<'a, Result<Versioned<Events>, ApiError>> {
        let events: Events = futures_util::stream::iter([asked.name.to_owned(), "line\nline".to_owned()]).boxed();
        Box::pin(async move { Ok(by(asked.version, events)) })
    }
}

/// The version that was named, else `base`.
fn by<T>(version: Option<&str>, answer: T) -> Versioned<T> {
    Versioned { by: AnsweredBy { version: version.unwrap_or("base").to_owned(), config: "c0ffee".to_owned() }, answer }
}

/// Tells what it was asked, for the pipeline `p`.
pub struct Told;
impl OperatorApi for Told {
    fn pause<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Ok(json!({ "paused": pipeline, "by": wish.by, "partition": wish.partition })) })
    }
    fn resume<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Ok(json!({ "resumed": pipeline, "all": wish.all })) })
    }
    fn swap<'a>(&'a self, pipeline: &'a str, wish: SwapWish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move { Ok(json!({ "swapped": pipeline, "to": wish.to })) })
    }
}

/// A function of every kind of parameter.
pub fn document(pipeline: &str) -> FunctionDoc {
    let text = json!({ "type": "string" });
    let event = json!({
        "type": "object", "required": ["text"],
        "properties": { "text": text, "words": { "type": "array", "items": text }, "messages": { "type": "array", "items": {} } },
    });
    let parameters = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "top_k": { "type": ["integer", "null"], "minimum": 1, "maximum": 9, "default": 3, "description": "Answers <b>at most</b>." },
            "way": { "enum": ["near", "far"], "default": "near" },
            "whole": { "type": "boolean", "default": false },
            "stop": { "type": ["string", "array", "null"], "items": text, "default": [] },
            "schema": { "default": null },
        },
    });
    FunctionDoc {
        pipeline: pipeline.to_owned(),
        function: "copy".to_owned(),
        model: "tiny@<0>".to_owned(),
        version: 1,
        versions: vec!["base".to_owned(), "v2".to_owned()],
        most: 8,
        input: json!({ "anyOf": [text, event] }),
        parameters,
        output: json!({ "type": "object" }),
        bare: json!({ "type": "array", "items": text }),
        example: json!("I love it."),
        pieces: false,
    }
}

/// A server on a free port, which waits half a second for a body; it ends with the token.
pub async fn started(body_bytes: usize) -> (AdminState, std::net::SocketAddr, CancellationToken) {
    started_as(|state| state.body_bytes = body_bytes).await
}

/// The same with limits of its connections.
pub async fn started_with(body_bytes: usize, connections: Connections) -> (AdminState, std::net::SocketAddr, CancellationToken) {
    started_as(|state| (state.body_bytes, state.connections) = (body_bytes, connections)).await
}

/// The same with whatever is to be otherwise.
pub async fn started_as(change: impl FnOnce(&mut AdminState)) -> (AdminState, std::net::SocketAddr, CancellationToken) {
    let [head_timeout, keep_alive, write_timeout] = [Duration::from_secs(30); 3];
    let mut state = AdminState {
        liveness: Arc::default(),
        readiness: Arc::new(Readiness::new(["model"])),
        status: Arc::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
        functions: Arc::new(Echo),
        operators: Arc::new(Told),
        token: Arc::default(),
        records: Arc::new(look::tests::Twin),
        hosts: Arc::default(),
        body_bytes: 100,
        body_timeout: Duration::from_millis(500),
        connections: Connections { most: 100, head_timeout, keep_alive, write_timeout, head_bytes: 65_536 },
    };
    change(&mut state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, state.clone(), stop.clone()));
    (state, address, stop)
}

/// The whole answer as it comes; `head` are further header lines.
pub async fn ask(address: std::net::SocketAddr, method: &str, path: &str, head: &str, body: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\n{head}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn routes_answer_over_a_socket() {
    let (state, address, stop) = started(100).await;
    let ask = async |method: &str, path: &str, body: &str| ask(address, method, path, "host: x\r\n", body).await;
    assert!(ask("GET", "/livez", "").await.contains(" 200 "));
    assert!(ask("GET", "/readyz", "").await.contains("waiting for model"));
    state.readiness.release("model");
    assert!(ask("GET", "/readyz", "").await.contains(" 200 "));
    state.readiness.block("postgres", "away");
    assert!(ask("GET", "/readyz", "").await.contains(" 503 "));
    assert!(ask("GET", "/status", "").await.contains("pipelines"));
    assert!(ask("GET", "/metrics", "").await.contains(" 200 "));
    assert!(ask("POST", "/v1/functions/echo", "[1]").await.ends_with("[1]"));
    assert!(ask("POST", "/v1/functions/x", "[1]").await.contains("not_found"));
    for broken in ["{", r#"{"inputs": "\ud800"}"#] {
        assert!(ask("POST", "/v1/functions/echo", broken).await.contains("invalid_request"), "{broken}");
    }
    assert!(ask("POST", "/v1/chat/completions", "[1]").await.ends_with("{\"said\":[1]}"));
    let events = ask("POST", "/v1/functions/echo", "{\"stream\":true}").await;
    assert!(events.contains("text/event-stream") && events.contains("data: echo\n\n"), "{events}");
    assert!(events.contains("data: line\ndata: line\n\n"), "{events}");
    let large = ask("POST", "/v1/functions/echo", &"1".repeat(200)).await;
    assert!(large.contains(" 413 ") && large.contains("too_large") && large.contains("more than 100 bytes"), "{large}");
    assert!(ask("POST", "/hf/echo", "[1]").await.ends_with("{\"bare\":[1]}"));
    let streamed = ask("POST", "/hf/echo", "{\"stream\":true}").await;
    assert!(streamed.contains("text/event-stream") && streamed.contains("data: echo\n\n"), "{streamed}");
    let refused = ask("POST", "/hf/x", "[1]").await;
    assert!(refused.contains(" 404 ") && refused.contains("\"error\":\"x\"") && refused.contains("error_type"), "{refused}");
    let said = ask("POST", "/hf/echo/v1/chat/completions", "{\"model\":\"dummy\"}").await;
    assert!(said.ends_with("{\"said\":{\"model\":\"echo\"}}"), "{said}");
    assert!(ask("GET", "/v1/models", "").await.contains("listed"));
    assert!(ask("GET", "/v1/models/a/b", "").await.ends_with("{\"id\":\"a/b\"}"));
    assert!(ask("GET", "/v1/models/c", "").await.contains("\"code\":\"model_not_found\""));
    let nowhere = ask("POST", "/v1/completions", "{}").await;
    assert!(nowhere.contains(" 404 ") && nowhere.contains("/openapi.json") && nowhere.contains("/v1/completions"), "{nowhere}");
    let wrong = ask("GET", "/v1/embeddings", "").await;
    assert!(wrong.contains(" 405 ") && wrong.contains("allow: POST") && wrong.contains("method_not_allowed"), "{wrong}");
    let accepted = "/v1/functions/echo HTTP/1.1\r\naccept: application/vnd.huggingface+json\r\nx: y";
    let bare = ask("POST", accepted, "[1]").await;
    assert!(bare.ends_with("{\"bare\":[1]}") && bare.contains("content-type: application/vnd.huggingface+json"), "{bare}");
    assert!(ask("POST", "/v1/embeddings", "[1]").await.contains("embedded"));
    let full = ask("POST", "/v1/functions/full", "[1]").await;
    assert!(full.contains(" 429 ") && full.contains("retry-after: 1"), "{full}");
    stop.cancel();
}

/// Would catch: a door that passes a version over, or does not tell which one has answered; one that takes one of two.
#[tokio::test]
async fn a_call_names_a_version_and_the_answer_does() {
    let (_, address, stop) = started(100).await;
    let ask = async |path: &str, body: &str| ask(address, "POST", path, "host: x\r\n", body).await;
    for path in ["/v1/functions/echo", "/hf/echo", "/hf/echo/v1/chat/completions", "/v1/embeddings", "/v1/chat/completions"] {
        for body in ["{}", "{\"stream\":true}"] {
            let plain = ask(path, body).await;
            assert!(plain.contains("x-millrace-version: base\r\n") && plain.contains("x-millrace-config: c0ffee\r\n"), "{plain}");
            let named = ask(&format!("{path}?a=b&version=v2"), body).await;
            assert!(named.contains(" 200 ") && named.contains("x-millrace-version: v2\r\n"), "{named}");
        }
        let twice = ask(&format!("{path}?version=v2&version=base"), "{}").await;
        assert!(twice.contains(" 400 ") && twice.contains("more than once"), "{twice}");
    }
    stop.cancel();
}

/// Would catch: a change without a token, by a wrong one or on a worker that has none; a body that is read before; a token in an answer.
#[tokio::test]
async fn what_changes_something_needs_the_token() {
    const TOKEN: &str = "a-token-of-this-test";
    let (state, address, stop) = started(200).await;
    let body = r#"{"by": "ann", "reason": "why", "partition": 3}"#;
    let ask = async |path: &str, head: &str, body: &str| {
        let answer = ask(address, "POST", &format!("/v1/pipelines/p/{path}"), &format!("host: x\r\n{head}"), body).await;
        assert!(!answer.contains(TOKEN), "{answer}");
        answer
    };
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let none = ask("pause", &right, body).await;
    assert!(none.contains(" 403 ") && none.contains("token_file") && none.contains("MILLRACE_ADMIN__TOKEN"), "{none}");
    assert!(state.token.replace(TOKEN));
    for head in ["", "authorization: Basic eDp5\r\n", "authorization: Bearer wrong\r\n"] {
        // Refused before the body is looked at.
        for body in [body, "{"] {
            let answer = ask("pause", head, body).await;
            assert!(answer.contains(" 401 ") && answer.contains("www-authenticate: Bearer realm"), "{answer}");
        }
    }
    let done = ask("pause", &right, body).await;
    assert!(done.ends_with(r#"{"by":"ann","partition":3,"paused":"p"}"#), "{done}");
    let done = ask("resume", &right.replace("Bearer", "bearer"), r#"{"by": "ann", "all": true}"#).await;
    assert!(done.ends_with(r#"{"all":true,"resumed":"p"}"#), "{done}");
    for wrong in ["{}", r#"{"by": "ann", "partitions": 3}"#, "[1]", "{"] {
        let answer = ask("pause", &right, wrong).await;
        assert!(answer.contains(" 400 ") && answer.contains("invalid_request"), "{answer}");
    }
    for _ in 0..8 {
        ask("pause", "authorization: Bearer wrong\r\n", body).await;
    }
    let late = ask("pause", "authorization: Bearer wrong\r\n", body).await;
    assert!(late.contains(" 429 ") && late.contains("retry-after: ") && late.contains("too_many_attempts"), "{late}");
    // Whoever guesses locks nobody out.
    assert!(ask("pause", &right, body).await.contains(" 200 "));
    stop.cancel();
}

/// Would catch: a body that never comes and holds its connection for ever, an answer to it in another door's shape.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (_, address, stop) = started(100).await;
    for (path, said) in [
        ("/v1/functions/echo", "\"type\":\"timeout\""),
        ("/v1/chat/completions", "\"type\":\"timeout\""),
        ("/v1/embeddings", "\"type\":\"timeout\""),
        ("/hf/echo", "\"error_type\":\"timeout\""),
        ("/functions/echo", "role=\"alert\""),
    ] {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{{\"inputs\":");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // To its end: the connection is closed, though it might have been kept.
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(said), "{answer}");
        assert!(answer.contains("within 500ms, the limit `body_timeout_ms` of [admin]"), "{answer}");
    }
    // One that comes in parts, but comes.
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/functions/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n";
    for part in [head, "[", "1", "]"] {
        socket.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("[1]"), "{answer}");
    stop.cancel();
}
