//! Kafka or Postgres go away under load, and come back.

use crate::support::http;
use crate::support::load::Load;
use crate::support::produce;
use crate::support::proxy::{Cut, Proxy};
use crate::support::reader::Watcher;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use rdkafka::producer::{BaseRecord, Producer};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// The budget of 4 MiB, and what is on its way from the poll thread when it is full.
const CHARGED: usize = 64 * MIB;
/// How long a neighbour is away at the least, seconds.
const OUTAGE_S: u64 = 3;
/// After so long without a broker the session is lost for certain, and the worker holds no partition any more, seconds.
const FORGOTTEN_S: u64 = 30;

/// For a while nothing but looking: the worker lives, answers, and does not grow. Returns the most that it held, bytes.
async fn endures(worker: &mut Worker, admin: &str, bound: usize, what: &str) -> usize {
    let until = Instant::now() + Duration::from_secs(OUTAGE_S);
    let mut most = 0;
    while Instant::now() < until {
        assert!(worker.is_running(), "the worker ended while {what} was away; log:\n{}", worker.log());
        let (status, body) = http::get(admin, "/livez").await;
        assert_eq!(status, 200, "/livez while {what} is away: {body}");
        let (_, metrics) = http::get(admin, "/metrics").await;
        let charged: usize = metrics
            .lines()
            .find_map(|line| line.strip_prefix("millrace_budget_used_bytes")?.split(' ').next_back()?.parse().ok())
            .unwrap();
        let held = worker.resident_bytes();
        assert!(
            held < bound && charged < CHARGED,
            "{} MiB are held, {} MiB charged, while {what} is away",
            held / MIB,
            charged / MIB
        );
        most = most.max(held);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    most
}

/// All brokers are away for `seconds`. A long outage outlasts the session: then the worker has let all partitions go, and claims them again afterwards.
async fn without_brokers(kafka: &Service, (stage, worker): (&Stage, &mut Worker), bound: usize, seconds: u64) {
    const EPOCHS: &str = "SELECT min(epoch) FROM millrace.stream_partition";
    let (admin, began, claimed) = (worker.admin(), Instant::now(), stage.number(EPOCHS).await);
    kafka.tell(&["kill"]);
    let mut most = endures(worker, &admin, bound, "Kafka").await;
    let why = readyz(worker, &admin, 503).await;
    assert!(why.contains("Kafka") || why.contains("publish"), "{why}");
    answers(worker, &admin, "kafka", false).await;
    while began.elapsed() < Duration::from_secs(seconds) {
        most = most.max(endures(worker, &admin, bound, "Kafka").await);
        let (status, body) = http::get(&admin, "/readyz").await;
        assert_eq!(status, 503, "after {:?} without a broker: {body}", began.elapsed());
        let (_, metrics) = http::get(&admin, "/metrics").await;
        let held = metrics.matches("millrace_lag_undecided_events{").count();
        assert!(
            held == 0 || began.elapsed() < Duration::from_secs(FORGOTTEN_S),
            "{held} partitions are still held; {}",
            worker.log()
        );
    }
    kafka.tell(&["start"]);
    let back = Instant::now();
    readyz(worker, &admin, 200).await;
    answers(worker, &admin, "kafka", true).await;
    eprintln!("all brokers away for {seconds} s: at most {} MiB held, ready {:?} after the start", most / MIB, back.elapsed());
    if seconds > FORGOTTEN_S {
        stage.wait_for(EPOCHS, claimed + 1).await;
    }
}

/// Waits until `/readyz` answers so.
pub(crate) async fn readyz(worker: &mut Worker, admin: &str, wanted: u16) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, body) = http::get(admin, "/readyz").await;
        if status == wanted {
            return body;
        }
        assert!(Instant::now() < deadline, "/readyz stays at {status}: {body}; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the gauges say that a neighbour answers, or does not: what pages while lag has no series.
async fn answers(worker: &mut Worker, admin: &str, neighbour: &str, wanted: bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (_, metrics) = http::get(admin, "/metrics").await;
        let of = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<u8>().ok());
        let up = of(&format!("millrace_neighbour_up{{neighbour=\"{neighbour}\""));
        if (up, of("millrace_ready")) == (Some(wanted.into()), Some(wanted.into())) {
            return;
        }
        assert!(Instant::now() < deadline, "{neighbour} up: {up:?}; {metrics}; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// 160 MB at once, then the load goes on.
async fn flooded(stage: &Arc<Stage>, load: Load) -> Load {
    let sent = load.stop().await;
    stage.padding.store(16_000, Ordering::Relaxed);
    let burst = stage.clone();
    tokio::task::spawn_blocking(move || burst.send(sent, sent + 10_000)).await.unwrap();
    stage.padding.store(0, Ordering::Relaxed);
    Load::start(stage, sent + 10_000, 300)
}

/// Would catch: `/readyz` that follows the start alone, or that needs work in hand to see who is away; an error of a connection that ends the worker; a decide that was interrupted and is taken as failed; a pool or
/// a producer that does not come back by itself; a poll thread that stands still with Postgres; work in hand without a bound. And, since the
/// partitions lose their leader only once the broker is back: an aborted transaction whose markers the broker has passed over, and which the next commit
/// commits too. With `MILLRACE_OUTAGE_S=120`: a worker that outlives its session without brokers and keeps partitions, calls itself ready, grows, or does not
/// come back from nothing.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_kafka_may_die_and_come_back_under_load() {
    let (kafka, postgres) = tokio::join!(
        tokio::task::spawn_blocking(|| Service::kafka_with_session(6_000)),
        tokio::task::spawn_blocking(|| Service::up(Kind::Postgres))
    );
    let (kafka, postgres) = (kafka.unwrap(), postgres.unwrap());
    let plan = Plan { brokers: kafka.address(), postgres: postgres.address(), ..Plan::default() };
    let stage = Arc::new(Stage::of(Plan { sections: "[memory]\nbudget_bytes = 4_194_304", ..plan }).await);
    let mut worker = stage.worker();
    let admin = worker.admin();
    readyz(&mut worker, &admin, 200).await;
    let watcher = Watcher::start(&stage.brokers, &[stage.output(), stage.dead_letters()]);
    let load = Load::start(&stage, 0, 300);
    stage.decided_at_least(600).await;
    // Beside the budget: librdkafka's queues. Far less than what comes.
    let bound = worker.resident_bytes() + 100 * MIB;

    postgres.tell(&["stop", "immediate"]);
    let load = flooded(&stage, load).await;
    endures(&mut worker, &admin, bound, "Postgres").await;
    let why = readyz(&mut worker, &admin, 503).await;
    assert!(why.contains("Postgres") || why.contains("decide"), "{why}");
    answers(&mut worker, &admin, "postgres", false).await;
    postgres.tell(&["start"]);
    readyz(&mut worker, &admin, 200).await;
    let before = stage.events().await;
    stage.decided_at_least(before + 600).await;

    let seconds =
        std::env::var("MILLRACE_OUTAGE_S").map_or(OUTAGE_S, |seconds| seconds.parse().expect("MILLRACE_OUTAGE_S is a number"));
    without_brokers(&kafka, (&stage, &mut worker), bound, seconds).await;
    let before = stage.events().await;
    stage.decided_at_least(before + 600).await;

    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    watcher.check();
    watcher.ends_with(sent).await;
    assert!(worker.is_running(), "{}", worker.log());
    worker.drain();
}

/// Would catch: a reply that is waited for without end, on a connection that nobody closes; a wait that stops polling, so that the
/// group takes the partitions away; a decide that was carried out unheard and is made again; work in hand without a bound.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_may_fall_silent_without_a_word() {
    let stage = Arc::new(Stage::of(Plan { sections: "[memory]\nbudget_bytes = 4_194_304", ..Plan::default() }).await);
    let options = PgConnectOptions::from_str(&stage.url).unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let proxy = Proxy::start(server.clone(), "WITH moved AS", |n| (n == 10).then_some(Cut::Silent)).await;
    stage.reconfigure(&server, &format!("127.0.0.1:{}", proxy.port));
    stage.reconfigure("[postgres]", "[postgres]\nstatement_timeout_ms = 1_000");
    let mut worker = stage.worker();
    let admin = worker.admin();
    readyz(&mut worker, &admin, 200).await;
    let bound = worker.resident_bytes() + 100 * MIB;
    let load = Load::start(&stage, 0, 300);
    let deadline = Instant::now() + SOON;
    while proxy.cuts(Cut::Silent) == 0 {
        assert!(worker.is_running() && Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let load = flooded(&stage, load).await;
    let why = readyz(&mut worker, &admin, 503).await;
    assert!(why.contains("Postgres") || why.contains("decide"), "{why}");
    // Longer than the group waits for a member that does not poll, and than the worker waits for a reply.
    while !worker.log().contains("Postgres has not answered within") {
        endures(&mut worker, &admin, bound, "Postgres (silent)").await;
        assert!(Instant::now() < deadline, "the reply is waited for without end; log:\n{}", worker.log());
    }
    endures(&mut worker, &admin, bound, "Postgres (silent)").await;

    proxy.heal();
    readyz(&mut worker, &admin, 200).await;
    let before = stage.events().await;
    stage.decided_at_least(before + 600).await;
    let sent = load.stop().await;
    stage.decided(sent).await;
    stage.assert_rows_are_records(sent).await;
    assert_eq!(stage.number("SELECT max(epoch) FROM millrace.stream_partition").await, 1, "the first claim holds throughout");
    worker.drain();
}

/// Would catch: `/readyz` that waits for partitions which the group never gives, and one that is ready before they are claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_given_nothing_is_ready() {
    let stage = Stage::of(Plan { partitions: 1, ..Plan::default() }).await;
    let (mut first, mut second) = (stage.worker(), stage.worker());
    for worker in [&mut first, &mut second] {
        let admin = worker.admin();
        readyz(worker, &admin, 200).await;
    }
    let held =
        async |worker: &Worker| http::get(&worker.admin(), "/metrics").await.1.matches("millrace_lag_undecided_events{").count();
    let deadline = Instant::now() + Duration::from_secs(30);
    while held(&first).await + held(&second).await != 1 {
        assert!(Instant::now() < deadline, "one partition has one lag; log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for worker in [&mut first, &mut second] {
        worker.drain();
    }
}

/// Events that are none, more than a window of `max_dead_share` has.
pub(super) fn send_dead(stage: &Stage) {
    let producer = stage.producer();
    for n in 0..1_200 {
        let body = format!("{{ {n}");
        producer.send(BaseRecord::<str, str>::to(&stage.name).partition(0).payload(&body)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// Would catch: a halted partition that nobody sees: a lag that stands still, a worker that is ready, an exit code that says all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_halted_partition_is_seen_until_the_end() {
    let stage = Stage::of(Plan { partitions: 2, options: "max_dead_share = 0.5", ..Plan::default() }).await;
    let mut worker = stage.worker();
    let admin = worker.admin();
    readyz(&mut worker, &admin, 200).await;
    let send = |range: std::ops::Range<i64>| {
        for n in range {
            produce(&stage.name, 0, None, format!("{{ {n}").as_bytes());
        }
    };
    send_dead(&stage);
    let why = readyz(&mut worker, &admin, 503).await;
    assert!(why.contains("is halted"), "{why}");
    let lag = async || {
        let (_, metrics) = http::get(&admin, "/metrics").await;
        assert!(metrics.contains("state=\"halted\"} 1"), "{metrics}");
        let line = metrics.lines().find(|line| line.starts_with("millrace_lag_undecided_events{partition=\"0\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
    };
    let before = lag().await;
    send(0..5);
    let deadline = Instant::now() + Duration::from_secs(30);
    while lag().await.zip(before).is_none_or(|(now, before)| now < before + 5) {
        assert!(Instant::now() < deadline, "the lag of the halted partition stands at {before:?}; log:\n{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
}

/// Would catch: a worker that ends by a halt before Prometheus has read the gauge that the alert is about, and one that a signal does not end then.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_which_all_is_halted_stays_to_be_seen() {
    let stage = Stage::of(Plan { partitions: 1, options: "max_dead_share = 0.5", ..Plan::default() }).await;
    stage.reconfigure("halted_stay_ms = 0", "halted_stay_ms = 3600000");
    let mut worker = stage.worker();
    let admin = worker.admin();
    readyz(&mut worker, &admin, 200).await;
    send_dead(&stage);
    readyz(&mut worker, &admin, 503).await;
    let (_, metrics) = http::get(&admin, "/metrics").await;
    assert!(metrics.contains("state=\"halted\"} 1"), "{metrics}");
    assert!(worker.is_running(), "{}", worker.log());
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(3), "{}", worker.log());
}
