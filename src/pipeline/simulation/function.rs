//! What is scored in the simulation: the payload names its own ending.

use crate::event::{Event, RawEvent, Rejection};
use crate::function::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::source::memory::Cluster;
use crate::store::memory::REFUSED_LABEL;
use crate::twin::Process;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Endings by payload, with the number of records of each and whether they are dead letters.
pub const KINDS: &[(&str, i16, bool)] = &[
    ("one", 1, false),
    ("two", 2, false),
    ("three", 3, false),
    ("skip", 0, false),
    ("undecodable", 1, true),
    ("reject", 1, true),
    ("poison", 1, true),
    ("refused", 1, true),
    ("stubborn", 1, true),
    ("kill", 1, true),
];

/// Records and deadness of a payload.
pub fn ending(payload: &[u8]) -> (i16, bool) {
    KINDS.iter().find(|(name, ..)| name.as_bytes() == payload).map_or((0, false), |(_, records, dead)| (*records, *dead))
}

#[expect(clippy::result_large_err, reason = "the shape of `Decode`")]
pub fn decode(raw: RawEvent) -> Result<Event, (RawEvent, Rejection)> {
    let text = String::from_utf8_lossy(raw.payload.as_deref().unwrap_or_default()).into_owned();
    if text == "undecodable" {
        return Err((raw, Rejection::new("invalid_json", "made so")));
    }
    Ok(Event {
        body: None,
        id: raw.position.to_string().into(),
        key: None,
        event_time_ms: raw.timestamp_ms,
        text: Some(text.into()),
        raw,
    })
}

/// A function with moods. Its predictions tell who made them, so that a row and a record of two makers differ.
pub struct Moody {
    pub spec: Spec,
    pub cluster: Arc<Cluster>,
    pub process: Arc<Process>,
    pub calls: AtomicU64,
    pub worker: Arc<OnceLock<AbortHandle>>,
    /// Whether every call fails for now.
    pub fails: bool,
}

impl Moody {
    pub fn new(cluster: Arc<Cluster>, process: Arc<Process>, worker: Arc<OnceLock<AbortHandle>>) -> Self {
        let limits = Limits { slice: 6, calls_in_flight: 2, timeout: Duration::from_secs(120) };
        Self {
            spec: Spec { name: "moody", version: 1, model: String::new(), limits },
            cluster,
            process,
            calls: AtomicU64::new(0),
            worker,
            fails: false,
        }
    }

    /// The same, and every call fails for now.
    pub fn failing(&self) -> Self {
        Self { fails: true, ..Self::new(self.cluster.clone(), self.process.clone(), self.worker.clone()) }
    }

    fn outcome(&self, input: &Input, call: u64) -> Outcome {
        let text = input.event.text.as_deref().unwrap_or_default();
        let prediction = |label: Option<&str>| {
            let features = input.features.as_ref().map(|features| &features.numbers);
            let by = serde_json::json!({ "by": self.process.id, "call": call, "features": features });
            let fields = by.as_object().cloned().unwrap_or_default();
            Prediction { key: None, fields, label: label.map(Into::into), score: Some(1.0), model: None }
        };
        match text {
            "skip" => Outcome::Skip("said_so"),
            "reject" => Outcome::Reject(Rejection::new("rejected", "said so")),
            "refused" | "stubborn" => Outcome::Emit(vec![prediction(Some(REFUSED_LABEL))]),
            _ => Outcome::Emit(vec![prediction(None); ending(text.as_bytes()).0 as usize]),
        }
    }
}

impl Function for Moody {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        async move {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.cluster.chance.delay()).await;
            self.process.awake().await;
            let has = |kind: &str| slice.iter().any(|input| input.event.text.as_deref() == Some(kind));
            if has("kill") {
                self.process.kill();
                if let Some(worker) = self.worker.get() {
                    worker.abort();
                }
                return std::future::pending().await;
            }
            if self.fails || self.cluster.chance.percent(3) {
                return Err(CallError::Transient("a mood".into()));
            }
            if has("poison") {
                return Err(CallError::Poison("said so".into()));
            }
            Ok(slice.iter().map(|input| self.outcome(input, call)).collect())
        }
        .boxed()
    }
}
