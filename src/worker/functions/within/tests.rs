//! Requests to functions that take longer than they may, under a clock that waits and over sockets.

use super::super::IN_WORK;
use super::super::tests::{sent, started};
use super::*;
use crate::admin::Shape;
use crate::function::requests::{About, BadParameter};
use crate::function::{Limits, offline};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

/// Answers when it is told to; one of several inputs spoils its calls.
struct Slow {
    spec: Spec,
    gives_up: bool,
    calls: AtomicUsize,
    go: Notify,
}

impl Slow {
    fn new(name: &'static str, gives_up: bool) -> Arc<Self> {
        let limits = Limits { slice: 8, calls_in_flight: 1, timeout: Duration::from_secs(600) };
        let spec = Spec { name, version: 1, model: "m".into(), limits };
        Arc::new(Self { spec, gives_up, calls: AtomicUsize::new(0), go: Notify::new() })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Function for Slow {
    fn spec(&self) -> &Spec {
        &self.spec
    }
    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.go.notified().await;
            match slice.len() {
                1 => Ok(vec![Outcome::Skip("done")]),
                _ => Err(CallError::Poison("several".into())),
            }
        }
        .boxed()
    }
    fn gives_up(&self) -> bool {
        self.gives_up
    }
    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Slow {
    fn about(&self) -> About {
        About { fields: &["text", "messages"], parameters: &[], options: json!({ "seed": 1 }), example: json!("x") }
    }
    fn tuned(&self, _: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        Err(BadParameter::unknown("slow", "x", &[]))
    }
    fn bare(&self, fields: &Value) -> Value {
        fields.clone()
    }
}

fn with(function: &Arc<Slow>, call_timeout: Duration) -> Functions {
    let functions = Functions::new(call_timeout);
    functions.add_plain("slow", function.clone(), Arc::new(offline::Plain));
    functions
}

/// Would catch: a call without an end, a place that is free while its work goes on, work that goes on though nobody waits.
#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let two = json!({ "inputs": ["a", "b"] });
    let moment = async || tokio::time::sleep(Duration::from_millis(1)).await;
    for client_goes in [false, true] {
        for gives_up in [false, true] {
            let slow = Slow::new("slow", gives_up);
            let functions = with(&slow, Duration::from_secs(60));
            let call = functions.call("slow", two.clone(), Shape::Whole);
            if client_goes {
                assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
            } else {
                let error = call.await.unwrap_err();
                assert_eq!((error.status, error.kind), (504, "timeout"));
                assert!(error.message.contains("within 60s, the limit `call_timeout_ms` of [admin]"), "{error}");
            }
            moment().await;
            let free = |room: &tokio::sync::Semaphore| IN_WORK - room.available_permits();
            assert_eq!(free(&functions.room), usize::from(!gives_up), "a place is free when its work is over");
            slow.go.notify_one();
            moment().await;
            assert_eq!((free(&functions.room), slow.calls()), (0, 1), "halves are not called for nobody");
        }
    }
    // Within its time it is answered, halves and all.
    let slow = Slow::new("slow", false);
    let functions = with(&slow, Duration::from_secs(60));
    let notify = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            slow.go.notify_one();
        }
    };
    let (answer, ()) = tokio::join!(functions.call("slow", two, Shape::Whole), notify);
    assert_eq!((answer.unwrap()["outputs"][1]["skipped"].as_str(), slow.calls()), (Some("done"), 3));
    assert_eq!(functions.room.available_permits(), IN_WORK);
}

/// Would catch: calls over HTTP that fill the queue of a model, so that a slice of the stream waits behind all of them.
#[tokio::test(start_paused = true)]
async fn calls_over_http_take_turns() {
    let slow = Slow::new("slow", false);
    let functions = with(&slow, Duration::from_secs(600));
    let turns = functions.find("slow").unwrap().turns.available_permits();
    let calls = (0..3 * turns).map(|_| functions.call("slow", json!({ "inputs": ["a"] }), Shape::Whole));
    let watch = async {
        for round in 1..=3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(slow.calls(), round * turns, "as many as there are turns");
            slow.go.notify_waiters();
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), watch);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer["outputs"][0]["skipped"] == "done")));
}

/// Would catch: a door that waits for ever, one that says so in the shape of another, a client that goes and leaves its work behind.
#[tokio::test(flavor = "multi_thread")]
async fn every_door_answers_in_time() {
    let functions = Arc::new(Functions::new(Duration::from_millis(200)));
    let all = ["slow", "embed", "generate"].map(|name| Slow::new(name, true));
    for slow in &all {
        functions.add_plain(slow.spec.name, slow.clone(), Arc::new(offline::Plain));
    }
    let (address, stop) = started(&functions).await;
    let chat = json!({ "messages": [{ "role": "user", "content": "x" }] });
    for (path, body, said) in [
        ("/v1/functions/slow", json!({ "inputs": "x" }), "\"type\":\"timeout\""),
        ("/v1/embeddings", json!({ "input": "x" }), "\"type\":\"timeout\""),
        ("/v1/chat/completions", chat.clone(), "\"type\":\"timeout\""),
        ("/hf/slow", json!({ "inputs": "x" }), "\"error_type\":\"timeout\""),
        ("/hf/generate/v1/chat/completions", chat, "\"error_type\":\"timeout\""),
    ] {
        let mut answer = String::new();
        sent(address, path, &body).await.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains(said) && answer.contains("200ms"), "{path}: {answer}");
    }
    stop.cancel();
}

/// Would catch: a client that goes and leaves its work behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_frees_its_place() {
    let slow = Slow::new("slow", true);
    let functions = Arc::new(with(&slow, Duration::from_secs(600)));
    let (address, stop) = started(&functions).await;
    let until = async |reached: &dyn Fn() -> bool| {
        for _ in 0..1_000 {
            if reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not come to that");
    };
    let socket = sent(address, "/v1/functions/slow", &json!({ "inputs": "x" })).await;
    until(&|| slow.calls() == 1).await;
    assert_eq!(functions.room.available_permits(), IN_WORK - 1);
    drop(socket);
    until(&|| functions.room.available_permits() == IN_WORK).await;
    stop.cancel();
}
