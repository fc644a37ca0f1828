//! A pipeline with a shadow, on a real Kafka and a real Postgres.

use crate::support::http::get;
use crate::support::produce;
use crate::support::stage::{Plan, SOON, Stage, Worker};
use futures_util::future::BoxFuture;
use millrace::config::{Config, Pipeline};
use millrace::function::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use millrace::lifecycle::{Exit, Stop};
use millrace::telemetry::{Instruments, ShadowState};
use millrace::worker::{self, Own, Parties};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const TEXTS: [&str; 8] = [
    "This is wonderful.",
    "I have waited for two weeks and nobody answers.",
    "很好，谢谢！",
    "The parcel came broken.",
    "ok",
    "Great service, thank you so much!",
    "太差了",
    "I want my money back.",
];

fn function(model: &str, more: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model);
    format!("event = \"chat_message\"\nfunction = \"sentiment\"\nmodel = \"{}\"\n{more}", folder.display())
}

fn shadow(model: &str, more: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(model);
    format!("[pipeline.shadow]\nmodel = \"{}\"\nshare = 1.0\n{more}", folder.display())
}

async fn staged(options: &str) -> Stage {
    Stage::of(Plan { partitions: 1, function: &function("sentiment-en", ""), options, ..Plan::default() }).await
}

fn send(stage: &Stage, events: usize) {
    for n in 0..events {
        let body = format!(
            r#"{{"id":"m{n}","conversation":"c{n}","text":"{} {n}","time":"2026-01-31T12:00:00Z"}}"#,
            TEXTS[n % TEXTS.len()]
        );
        produce(&stage.name, 0, Some("c"), body.as_bytes());
    }
}

