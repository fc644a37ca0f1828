//! The wall clock of a worker leaps.

use crate::support::clock::Clock;
use crate::support::http;
use crate::support::load::Load;
use crate::support::read_committed;
use crate::support::reader::Watcher;
use crate::support::stage::{SOON, Stage, Worker};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DAY_MINUTES: i64 = 24 * 60;

/// A pipeline under load, whose worker goes by a clock of its own.
struct Scene {
    stage: Arc<Stage>,
    clock: Clock,
    worker: Worker,
    load: Load,
    watcher: Watcher,
}

impl Scene {
    async fn new() -> Self {
        let (stage, clock) = (Arc::new(Stage::new("").await), Clock::true_one());
        let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
        let worker = stage.worker_with(&clock.environment());
        let load = Load::start(&stage, 0, 300);
        stage.decided_at_least(300).await;
        Self { stage, clock, worker, load, watcher }
    }

    /// With the right clock: each event has one ending, and nothing lags.
    async fn ends(self) {
        let Self { stage, clock: _clock, mut worker, load, watcher } = self;
        let sent = load.stop().await;
        stage.decided(sent).await;
        stage.assert_rows_are_records(sent).await;
        watcher.ends_with(sent).await;
        until(&mut worker, "a lag of nothing", async |worker| lags(worker).await == [0.0; 4]).await;
        worker.drain();
        let verified = stage.millrace(&["verify", "--deep", "--json"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
    }
}

/// What the gauges say about time, each partition's.
async fn lags(worker: &Worker) -> Vec<f64> {
    let (_, metrics) = http::get(&worker.admin(), "/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with("millrace_lag_seconds{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

/// How many events are decided, and the sum of their ages in seconds.
async fn ages(worker: &Worker) -> (f64, f64) {
    let (_, metrics) = http::get(&worker.admin(), "/metrics").await;
    let of = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    (of("millrace_event_age_seconds_count"), of("millrace_event_age_seconds_sum"))
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut(&Worker) -> bool) {
    let deadline = Instant::now() + SOON;
    while !done(worker).await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Half an hour forward, a day behind the truth, and back. Kafka takes no records from further ahead than an hour.
///
/// Would catch: a time-out, a pause between tries or a session that goes by the wall clock, so that a leap ends a claim or stops the work for a
/// day; a lag or an age below zero; a lag that stays a day when the clock is right again.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_leaps_costs_nothing() {
    let scene = Scene::new().await;
    let Scene { stage, clock, mut worker, load, watcher } = scene;
    for minutes in [30, -DAY_MINUTES, 30, 0] {
        let (before, mut seen) = (stage.events().await, ages(&worker).await);
        clock.leap(minutes);
        // It has seen the leap: events that come now are half an hour old, or no longer are. Each leap of these changes that.
        until(&mut worker, "a leap of the clock", async |worker| {
            let now = ages(worker).await;
            let (events, age) = (now.0 - seen.0, now.1 - seen.1);
            if events < 100.0 {
                return false;
            }
            seen = now;
            if minutes > 0 { age / events >= 1_800.0 } else { age / events < 60.0 }
        })
        .await;
        until(&mut worker, "progress", async |_| stage.events().await > before + 600).await;
        let lags = lags(&worker).await;
        assert!(lags.len() == 4 && lags.iter().all(|lag| *lag >= 0.0), "{lags:?} with the clock {minutes} min ahead");
        assert_eq!(http::get(&worker.admin(), "/readyz").await.0, 200, "{}", worker.log());
        watcher.check();
    }
    Scene { stage, clock, worker, load, watcher }.ends().await;
}

/// A day ahead: Kafka refuses each record, by its time. What is decided waits until the clock is right.
///
/// Would catch: a refusal of the time taken for one of the record, which halts the partition (the client reports both alike where a batch has several); a worker
/// that is ready meanwhile, or does not say whose clock is wrong; a decided record that never goes, or goes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_a_day_ahead_holds_up_what_is_published_and_says_so() {
    let Scene { stage, clock, mut worker, load, watcher } = Scene::new().await;
    clock.leap(DAY_MINUTES);
    until(&mut worker, "a word about the clock", async |worker| worker.log().contains("clock is further ahead of the brokers'"))
        .await;
    let admin = worker.admin();
    until(&mut worker, "a worker that is not ready", async |_| http::get(&admin, "/readyz").await.0 == 503).await;
    watcher.check();
    clock.leap(0);
    until(&mut worker, "a worker that is ready", async |_| http::get(&admin, "/readyz").await.0 == 200).await;
    let log = worker.log();
    assert!(!log.contains("Halted a partition"), "{log}");
    Scene { stage, clock, worker, load, watcher }.ends().await;
}

/// Would catch: the same refusal taken for one of the record where there is no transaction to ask in.
#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_a_day_ahead_halts_no_pipeline_without_transactions() {
    let (stage, clock) = (Arc::new(Stage::new("delivery = \"at_least_once\"").await), Clock::true_one());
    let mut worker = stage.worker_with(&clock.environment());
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(300).await;
    clock.leap(DAY_MINUTES);
    until(&mut worker, "a word about the clock", async |worker| worker.log().contains("clock is further ahead of the brokers'"))
        .await;
    clock.leap(0);
    let sent = load.stop().await;
    stage.decided(sent).await;
    let rows = stage.rows().await;
    until(&mut worker, "a record for each row", async |_| {
        let records = [stage.output(), stage.dead_letters()].map(|topic| read_committed(&topic)).concat();
        let ids: BTreeSet<String> = records.iter().map(|record| record.id()).collect();
        rows.keys().all(|id| ids.contains(id))
    })
    .await;
    assert!(!worker.log().contains("Halted a partition"), "{}", worker.log());
    worker.drain();
}
