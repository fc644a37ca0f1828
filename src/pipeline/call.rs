//! One slice through the function: again when that may help, halved when one event spoils it.

use super::Settings;
use crate::event::{RawEvent, Rejection, TopicPartition};
use crate::flow::Ending;
use crate::function::{CallError, Input, Outcome, halve};
use crate::pipeline::Observer;
use crate::pipeline::safety::{Safety, without};
use crate::pipeline::version::Version;
use crate::record::{self, Record};
use crate::store::{PartitionKey, Store, StoreError};
use crate::telemetry::traced;
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use uuid::Uuid;

/// An event in a slice, with the incarnation of the partition that it came from.
#[derive(Debug)]
pub struct Item {
    pub incarnation: u64,
    /// Who scores it.
    pub version: Arc<Version>,
    pub input: Input,
}

/// The ending of one event of a slice.
#[derive(Debug)]
pub struct Ended {
    pub partition: TopicPartition,
    pub incarnation: u64,
    pub offset: i64,
    /// Who scored it.
    pub version: Arc<Version>,
    pub ending: Ending,
}

/// Why a slice came back without endings.
#[derive(Debug)]
pub enum SliceError {
    /// The claim is gone: nobody needs the endings.
    Superseded,
    /// Calls of a version were given up, which is wanted no more. What other versions have scored stands.
    GivenUp { version: Arc<str>, ended: Vec<Ended>, left: BTreeSet<(TopicPartition, u64)> },
    /// Stop the pipeline; `by` is the version whose call said so.
    Fatal { detail: String, by: Option<Arc<str>> },
}

/// Names the event about to be called alone, so that the next owner knows whom to suspect if this process dies.
#[derive(Debug, Clone)]
pub struct Suspect {
    pub key: PartitionKey,
    pub claim: Uuid,
    pub offset: i64,
    /// How often it is put in work alone, this time counted.
    pub times: i32,
    /// Gone when the stay is over: a name that comes after an orderly handover would be taken for a death.
    pub stay: Weak<()>,
}

/// What a call needs besides its inputs.
pub struct Caller {
    pub settings: Arc<Settings>,
    pub store: Arc<dyn Store>,
    pub observer: Arc<dyn Observer>,
}