/// What `/status` says of the stage's shadow.
async fn told(stage: &Stage, worker: &Worker) -> Value {
    let (_, status) = get(&worker.admin(), "/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["shadows"][&stage.name].clone()
}

/// Waits until so many events are compared.
async fn compared(stage: &Stage, worker: &Worker, events: u64) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let told = told(stage, worker).await;
        if told["compared"].as_u64().is_some_and(|compared| compared >= events) {
            return told;
        }
        assert!(Instant::now() < deadline, "{told}; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Label and score by offset.
fn answers(rows: &BTreeMap<String, (String, String)>) -> BTreeMap<i64, (String, f64)> {
    let one = |(id, (_, value)): (&String, &(String, String))| {
        let value: Value = serde_json::from_str(value).unwrap();
        let offset = id.split('/').nth(4).unwrap().parse().unwrap();
        (offset, (value["label"].as_str().unwrap().to_owned(), value["score"].as_f64().unwrap()))
    };
    rows.iter().map(one).collect()
}

/// Rows with what differs between any two stages taken out.
fn alike(stage: &Stage, rows: &BTreeMap<String, (String, String)>) -> Vec<(String, String)> {
    let plain = |text: &String| text.replace(&stage.name, "STAGE");
    rows.iter().map(|(id, (kind, value))| (plain(id), format!("{kind} {}", plain(value)))).collect()
}

/// Would catch: a shadow that changes a record or a row, an agreement of a model with itself below 1, flips that a comparison of the two
/// models does not give, counts that do not come to Postgres or to `millrace shadow`, flips without the event's id.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_is_compared_and_changes_nothing() {
    let events = 40;
    let (plain, other) = (staged("").await, {
        let options = shadow("sentiment-zh", "");
        Stage::of(Plan { partitions: 1, function: &function("sentiment-en", ""), options: &options, ..Plan::default() }).await
    });
    let twin = staged(&shadow("sentiment-en", "")).await;
    let alone = Stage::of(Plan { partitions: 1, function: &function("sentiment-zh", ""), ..Plan::default() }).await;
    for stage in [&plain, &other, &twin, &alone] {
        send(stage, events);
    }
    let mut workers: Vec<Worker> = [&plain, &other, &twin, &alone].iter().map(|stage| stage.worker()).collect();
    for stage in [&plain, &other, &twin, &alone] {
        stage.decided(events as i64).await;
    }
    let of_twin = compared(&twin, &workers[2], events as u64).await;
    assert_eq!((&of_twin["agreement"], &of_twin["flipped"], &of_twin["mean_difference"]), (&1.0.into(), &0.into(), &0.0.into()));
    let told = compared(&other, &workers[1], events as u64).await;
    assert_eq!((told["state"].as_str(), &told["dropped"], &told["failed"]), (Some("running"), &0.into(), &0.into()), "{told}");

    let mut all = Vec::new();
    for stage in [&plain, &other, &twin, &alone] {
        all.push(stage.published().await.1);
    }
    assert_eq!(alike(&plain, &all[0]), alike(&other, &all[1]));
    assert_eq!(alike(&plain, &all[0]), alike(&twin, &all[2]));
    let (champion, challenger) = (answers(&all[1]), answers(&all[3]));
    let mut wanted = BTreeMap::<(String, String), i64>::new();
    let mut flipped = Vec::new();
    for (offset, (label, _)) in &champion {
        let against = &challenger[offset].0;
        if label != against {
            *wanted.entry((label.clone(), against.clone())).or_default() += 1;
            flipped.push(*offset);
        }
    }
    assert!(!flipped.is_empty(), "the two models say the same: the test compares nothing");
    for worker in &mut workers {
        worker.drain();
    }
    let report = other.millrace(&["shadow", "--flips", "100", "--json"]).json();
    let report = &report["shadows"][0];
    assert_eq!((&report["compared"], report["flipped"].as_u64()), (&events.into(), Some(flipped.len() as u64)), "{report}");
    let found: BTreeMap<(String, String), i64> = report["flips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            let word = |side: &str| of[side].as_str().unwrap().to_owned();
            ((word("champion"), word("challenger")), of["events"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(found, wanted);
    let mean: f64 = champion.iter().map(|(offset, (_, score))| challenger[offset].1 - score).sum::<f64>() / events as f64;
    assert!((report["scores"]["mean_difference"].as_f64().unwrap() - mean).abs() < 1e-6, "{report} {mean}");
    let mut ids: Vec<i64> = report["newest_flips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flip| flip["id"].as_str().unwrap().split('/').nth(4).unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, flipped);
    let text = other.millrace(&["shadow"]);
    assert!(text.code == Some(0) && text.out.contains("40 events compared") && text.out.contains("sentiment-zh@"), "{text:?}");
    assert!(!text.out.contains("parcel") && !other.log().contains("parcel"), "nothing of an event is told");
}

/// Would catch: a challenger that cannot be loaded and stops the pipeline, or of which nobody hears.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_that_cannot_be_loaded_is_told_and_stops_nothing() {
    let stage = staged("[pipeline.shadow]\nmodel = \"/nowhere/at-all\"").await;
    send(&stage, 5);
    let mut worker = stage.worker();
    stage.decided(5).await;
    let told = told(&stage, &worker).await;
    assert_eq!(told["state"], "not_loaded");
    assert!(told["reason"].as_str().unwrap().contains("/nowhere/at-all"), "{told}");
    assert!(stage.log().contains("The shadow is not loaded"), "{}", stage.log());
    let (_, metrics) = get(&worker.admin(), "/metrics").await;
    assert!(metrics.contains(&format!("millrace_shadow_up{{pipeline=\"{}\"}} 0", stage.name)), "{metrics}");
    worker.drain();
}

/// Bytes of loaded models, by name.
async fn loaded(worker: &Worker) -> BTreeMap<String, u64> {
    let (_, metrics) = get(&worker.admin(), "/metrics").await;
    let one = |line: &str| {
        let (model, bytes) = line.strip_prefix("millrace_model_loaded_bytes{model=\"")?.split_once("\"} ")?;
        Some((model.to_owned(), bytes.parse::<u64>().ok()?))
    };
    metrics.lines().filter_map(one).collect()
}

/// Would catch: a challenger whose weights are beside the budget of models, or that puts the champion out of it, even for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_for_which_there_is_no_memory_is_not_loaded() {
    let (function, options) = (function("sentiment-zh", ""), shadow("sentiment-en", ""));
    let plan = |sections| Plan { partitions: 1, sections, function: &function, options: &options, ..Plan::default() };
    let both = Stage::of(plan("")).await;
    send(&both, 5);
    let mut worker = both.worker();
    compared(&both, &worker, 5).await;
    let bytes = loaded(&worker).await;
    worker.drain();
    let (greatest, all) = (bytes.values().max().unwrap(), bytes.values().sum::<u64>());
    let budget = greatest.div_ceil(1 << 20);
    assert!(bytes.len() == 2 && budget << 20 < all, "a budget for either, not for both: {bytes:?}");

    let sections = format!("[models]\nmemory_budget_mb = {budget}");
    let stage = Stage::of(plan(&sections)).await;
    send(&stage, 5);
    let mut worker = stage.worker();
    stage.decided(5).await;
    let told = told(&stage, &worker).await;
    assert_eq!(told["state"], "not_loaded", "{told}");
    assert!(told["reason"].as_str().unwrap().contains("memory_budget_mb"), "{told}");
    assert_eq!(loaded(&worker).await.keys().collect::<Vec<_>>(), ["sentiment-zh"]);
    assert!(!stage.log().contains("A model without work was unloaded"), "{}", stage.log());
    worker.drain();
}

/// A function of the test's own: `mood` in its options says what it does.
struct Moody {
    spec: Spec,
    mood: String,
}

impl Moody {
    fn new(pipeline: &Pipeline) -> Self {
        let mood = pipeline.options.get("mood").and_then(Value::as_str).unwrap_or_default().to_owned();
        let limits = Limits { slice: 16, calls_in_flight: 2, timeout: Duration::from_secs(30) };
        Self { spec: Spec { name: "moody", version: 1, model: format!("moody-{mood}@0"), limits }, mood }
    }
}

impl Function for Moody {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            match self.mood.as_str() {
                // As a network does that never comes back: the thread is lost.
                "hangs" => loop {
                    std::thread::park();
                },
                "panics" => panic!("on purpose"),
                "fails" => return Err(CallError::Fatal("on purpose".to_owned())),
                _ => {}
            }
            let one = |input: &Input| {
                let score = input.event.raw.position.offset as f64 / 100.0;
                let fields = Map::from_iter([("score".to_owned(), score.into())]);
                Outcome::Emit(vec![Prediction { key: None, fields, label: None, score: Some(score), model: None }])
            };
            Ok(slice.iter().map(one).collect())
        })
    }
}

