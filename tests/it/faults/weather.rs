//! Bad networks between a worker and its neighbours.

use crate::support::load::Load;
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use crate::support::wire::{Weather, Wire};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A Kafka and a Postgres with a wire before each; the stage's own clients go past the wires.
struct Scene {
    stage: Arc<Stage>,
    kafka: Wire,
    postgres: Wire,
    _service: Service,
}

impl Scene {
    /// The workers that start now go over the wires.
    async fn new() -> Self {
        let (kafka, postgres) = (Wire::start().await, Wire::start().await);
        let port = kafka.port;
        let service = tokio::task::spawn_blocking(move || Service::kafka_behind(port)).await.unwrap();
        kafka.lead_to(&service.behind());
        let stage = Arc::new(Stage::of(Plan { brokers: service.address(), ..Plan::default() }).await);
        let options = PgConnectOptions::from_str(&stage.url).unwrap();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        postgres.lead_to(&server);
        stage.reconfigure(&server, &format!("127.0.0.1:{}", postgres.port));
        stage.reconfigure(&stage.brokers, &format!("127.0.0.1:{}", kafka.port));
        Self { stage, kafka, postgres, _service: service }
    }

    fn turn(&self, weather: Weather) {
        self.kafka.turn(weather);
        self.postgres.turn(weather);
    }
}

async fn until(worker: &mut Worker, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done().await {
        assert!(worker.is_running() && Instant::now() < deadline, "{what} never; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Would catch: a reply that is only half there when it is read, a connection that breaks in the middle of a round and ends the worker, a retry
/// that writes or publishes twice, a time-out that takes a slow network for a dead one and gives the partitions away for ever.
#[tokio::test(flavor = "multi_thread")]
async fn latency_slices_and_resets_cost_throughput_alone() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut worker = stage.worker();
    let load = Load::start(stage, 0, 200);
    stage.decided_at_least(200).await;
    for weather in [
        Weather { latency: Duration::from_millis(100), ..Weather::default() },
        Weather { slice: 7, ..Weather::default() },
        Weather { reset_one_of: 150, ..Weather::default() },
        Weather { latency: Duration::from_millis(20), slice: 1_000, reset_one_of: 2_000, ..Weather::default() },
    ] {
        scene.turn(weather);
        let before = stage.events().await;
        until(&mut worker, &format!("progress with {weather:?}"), async || {
            let was_reset = scene.kafka.resets() > 0 && scene.postgres.resets() > 0;
            stage.events().await > before + 100 && (was_reset || weather.reset_one_of == 0)
        })
        .await;
        watcher.check();
    }
    scene.turn(Weather::default());
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    worker.drain();
}

/// Would catch: a Postgres that refuses writes and is taken for one that refuses the data, so that events end as dead letters; a lock that
/// somebody holds and a round that is given up; a worker that ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_or_locked_postgres_is_waited_for() {
    let postgres = tokio::task::spawn_blocking(|| Service::up(Kind::Postgres)).await.unwrap();
    let stage = Arc::new(Stage::of(Plan { postgres: postgres.address(), ..Plan::default() }).await);
    stage.reconfigure("[postgres]", "[postgres]\nstatement_timeout_ms = 1_000");
    let mut worker = stage.worker();
    let load = Load::start(&stage, 0, 200);
    stage.decided_at_least(200).await;

    let reload = "SELECT pg_reload_conf()";
    stage.execute("ALTER SYSTEM SET default_transaction_read_only = on").await;
    stage.execute(reload).await;
    until(&mut worker, "a refused decide", async || worker_waits(&stage)).await;
    let stands = stage.events().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(worker.is_running() && stage.events().await == stands, "{}", worker.log());
    stage.execute("ALTER SYSTEM RESET default_transaction_read_only").await;
    stage.execute(reload).await;
    until(&mut worker, "progress", async || stage.events().await > stands + 200).await;

    let mut holder = stage.connect().await;
    sqlx::raw_sql("BEGIN; SELECT * FROM millrace.stream_partition FOR UPDATE").execute(&mut holder).await.unwrap();
    let stands = stage.events().await;
    // Longer than a statement may take, several times.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(worker.is_running() && stage.events().await == stands, "{}", worker.log());
    drop(holder);
    until(&mut worker, "progress", async || stage.events().await > stands + 200).await;

    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    worker.drain();
}

fn worker_waits(stage: &Stage) -> bool {
    stage.log().contains("read-only transaction")
}
/// The worker that is cut off from Kafka alone may still write a round to Postgres; it publishes nothing, and its partitions go to the other.
///
/// Would catch: a publish of the one that is cut off, which comes when the network is back; an heir that computes again what was decided; a
/// worker that does not come back as a member.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_cut_off_from_kafka_loses_its_partitions_and_doubles_nothing() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let mut cut_off = stage.worker();
    let load = Load::start(stage, 0, 300);
    stage.decided_at_least(300).await;
    // It has read its file by now.
    stage.reconfigure(&format!("brokers = \"127.0.0.1:{}\"", scene.kafka.port), &format!("brokers = \"{}\"", stage.brokers));
    let mut heir = stage.worker();
    let of = |worker: &Worker| {
        format!("SELECT count(*) FROM millrace.stream_partition WHERE split_part(owner, '/', 2) = '{}'", worker.pid())
    };
    let (of_cut_off, of_heir) = (of(&cut_off), of(&heir));
    until(&mut heir, "a share for each", async || stage.number(&of_heir).await == 2 && stage.number(&of_cut_off).await == 2)
        .await;

    scene.kafka.turn(Weather { black_hole: true, ..Weather::default() });
    until(&mut heir, "the whole for the heir", async || stage.number(&of_heir).await == 4).await;
    let before = stage.events().await;
    until(&mut heir, "progress of the heir", async || stage.events().await > before + 600).await;
    assert!(cut_off.is_running(), "{}", cut_off.log());
    watcher.check();

    scene.kafka.turn(Weather::default());
    until(&mut cut_off, "a share for the one that is back", async || stage.number(&of_cut_off).await == 2).await;
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.ends_with(sent).await;
    cut_off.drain();
    heir.drain();
}
