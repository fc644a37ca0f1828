//! The live page of a real worker.

use crate::support::http;
use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{client_of, produce};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const RISK: &str = r#"
event = "transaction"
function = "copy"
options = { fields = ["amount", "reason"], score = "amount / 100" }
"#;

/// Asks until the answer has it.
async fn until(address: &str, path: &str, needed: &[&str]) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let (status, text) = http::get(address, path).await;
        if status == 200 && needed.iter().all(|needed| text.contains(needed)) {
            return text;
        }
        let missing: Vec<_> = needed.iter().filter(|needed| !text.contains(**needed)).collect();
        assert!(Instant::now() < deadline, "{path} lacks {missing:?}: {status} {text}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Asks until the status of the pipeline's first partition is as wanted.
async fn partition_until(address: &str, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let mut status: Value = serde_json::from_str(&http::get(address, "/status").await.1).unwrap();
        let partition = status["pipelines"][name][format!("{name}/0")].take();
        if is_wanted(&partition) {
            return partition;
        }
        assert!(Instant::now() < deadline, "{partition}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Would catch: a page that shows nothing of what went through, figures that differ from the metrics, an event that never comes, a lag
/// that stays when all is decided, a reason that is a text of the event's.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_went_through() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    produce(&stage.name, 0, None, b"no JSON");
    let worker = stage.worker();
    stage.decided(401).await;
    let (address, name) = (worker.admin(), &stage.name);
    // A broker that stood still for a moment is told as not ready until it is asked again.
    let all =
        ["class=\"well\">Ready.", "401 events decided", "401 records published", "4 partitions", ">0 undecided, 0 unpublished"];
    let page = until(&address, "/", &all).await;
    for needed in [name.as_str(), "dead-letters?pipeline=", "<h3>Scores</h3>", "Held by this worker, ", "/3</th>"] {
        assert!(page.contains(needed), "{needed}: {page}");
    }
    let partition = partition_until(&address, name, |partition| partition["lag_seconds"] == 0.0).await;
    assert!(partition["owner"].as_str().unwrap().contains(&format!("/{}/", worker.pid())), "{partition}");

    let metrics = http::get(&address, "/metrics").await.1;
    for line in [
        format!("millrace_lag_seconds{{partition=\"0\",pipeline=\"{name}\",topic=\"{name}\"}} 0"),
        format!("millrace_scores_count{{pipeline=\"{name}\"}} 360"),
        format!("millrace_slice_limit_events{{pipeline=\"{name}\"}} 2048"),
        format!("millrace_lag_work_seconds{{pipeline=\"{name}\"}} 0"),
        format!("millrace_build_info{{revision=\"unknown\",version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let busy =
        metrics.lines().find_map(|line| line.strip_prefix(&format!("millrace_busy_seconds_total{{pipeline=\"{name}\"}} ")));
    assert!(busy.unwrap().parse::<f64>().unwrap() > 0.0, "{busy:?}");
    assert!(!metrics.contains("millrace_fallbacks_total{"), "what `copy` copies is no reason: {metrics}");

    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    stage.send(400, 600);
    let mut lines = BufReader::new(socket).lines();
    let heard = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("data: ") && line.contains("601 events decided") {
                return;
            }
        }
        panic!("the events ended");
    };
    tokio::time::timeout(SOON, heard).await.expect("an event that tells of what was sent");
}

/// Would catch: a worker that knows nothing of how a pipeline scored before it started, one that counts dead letters and events without a score.
#[tokio::test(flavor = "multi_thread")]
async fn scores_are_held_against_those_before_the_start() {
    let stage = Stage::new("").await;
    stage.send(0, 400);
    produce(&stage.name, 0, None, b"no JSON");
    stage.run_until(401).await;
    let of = |what: &str| format!("SELECT {what} FROM millrace.record WHERE kind = 'prediction'");
    let scores = stage.number(&of("count(score)")).await;
    let mean = stage.number(&of("round(avg(score) * 1000)::bigint")).await as f64 / 1000.0;
    assert!((100..400).contains(&scores));
    let worker = stage.worker();
    let told = format!("the reference, the {scores} scores before this worker started: {mean:.3}.");
    until(&worker.admin(), "/", &[&told]).await;
}

/// Would catch: a page that is not there while a worker is not ready, or does not say why.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_and_a_lag_are_seen() {
    let stage = Stage::of(Plan { options: "max_dead_share = 0.1", function: RISK, partitions: 2, ..Plan::default() }).await;
    let worker = stage.worker();
    let address = worker.admin();
    let lag = format!("millrace_lag_seconds{{partition=\"1\",pipeline=\"{0}\",topic=\"{0}\"}} ", stage.name);
    until(&address, "/metrics", &[&lag]).await;
    for _ in 0..150 {
        produce(&stage.name, 1, None, b"<script>alert(1)</script>");
    }
    let needed =
        ["Not ready:", "is halted, /status says why", "1 of 2 halted", "`max_dead_share`", "href=\"/dead-letters?pipeline="];
    let page = until(&address, "/", &needed).await;
    assert!(!page.contains("<script>"), "{page}");
    assert_eq!(http::get(&address, "/readyz").await.0, 503);
    // The end of the log, and with it the lag, is asked for every two seconds.
    let metrics = until(&address, "/metrics", &[&lag]).await;
    let seconds = metrics.lines().find_map(|line| line.strip_prefix(&lag)).map(|seconds| seconds.parse::<f64>().unwrap());
    let first = seconds.unwrap();
    assert!(first >= 0.0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = http::get(&address, "/metrics").await.1;
    let later = later.lines().find_map(|line| line.strip_prefix(&lag)).map(|seconds| seconds.parse::<f64>().unwrap());
    assert!(later.is_some_and(|later| later >= first + 1.5), "it grows older: {first} then {later:?}");
}

/// Would catch: a quiet topic that a producer writes in transactions, of which a marker is an event that waits for ever: every such topic would page.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_at_the_end_of_the_log_is_no_lag() {
    let stage = Stage::of(Plan { partitions: 1, ..Plan::default() }).await;
    let producer: BaseProducer = client_of(&stage.brokers).set("transactional.id", &stage.name).create().unwrap();
    producer.init_transactions(SOON).unwrap();
    let send = |from: i64, to: i64| {
        producer.begin_transaction().unwrap();
        for n in from..to {
            let event =
                format!("{{\"id\":\"t-{n}\",\"account\":\"a\",\"amount\":1,\"currency\":\"EUR\",\"time\":1760000000000}}");
            producer
                .send(BaseRecord::<str, str>::to(&stage.name).partition(0).payload(&event))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.commit_transaction(SOON).unwrap();
    };
    send(0, 3);
    let worker = stage.worker();
    for (to, end) in [(3, 4), (5, 7)] {
        if to > 3 {
            send(3, to);
        }
        stage.decided(to).await;
        let is_none = |told: &Value| told["end_offset"] == end && told["lag_undecided"] == 0 && told["lag_seconds"] == 0.0;
        partition_until(&worker.admin(), &stage.name, is_none).await;
    }
}
