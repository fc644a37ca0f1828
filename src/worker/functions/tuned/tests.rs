//! Requests with parameters of their own, before a function whose building is watched.

use super::super::Functions;
use super::super::tests::{sent, started};
use crate::admin::Shape;
use crate::function::requests::{About, BadParameter, Requests};
use crate::function::{CallError, Function, Input, Limits, Outcome, Spec, offline};
use crate::inference::Threads;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// What is known of the builds of a function.
#[derive(Default)]
struct Seen {
    building: AtomicUsize,
    most_building: AtomicUsize,
    built: AtomicUsize,
    alive: AtomicUsize,
    /// Whether they stand until this is taken back.
    held: Mutex<bool>,
    changed: Condvar,
}

impl Seen {
    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.changed.notify_all();
    }
}

struct Watched {
    spec: Spec,
    seen: Arc<Seen>,
}

impl Watched {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.alive.fetch_add(1, Ordering::SeqCst);
        let limits = Limits { slice: 8, calls_in_flight: 1, timeout: SOON };
        Self { spec: Spec { name: "watched", version: 1, model: "m".into(), limits }, seen: seen.clone() }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.seen.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Function for Watched {
    fn spec(&self) -> &Spec {
        &self.spec
    }
    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        async move { Ok(slice.iter().map(|_| Outcome::Skip("done")).collect()) }.boxed()
    }
    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl Requests for Watched {
    fn about(&self) -> About {
        About { fields: &["text"], parameters: &["labels"], options: json!({}), example: json!("x") }
    }
    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        let seen = &self.seen;
        let now = seen.building.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_building.fetch_max(now, Ordering::SeqCst);
        let held = seen.held.lock().unwrap();
        // A build that is waited for by the thread it stands on would never be told to go on.
        let (_held, late) = seen.changed.wait_timeout_while(held, SOON, |held| *held).unwrap();
        seen.building.fetch_sub(1, Ordering::SeqCst);
        seen.built.fetch_add(1, Ordering::SeqCst);
        match (late.timed_out(), parameters["labels"].as_array()) {
            (false, Some(_)) => Ok(Arc::new(Watched::new(seen))),
            _ => Err(BadParameter::unknown("watched", "labels", &[])),
        }
    }
    fn bare(&self, fields: &Value) -> Value {
        fields.clone()
    }
}

fn watched(call_timeout: Duration) -> (Arc<Functions>, Arc<Seen>) {
    let (functions, seen) = (Arc::new(Functions::new(call_timeout)), Arc::new(Seen::default()));
    functions.add_plain("watched", Arc::new(Watched::new(&seen)), Arc::new(offline::Plain));
    (functions, seen)
}

fn request(labels: usize) -> Value {
    json!({ "inputs": "x", "parameters": { "labels": [format!("one {labels}"), "other"] } })
}

/// Would catch: functions of other requests that are kept, more of them built at the same time than there are cores.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_with_other_labels_leave_nothing_behind() {
    let (functions, seen) = watched(SOON);
    for block in 0..25 {
        let some = (0..40).map(|one| functions.call("watched", request(40 * block + one), Shape::Whole));
        for answer in futures_util::future::join_all(some).await {
            assert_eq!(answer.unwrap()["outputs"][0]["skipped"], "done");
        }
    }
    assert_eq!((seen.built.load(Ordering::SeqCst), seen.alive.load(Ordering::SeqCst)), (1_000, 1));
    let (most, cores) = (seen.most_building.load(Ordering::SeqCst), Threads::OnePerCore.count());
    assert!(most <= cores, "{most} at the same time with {cores} cores");
}

/// Would catch: a build on the runtime's own thread, at any door.
#[tokio::test]
async fn the_worker_answers_while_functions_are_built() {
    let (functions, seen) = watched(SOON);
    let (address, stop) = started(&functions).await;
    *seen.held.lock().unwrap() = true;
    let mut asked = Vec::new();
    for number in 0..8 {
        asked.push(sent(address, "/v1/functions/watched", &request(number)).await);
    }
    let until = async |reached: &dyn Fn() -> bool| {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, until(&|| seen.building.load(Ordering::SeqCst) > 0)).await.expect("nothing is built");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON / 2, socket.read_to_string(&mut answer)).await.expect("the runtime stands").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && *seen.held.lock().unwrap(), "{answer}");
    seen.release();
    for mut socket in asked {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    stop.cancel();
}

/// Would catch: a request that waits for its build for ever, a build that goes on beside as many others as may be.
#[tokio::test]
async fn a_build_that_takes_too_long_is_not_waited_for() {
    let (functions, seen) = watched(Duration::from_millis(100));
    *seen.held.lock().unwrap() = true;
    let cores = Threads::OnePerCore.count();
    for number in 0..2 * cores {
        let error = functions.call("watched", request(number), Shape::Whole).await.unwrap_err();
        assert_eq!((error.status, error.kind), (504, "timeout"), "{error}");
        assert!(error.message.contains("call_timeout_ms"), "{error}");
    }
    assert!(seen.building.load(Ordering::SeqCst) <= cores);
    seen.release();
}

/// Would catch: places that pipelines share, so that one's dear builds hold up another's.
#[tokio::test]
async fn builds_of_one_pipeline_hold_up_no_other() {
    let (functions, seen) = watched(SOON);
    let other = Arc::new(Seen::default());
    functions.add_plain("other", Arc::new(Watched::new(&other)), Arc::new(offline::Plain));
    *seen.held.lock().unwrap() = true;
    let many: Vec<_> = (0..2 * Threads::OnePerCore.count())
        .map(|number| {
            let functions = Arc::clone(&functions);
            tokio::spawn(async move { functions.call("watched", request(number), Shape::Whole).await })
        })
        .collect();
    let taken = async {
        while seen.building.load(Ordering::SeqCst) < Threads::OnePerCore.count() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, taken).await.expect("they are not built");
    let answer = tokio::time::timeout(SOON / 2, functions.call("other", request(0), Shape::Whole)).await;
    assert!(*seen.held.lock().unwrap());
    assert_eq!(answer.expect("it waits for the other's").unwrap()["outputs"][0]["skipped"], "done");
    seen.release();
    for one in many {
        one.await.unwrap().unwrap();
    }
}
