//! One slice through the function: again when that may help, halved when one event spoils it.

use super::Settings;
use crate::event::{RawEvent, Rejection, TopicPartition};
use crate::flow::Ending;
use crate::function::{CallError, Input, Outcome, halve};
use crate::pipeline::Observer;
use crate::pipeline::version::Version;
use crate::record::{self, Record};
use crate::store::{PartitionKey, Store, StoreError};
use crate::telemetry::traced;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
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
    /// The claim is gone, or the version was given up: nobody needs the endings.
    Superseded,
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
        let mut ended = Vec::with_capacity(items.len());
        for (version, items) in by_version(items) {
            let (incarnations, inputs): (Vec<_>, Vec<_>) = items.into_iter().map(|item| (item.incarnation, item.input)).unzip();
            let outcomes = self.outcomes(&version, &inputs).await?;
            ended.extend(inputs.iter().zip(incarnations).zip(outcomes).map(|((input, incarnation), outcome)| {
                let position = &input.event.raw.position;
                Ended {
                    partition: TopicPartition { topic: position.topic.clone(), partition: position.partition },
                    incarnation,
                    offset: position.offset,
                    version: version.clone(),
                    ending: self.ending(&version, input, outcome),
                }
            }));
        }
        Ok(ended)
    }

    async fn name_suspect(&self, suspect: &Suspect) -> Result<(), SliceError> {
        let mut wait = self.settings.backoff;
        loop {
            match self.store.suspect(&suspect.key, suspect.claim, suspect.offset, suspect.times).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(SliceError::Superseded),
                Err(StoreError::Transient(_)) => {
                    self.observer.retried("suspect");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.settings.backoff * 32);
                }
                Err(error) => return Err(SliceError::Fatal { detail: error.to_string(), by: None }),
            }
        }
    }

    /// One outcome an input.
    async fn outcomes(&self, version: &Version, inputs: &[Input]) -> Result<Vec<Outcome>, SliceError> {
        let most = version.function.spec().limits.slice.max(1);
        let mut all = Vec::with_capacity(inputs.len());
        // Slices are cut to what the pipeline's own settings take; another version may take less.
        for part in inputs.chunks(most) {
            let outcomes = halve::each(part.len(), |stretch| self.call(version, &part[stretch]), Outcome::Reject).await;
            all.extend(outcomes.map_err(|error| {
                // A call that fails for now is made again until its version is given up.
                let (CallError::Fatal(detail) | CallError::Poison(detail) | CallError::TooMuch(detail)) = error else {
                    return SliceError::Superseded;
                };
                SliceError::Fatal { detail, by: Some(version.name.clone()) }
            })?);
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
mod tests {
    use super::*;
    use crate::config::{OnLostCommits, Start};
    use crate::event::{Event, Position};
    use crate::function::{Function, Limits, Prediction, Spec};
    use crate::record::{Kind, Mode, Provenance};
    use crate::store::{Advance, Head, Heads, PartitionRow, Pause, Rows, StateRow};
    use futures_util::future::BoxFuture;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// No call without a suspect asks the store anything.
    struct NoStore;

    impl Store for NoStore {
        fn current_run<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<i32>, StoreError>> {
            panic!("not asked")
        }
        fn open<'a>(
            &'a self,
            _: &'a str,
            _: i32,
            _: Mode,
            _: &'a [(TopicPartition, i64)],
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            panic!("not asked")
        }
        fn partitions<'a>(
            &'a self,
            _: &'a str,
            _: i32,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Vec<(i32, PartitionRow)>, StoreError>> {
            panic!("not asked")
        }
        fn claim<'a>(
            &'a self,
            _: &'a PartitionKey,
            _: Uuid,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>> {
            panic!("not asked")
        }
        fn read_all<'a>(
            &'a self,
            _: &'a str,
            _: i32,
            _: &'a [TopicPartition],
            _: bool,
        ) -> BoxFuture<'a, Result<Rows, StoreError>> {
            panic!("not asked")
        }
        fn suspect<'a>(&'a self, _: &'a PartitionKey, _: Uuid, _: i64, _: i32) -> BoxFuture<'a, Result<bool, StoreError>> {
            panic!("not asked")
        }
        fn decide<'a>(&'a self, _: &'a Provenance, _: &'a [Advance]) -> BoxFuture<'a, Result<Vec<TopicPartition>, StoreError>> {
            panic!("not asked")
        }
        fn published<'a>(&'a self, _: &'a PartitionKey, _: Uuid, _: i64, _: bool) -> BoxFuture<'a, Result<(), StoreError>> {
            panic!("not asked")
        }
        fn records<'a>(
            &'a self,
            _: &'a PartitionKey,
            _: i64,
            _: i64,
            _: Option<(i64, i16)>,
            _: i64,
        ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
            panic!("not asked")
        }

        fn heads<'a>(&'a self, _: &'a str, _: i32, _: &'a [String], _: &'a [Head]) -> BoxFuture<'a, Result<Heads, StoreError>> {
            panic!("not asked")
        }

        fn pauses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Pause>, StoreError>> {
            panic!("not asked")
        }

        fn states<'a>(
            &'a self,
            _: &'a PartitionKey,
            _: &'a [Box<str>],
        ) -> BoxFuture<'a, Result<Vec<(Box<str>, StateRow)>, StoreError>> {
            panic!("not asked")
        }
    }

    /// Panics on the text `boom`, fails the whole call on `poison`, scores `nan` with no number, and is away for the first call.
    struct Moody {
        spec: Spec,
        calls: AtomicUsize,
    }

    impl Function for Moody {
        fn spec(&self) -> &Spec {
            &self.spec
        }

        fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
            Box::pin(async move {
                if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err(CallError::Transient("not yet".into()));
                }
                let texts = || slice.iter().map(|input| input.event.text.as_deref().unwrap_or_default());
                assert!(texts().all(|text| text != "boom"), "boom");
                if texts().any(|text| text == "poison") {
                    return Err(CallError::Poison("cannot".into()));
                }
                let score = |text| if text == "nan" { f64::NAN } else { 0.5 };
                Ok(texts()
                    .map(|text| {
                        if text == "quiet" {
                            return Outcome::Skip("said_so");
                        }
                        Outcome::Emit(vec![Prediction {
                            key: None,
                            fields: serde_json::Map::new(),
                            label: None,
                            score: Some(score(text)),
                            model: None,
                        }])
                    })
                    .collect())
            })
        }
    }

    fn caller() -> Caller {
        let settings = Settings {
            provenance: Provenance {
                pipeline: "p".into(),
                run: 1,
                function: "moody".into(),
                model: "".into(),
                config: "c".into(),
                fold: None,
                keeps_latest: false,
            },
            mode: Mode::Both,
            output_topic: "out".into(),
            dead_letter_topic: "dead".into(),
            start: Start::Earliest,
            on_lost_commits: OnLostCommits::Halt,
            owner: "test".into(),
            window: 100,
            decide_events: 100,
            record_bytes: 100_000,
            max_dead_share: 1.0,
            align: None,
            drain: Duration::from_secs(1),
            store_patience: Duration::from_secs(1),
            ends_halted_after: Some(Duration::ZERO),
            backoff: Duration::from_millis(1),
        };
        Caller { settings: Arc::new(settings), store: Arc::new(NoStore), observer: Arc::new(()) }
    }

    fn moody() -> Arc<Version> {
        let limits = Limits { slice: 100, calls_in_flight: 1, timeout: Duration::from_secs(10) };
        let spec = Spec { name: "moody", version: 1, model: String::new(), limits };
        Arc::new(Version::base(Arc::new(Moody { spec, calls: AtomicUsize::new(0) })))
    }

    fn item(version: &Arc<Version>, offset: i64, text: &str) -> Item {
        let position = Position { topic: "in".into(), partition: 0, offset };
        let raw = RawEvent { position, timestamp_ms: 1, key: None, payload: Some(text.as_bytes().into()), headers: Vec::new() };
        let event =
            Event { body: None, raw, id: offset.to_string().into(), key: None, event_time_ms: 1, text: Some(text.into()) };
        Item { incarnation: 1, version: version.clone(), input: Input::plain(event) }
    }

    #[tokio::test]
    async fn exactly_the_poisonous_events_become_dead_letters() {
        let texts: Vec<String> = (0..40)
            .map(|n| match n {
                3 | 17 => "boom".into(),
                30 => "poison".into(),
                31 => "nan".into(),
                _ => format!("text {n}"),
            })
            .collect();
        let version = moody();
        let items = texts.iter().enumerate().map(|(offset, text)| item(&version, offset as i64, text)).collect();
        let ended = caller().run(items, None).await.expect("the slice comes to its end");
        assert_eq!(ended.iter().map(|event| event.offset).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
        for event in &ended {
            match &event.ending {
                Ending::Dead(letter) => {
                    assert!([3, 17, 30, 31].contains(&event.offset), "offset {} is innocent", event.offset);
                    let code = if event.offset == 31 { "\"code\":\"non_finite\"" } else { "\"code\":\"poison\"" };
                    assert!(letter.value.contains(code), "{}", letter.value);
                    let original = record::decode_dead_letter(&letter.value).expect("a dead letter reads back");
                    assert_eq!(original.payload.as_deref(), Some(texts[event.offset as usize].as_bytes()));
                }
                Ending::Emitted(records) => assert!(records.len() == 1 && records[0].kind == Kind::Prediction),
                Ending::Skipped => panic!("nothing is skipped here"),
            }
        }
        assert_eq!(ended.iter().filter(|event| matches!(event.ending, Ending::Dead(_))).count(), 4);
    }

    #[derive(Default)]
    struct Skips(std::sync::Mutex<Vec<&'static str>>);

    impl Observer for Skips {
        fn skipped(&self, reason: &'static str) {
            self.0.lock().unwrap().push(reason);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_skipped_event_is_told_with_its_reason() {
        let skips = Arc::new(Skips::default());
        let caller = Caller { observer: skips.clone(), ..caller() };
        let version = moody();
        let ended = caller
            .run(vec![item(&version, 0, "one"), item(&version, 1, "quiet")], None)
            .await
            .expect("the slice comes to its end");
        assert!(matches!(ended[0].ending, Ending::Emitted(_)) && matches!(ended[1].ending, Ending::Skipped));
        assert_eq!(*skips.0.lock().unwrap(), ["said_so"]);
    }

    /// Would catch: a part of one version that the failure of another spoils, records that do not name the version that made them.
    #[tokio::test(start_paused = true)]
    async fn versions_of_one_slice_fail_apart_and_name_themselves() {
        let (base, limits) = (moody(), Limits { slice: 2, calls_in_flight: 1, timeout: Duration::from_secs(10) });
        let spec = Spec { name: "moody", version: 1, model: "m@2".into(), limits };
        let function = Arc::new(Moody { spec, calls: AtomicUsize::new(0) });
        let named = |text: &str| Some(Arc::<str>::from(text));
        let other = Arc::new(Version { name: "v2".into(), model: named("m@2"), config: named("d"), ..Version::base(function) });
        let texts = ["a", "poison", "b", "c", "d", "nan"];
        let of = |n: usize| if n % 2 == 1 { &other } else { &base };
        let items = texts.iter().enumerate().map(|(n, text)| item(of(n), n as i64, text)).collect();
        let mut ended = caller().run(items, None).await.expect("the slice comes to its end");
        ended.sort_by_key(|event| event.offset);
        for (n, event) in ended.iter().enumerate() {
            let (record, dead) = match &event.ending {
                Ending::Dead(letter) => (&**letter, true),
                Ending::Emitted(records) => (&records[0], false),
                Ending::Skipped => panic!("nothing is skipped here"),
            };
            assert_eq!((&record.model, &record.config, dead), (&of(n).model, &of(n).config, n == 1 || n == 5), "{n}");
            assert!(Arc::ptr_eq(&event.version, of(n)));
        }
    }
}
