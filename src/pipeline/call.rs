//! One slice through the function: again when that may help, halved when one event spoils it.

use super::Settings;
use crate::event::{RawEvent, Rejection, TopicPartition};
use crate::flow::Ending;
use crate::function::{CallError, Function, Input, Outcome};
use crate::pipeline::Observer;
use crate::record;
use crate::store::{PartitionKey, Store, StoreError};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use uuid::Uuid;

/// An event in a slice, with the incarnation of the partition that it came from.
#[derive(Debug)]
pub struct Item {
    pub incarnation: u64,
    pub input: Input,
}

/// The ending of one event of a slice.
#[derive(Debug)]
pub struct Ended {
    pub partition: TopicPartition,
    pub incarnation: u64,
    pub offset: i64,
    pub ending: Ending,
}

/// Why a slice came back without endings.
#[derive(Debug)]
pub enum SliceError {
    /// The claim is gone: nobody needs the endings.
    Superseded,
    Fatal(String),
}

/// Names the event about to be called alone, so that the next owner knows whom to suspect if this process dies.
#[derive(Debug, Clone)]
pub struct Suspect {
    pub key: PartitionKey,
    pub claim: Uuid,
    pub offset: i64,
}

/// What a call needs besides its inputs.
pub struct Caller {
    pub settings: Arc<Settings>,
    pub store: Arc<dyn Store>,
    pub function: Arc<dyn Function>,
    pub observer: Arc<dyn Observer>,
}

impl Caller {
    /// Calls until every event of the slice has an ending.
    pub async fn run(&self, items: Vec<Item>, suspect: Option<Suspect>) -> Result<Vec<Ended>, SliceError> {
        if let Some(suspect) = suspect {
            self.name_suspect(&suspect).await?;
        }
        let (incarnations, inputs): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.incarnation, item.input)).unzip();
        let outcomes = self.outcomes(&inputs).await?;
        let ended = inputs.iter().zip(incarnations).zip(outcomes).map(|((input, incarnation), outcome)| {
            let position = &input.event.raw.position;
            Ended {
                partition: TopicPartition { topic: position.topic.clone(), partition: position.partition },
                incarnation,
                offset: position.offset,
                ending: self.ending(input, outcome),
            }
        });
        Ok(ended.collect())
    }

    async fn name_suspect(&self, suspect: &Suspect) -> Result<(), SliceError> {
        let mut wait = self.settings.backoff;
        loop {
            match self.store.suspect(&suspect.key, suspect.claim, suspect.offset).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(SliceError::Superseded),
                Err(StoreError::Transient(_)) => {
                    self.observer.retried("suspect");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.settings.backoff * 32);
                }
                Err(error) => return Err(SliceError::Fatal(error.to_string())),
            }
        }
    }

    /// One outcome an input. Work list instead of recursion: stretches of the slice still to be called.
    async fn outcomes(&self, inputs: &[Input]) -> Result<Vec<Outcome>, SliceError> {
        let mut outcomes = Vec::with_capacity(inputs.len());
        let mut todo = Vec::from([std::ops::Range { start: 0, end: inputs.len() }]);
        while let Some(stretch) = todo.pop() {
            match self.call(&inputs[stretch.clone()]).await {
                Ok(of_stretch) => outcomes.extend(of_stretch),
                Err(CallError::Poison(cause)) if stretch.len() == 1 => {
                    outcomes
                        .push(Outcome::Reject(Rejection::new("poison", format!("the function fails on this event: {cause}"))));
                }
                Err(CallError::Poison(_)) => {
                    let middle = stretch.start + stretch.len() / 2;
                    todo.push(middle..stretch.end);
                    todo.push(stretch.start..middle);
                }
                Err(CallError::Transient(cause) | CallError::Fatal(cause)) => return Err(SliceError::Fatal(cause)),
            }
        }
        Ok(outcomes)
    }

    /// One call with its retries. Panics are poison; a call past its time-out is stuck, and the worker must end.
    async fn call(&self, inputs: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let spec = self.function.spec();
        let mut wait = self.settings.backoff;
        loop {
            let started = tokio::time::Instant::now();
            let call = AssertUnwindSafe(async { self.function.call(inputs).await }).catch_unwind();
            let result = match tokio::time::timeout(spec.limits.timeout, call).await {
                Err(_) => Err(CallError::Fatal(format!(
                    "a call of {} with {} events has taken more than {:?}: it is stuck",
                    spec.name,
                    inputs.len(),
                    spec.limits.timeout
                ))),
                Ok(Err(_panic)) => Err(CallError::Poison("it panicked".into())),
                Ok(Ok(result)) => result,
            };
            self.observer.called(inputs.len(), started.elapsed().as_secs_f64());
            match result {
                Err(CallError::Transient(cause)) => {
                    tracing::warn!(function = spec.name, cause, "A call failed for now and is made again.");
                    self.observer.retried("call");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.settings.backoff * 32);
                }
                Ok(outcomes) if outcomes.len() != inputs.len() => {
                    return Err(CallError::Fatal(format!(
                        "{} gave {} outcomes for {} events",
                        spec.name,
                        outcomes.len(),
                        inputs.len()
                    )));
                }
                other => return other,
            }
        }
    }

    fn ending(&self, input: &Input, outcome: Outcome) -> Ending {
        let event = &input.event;
        match outcome {
            Outcome::Skip(_) => Ending::Skipped,
            Outcome::Reject(rejection) => self.dead(&event.raw, &rejection),
            Outcome::Emit(predictions) => {
                let mut records = Vec::with_capacity(predictions.len());
                for (n, prediction) in predictions.into_iter().enumerate() {
                    if prediction.score.is_some_and(|score| !score.is_finite()) {
                        return self.dead(
                            &event.raw,
                            &Rejection::new("non_finite", "the function gave a score that is not a finite number"),
                        );
                    }
                    let record = record::prediction(
                        &self.settings.provenance,
                        event,
                        n as i16,
                        &self.settings.output_topic,
                        prediction.key.as_deref(),
                        &prediction.fields,
                        prediction.label,
                        prediction.score,
                    );
                    if !record::fits(&record, self.settings.record_bytes) {
                        let detail = format!("the prediction is larger than {} bytes", self.settings.record_bytes);
                        return self.dead(&event.raw, &Rejection::new("prediction_too_large", detail));
                    }
                    records.push(record);
                }
                Ending::Emitted(records)
            }
        }
    }

    /// The dead letter of an event.
    pub fn dead(&self, raw: &RawEvent, rejection: &Rejection) -> Ending {
        self.observer.rejected(rejection.code);
        let settings = &self.settings;
        Ending::Dead(Box::new(record::dead_letter(
            &settings.provenance,
            raw,
            0,
            &settings.dead_letter_topic,
            rejection,
            settings.record_bytes,
        )))
    }
}
