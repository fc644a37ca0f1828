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
    fn open<'a>(&'a self, _: &'a str, _: i32, _: Mode, _: &'a [(TopicPartition, i64)]) -> BoxFuture<'a, Result<(), StoreError>> {
        panic!("not asked")
    }
    fn partitions<'a>(&'a self, _: &'a str, _: i32, _: &'a str) -> BoxFuture<'a, Result<Vec<(i32, PartitionRow)>, StoreError>> {
        panic!("not asked")
    }
    fn claim<'a>(&'a self, _: &'a PartitionKey, _: Uuid, _: &'a str) -> BoxFuture<'a, Result<Option<PartitionRow>, StoreError>> {
        panic!("not asked")
    }
    fn read_all<'a>(&'a self, _: &'a str, _: i32, _: &'a [TopicPartition], _: bool) -> BoxFuture<'a, Result<Rows, StoreError>> {
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
    let event = Event { body: None, raw, id: offset.to_string().into(), key: None, event_time_ms: 1, text: Some(text.into()) };
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
    let ended =
        caller.run(vec![item(&version, 0, "one"), item(&version, 1, "quiet")], None).await.expect("the slice comes to its end");
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

/// Would catch: what healthy versions have scored and that is thrown away with the calls of one that was given up; a partition that goes on without its
/// endings; a partition of which another worker is said to have taken the claim.
#[tokio::test(start_paused = true)]
async fn what_is_given_up_takes_nothing_of_the_others_along() {
    let (healthy, given_up) = (moody(), moody());
    let given_up = Arc::new(Version { name: "v2".into(), ..Version::base(given_up.function.clone()) });
    given_up.strain.give_up();
    let mut items: Vec<Item> = (0..4).map(|n| item(if n % 2 == 1 { &given_up } else { &healthy }, n, "a")).collect();
    items[3].incarnation += 1;
    let expected: BTreeSet<_> = [1, 3].map(|n: usize| (partition_of(&items[n].input), items[n].incarnation)).into();
    let Err(SliceError::GivenUp { version, ended, left }) = caller().run(items, None).await else {
        panic!("the calls of a version that is given up come to no end");
    };
    assert_eq!((&*version, left), ("v2", expected));
    assert_eq!(ended.iter().map(|event| event.offset).collect::<Vec<_>>(), [0, 2]);
}