/// Would catch: a challenger that hangs, panics or fails and takes a thread, an event, the drain or the exit of its pipeline with it; one that is
/// called for ever, or of whose end nobody hears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenger_that_hangs_panics_or_fails_is_cut_off_and_the_pipeline_goes_on() {
    // Telling of a panic may take seconds in a build that is not optimised.
    for (mood, said, limit_ms) in
        [("hangs", "has not come back", 200), ("panics", "it panicked", 30_000), ("fails", "on purpose", 30_000)]
    {
        let options = format!(
            "[pipeline.shadow]\noptions = {{ mood = \"{mood}\" }}\nshare = 1.0\ncall_timeout_ms = {limit_ms}\nfailures = 2\nqueue = 4"
        );
        let function = "event = \"chat_message\"\nfunction = \"own:moody\"";
        let stage = Stage::of(Plan { partitions: 1, function, options: &options, ..Plan::default() }).await;
        let config = Config::load(&stage.config(), &BTreeMap::new()).unwrap();
        let (instruments, stop) = (Instruments::local().unwrap(), Stop::default());
        let own = Own::new().with("moody", |pipeline| Ok(Moody::new(pipeline)));
        let parties = Parties { own, ..Parties::default() };
        let metrics = instruments.metrics.clone();
        let worker = tokio::spawn(worker::run(config, instruments, stop.clone(), BTreeMap::new(), parties));
        send(&stage, 40);
        stage.decided(40).await;
        let deadline = Instant::now() + SOON;
        let tally = metrics.tally(&stage.name);
        let (counts, reason) = loop {
            let (state, counts) = tally.shadow().unwrap().now();
            if let ShadowState::CutOff(reason) = state {
                break (counts, reason);
            }
            assert!(Instant::now() < deadline, "{mood}: {state:?} {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(reason.contains(said), "{mood}: {reason}");
        assert!(counts.compared == 0 && counts.failed > 0, "{mood}: {counts:?}");
        send(&stage, 20);
        stage.decided(60).await;
        assert_eq!(tally.shadow().unwrap().now().1, counts, "{mood}: it is offered nothing any more");
        let (records, _) = stage.published().await;
        assert_eq!(records.len(), 60, "{mood}");
        stop.drain.cancel();
        let exit = tokio::time::timeout(SOON, worker).await.expect("the worker does not end").unwrap().unwrap();
        assert_eq!(exit, Exit::Done, "{mood}");
    }
}