impl Caller {
    /// Calls until every event of the slice has an ending.
    pub async fn run(&self, items: Vec<Item>, suspect: Option<Suspect>) -> Result<Vec<Ended>, SliceError> {
        if let Some(suspect) = suspect {
            self.name_suspect(&suspect).await?;
        }
        let (mut ended, mut left, mut given_up) = (Vec::with_capacity(items.len()), BTreeSet::new(), None);
        for (version, items) in by_version(items) {
            let (incarnations, inputs): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.incarnation, item.input)).unzip();
            let outcomes = match self.outcomes(&version, &inputs).await {
                Ok(outcomes) => outcomes,
                // A call that fails for now is made again until its version is given up.
                Err(CallError::Transient(_)) => {
                    left.extend(inputs.iter().map(partition_of).zip(incarnations));
                    given_up = Some(version.name.clone());
                    continue;
                }
                Err(CallError::Fatal(detail) | CallError::Poison(detail) | CallError::TooMuch(detail)) => {
                    return Err(SliceError::Fatal { detail, by: Some(version.name.clone()) });
                }
            };
            ended.extend(inputs.iter().zip(incarnations).zip(outcomes).map(|((input, incarnation), outcome)| Ended {
                partition: partition_of(input),
                incarnation,
                offset: input.event.raw.position.offset,
                version: version.clone(),
                ending: self.ending(&version, input, outcome),
            }));
        }
        match given_up {
            Some(version) => Err(SliceError::GivenUp { version, ended, left }),
            None => Ok(ended),
        }
    }

    async fn name_suspect(&self, suspect: &Suspect) -> Result<(), SliceError> {
        let mut wait = self.settings.backoff;
        let is_over = || suspect.stay.strong_count() == 0 && !without(Safety::NamedInStay);
        let mut in_doubt = false;
        while !is_over() {
            match self.store.suspect(&suspect.key, suspect.claim, suspect.offset, suspect.times).await {
                Ok(false) => return Err(SliceError::Superseded),
                // It may have landed after the note of the handover, without a reply too.
                Ok(true) | Err(StoreError::Transient(_)) if is_over() => in_doubt = true,
                Ok(true) => return Ok(()),
                Err(StoreError::Transient(_)) => {
                    in_doubt = true;
                    self.observer.retried("suspect");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.settings.backoff * 32);
                }
                Err(error) => return Err(SliceError::Fatal { detail: error.to_string(), by: None }),
            }
        }
        if in_doubt {
            self.take_back(suspect).await;
        }
        Err(SliceError::Superseded)
    }

    /// The event was not put to work: the row says of it what it said before. Deaths that were counted before stay counted, whether or not there was an
    /// orderly handover.
    async fn take_back(&self, suspect: &Suspect) {
        let done = match suspect.times {
            ..=1 => self.store.published(&suspect.key, suspect.claim, 0, true).await,
            times => self.store.suspect(&suspect.key, suspect.claim, suspect.offset, times - 1).await.map(drop),
        };
        if let Err(error) = done {
            tracing::debug!(partition = %suspect.key.partition, %error, "A name could not be taken back; a death may be counted that was none.");
        }
    }

    /// One outcome an input.
    async fn outcomes(&self, version: &Version, inputs: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let most = version.function.spec().limits.slice.max(1);
        let mut all = Vec::with_capacity(inputs.len());
        // Slices are cut to what the pipeline's own settings take; another version may take less.
        for part in inputs.chunks(most) {
            let outcomes = halve::each(part.len(), |stretch| self.call(version, &part[stretch]), Outcome::Reject).await;
            all.extend(outcomes?);
        }
        Ok(all)
    }

    /// One call with its retries.
    async fn call(&self, version: &Version, inputs: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let spec = version.function.spec();
        let (mut wait, mut again) = (self.settings.backoff, None);
        loop {
            match traced(self.observer.calling(spec, inputs), self.attempt(version, inputs), kind).await {
                Err(CallError::Transient(cause)) => {
                    if version.strain.is_given_up() {
                        return Err(CallError::Transient(cause));
                    }
                    again.get_or_insert_with(|| version.strain.begin()).failed();
                    tracing::warn!(function = spec.name, cause, "A call failed for now and is made again.");
                    self.observer.retried("call");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.settings.backoff * 32);
                }
                other => return other,
            }
        }
    }

    /// Panics are poison; a call past its time-out is stuck, and the worker must end.
    async fn attempt(&self, version: &Version, inputs: &[Input]) -> Result<Vec<Outcome>, CallError> {
        let spec = version.function.spec();
        let started = tokio::time::Instant::now();
        let call = AssertUnwindSafe(async { version.function.call(inputs).await }).catch_unwind();
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
            Ok(outcomes) if outcomes.len() != inputs.len() => {
                Err(CallError::Fatal(format!("{} gave {} outcomes for {} events", spec.name, outcomes.len(), inputs.len())))
            }
            other => other,
        }
    }

    fn ending(&self, by: &Version, input: &Input, outcome: Outcome) -> Ending {
        let event = &input.event;
        match outcome {
            Outcome::Skip(reason) => {
                self.observer.skipped(reason);
                Ending::Skipped
            }
            Outcome::Reject(rejection) => self.dead_by(&event.raw, &rejection, None, by),
            Outcome::Emit(predictions) => {
                let mut records = Vec::with_capacity(predictions.len());
                if predictions.len() > i16::MAX as usize {
                    let detail = format!("{} predictions of one event, the limit is {}", predictions.len(), i16::MAX);
                    return self.dead_by(&event.raw, &Rejection::new("too_many_predictions", detail), None, by);
                }
                for (n, prediction) in predictions.iter().enumerate() {
                    if prediction.score.is_some_and(|score| !score.is_finite()) {
                        let rejection = Rejection::new("non_finite", "the function gave a score that is not a finite number");
                        return self.dead_by(&event.raw, &rejection, prediction.model.as_ref(), by);
                    }
                    let mut record = record::prediction(
                        &self.settings.provenance,
                        event,
                        n as i16,
                        &self.settings.output_topic,
                        prediction.key.as_deref(),
                        &prediction.fields,
                        prediction.label.clone(),
                        prediction.score,
                        prediction.model.as_ref().or(by.model.as_ref()),
                    );
                    record.config.clone_from(&by.config);
                    if !record::fits(&record, self.settings.record_bytes) {
                        let detail = format!("the prediction is larger than {} bytes", self.settings.record_bytes);
                        let rejection = Rejection::new("prediction_too_large", detail);
                        return self.dead_by(&event.raw, &rejection, prediction.model.as_ref(), by);
                    }
                    records.push(record);
                }
                self.observer.emitted(&predictions);
                Ending::Emitted(records)
            }
        }
    }

    /// The dead letter of an event that no function was called with.
    pub fn dead(&self, raw: &RawEvent, rejection: &Rejection) -> Ending {
        Ending::Dead(Box::new(self.letter(raw, rejection, None)))
    }

    /// The dead letter of an event that a version, or the one of its models that is named, would not have.
    fn dead_by(&self, raw: &RawEvent, rejection: &Rejection, model: Option<&Arc<str>>, by: &Version) -> Ending {
        let mut letter = self.letter(raw, rejection, model.or(by.model.as_ref()));
        letter.config.clone_from(&by.config);
        Ending::Dead(Box::new(letter))
    }

    fn letter(&self, raw: &RawEvent, rejection: &Rejection, model: Option<&Arc<str>>) -> Record {
        self.observer.rejected(rejection.code);
        let Settings { provenance, dead_letter_topic, record_bytes, .. } = &*self.settings;
        record::dead_letter(provenance, raw, 0, dead_letter_topic, rejection, *record_bytes, model)
    }
}

fn partition_of(input: &Input) -> TopicPartition {
    let position = &input.event.raw.position;
    TopicPartition { topic: position.topic.clone(), partition: position.partition }
}

/// Parts of one version each, so that what one fails at spoils nothing of another. Mostly there is one.
fn by_version(items: Vec<Item>) -> Vec<(Arc<Version>, Vec<Item>)> {
    let mut parts: Vec<(Arc<Version>, Vec<Item>)> = Vec::with_capacity(1);
    for item in items {
        match parts.iter_mut().find(|(version, _)| Arc::ptr_eq(version, &item.version)) {
            Some((_, part)) => part.push(item),
            None => parts.push((item.version.clone(), vec![item])),
        }
    }
    parts
}

/// The word for a failed call in its span.
fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::Transient(_) => "transient",
        CallError::Poison(_) => "poison",
        CallError::TooMuch(_) => "too_much",
        CallError::Fatal(_) => "fatal",
    }
}

#[cfg(test)]
mod tests;
