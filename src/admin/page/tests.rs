//! The page over a socket, on made-up counts.

use crate::admin::server::tests::{ask, started, started_with};
use crate::admin::{AdminState, Connections, PartitionStatus, Paused};
use crate::telemetry::{Limits, RungTally, ShadowState, ShadowTally};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

const HOST: &str = "host: worker:9464\r\n";
const ODD: &str = "<img src=x onerror=alert(1)>\"'&";

/// A pipeline that has decided some events, with so many partitions; the last of them is halted.
fn fill(state: &AdminState, name: &str, partitions: i32) {
    let tally = state.metrics.tally(name);
    tally.limit(Limits { function: "risk".into(), model: format!("m{ODD}@0123"), slice: 64, calls_in_flight: 2 });
    tally.consumed(500);
    tally.call_begins(Instant::now());
    tally.call_ends(32, 0.02, Instant::now());
    tally.dead("bad_payload");
    tally.fell_back("new_user");
    let scores = (0..400).map(|n| (Some(if n % 4 == 0 { ODD } else { "approve" }), Some(f64::from(n) / 400.0)));
    tally.decided(400, std::iter::repeat_n(0.03, 400), scores);
    let one = |number: i32| {
        let halted = (number + 1 == partitions).then(|| format!("because of {ODD}"));
        let status = PartitionStatus {
            state: if halted.is_some() { "halted" } else { "running" }.into(),
            next_offset: Some(1_000),
            end_offset: Some(1_040),
            lag_undecided: Some(40),
            lag_seconds: Some(12.0),
            owner: format!("host/{ODD}"),
            halted,
            ..PartitionStatus::default()
        };
        (format!("in/{number}"), status)
    };
    state.status.replace(name, (0..partitions).map(one).collect());
}

/// Would catch: markup of a name, a reason, a label or an owner that a browser obeys; a page that is empty without scripts, or may load
/// something from elsewhere; numbers that are not there.
#[tokio::test]
async fn the_page_is_whole_and_names_are_text() {
    let (state, address, _stop) = started(1_000).await;
    fill(&state, &format!("risk{ODD}"), 3);
    state.readiness.block("Kafka", ODD);
    let tally = state.metrics.tally(&format!("risk{ODD}"));
    let shadow = ShadowTally::new(&format!("new{ODD}@1"), ShadowState::CutOff(format!("it said {ODD}")));
    (0..4).for_each(|n| shadow.compared((n == 0).then_some((ODD, "review")), &[(0.5, 0.75)]));
    tally.follow_shadow(shadow.into());
    let rungs = RungTally::new(vec!["full".into(), "small".into()]);
    rungs.ended(1, 70);
    rungs.stands_on(1);
    tally.follow_rungs(rungs.into());
    let page = ask(address, "GET", "/", HOST, "").await;
    for needed in [
        "HTTP/1.1 200",
        "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'",
        "cache-control: no-store",
        "Not ready:",
        "waiting for model",
        "Kafka: &lt;img",
        "risk&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;",
        "1 of 3 halted",
        "because of &lt;img",
        "/functions/risk%3Cimg%20src",
        ">bad_payload</code> 1<",
        ">new_user</code> 1<",
        ">75 %<",
        "400 events decided",
        "cut_off: it said &lt;img",
        "4 compared, 75 % the same",
        "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;</code> to <code>review</code> 1<",
        "scores move by +0.250 on average",
        "Degraded to <code>small</code>",
        "no call just now, 64 fit",
        "120 undecided",
        "action=\"/records\" method=\"get\"",
        "aria-current=\"page\">Overview",
        "<script src=\"/page.js\" defer></script>",
        "<noscript>",
        "in/2</th>",
    ] {
        assert!(page.contains(needed), "{needed}: {page}");
    }
    assert!(!page.contains("<img") && !page.contains("http://") && !page.contains("https://"), "{page}");
    assert_eq!(page.matches("<script").count(), 1);
    assert!(ask(address, "GET", "/page.js", HOST, "").await.contains("content-type: text/javascript"));
    let wrong = ask(address, "POST", "/", HOST, "").await;
    assert!(wrong.contains(" 405 "), "{wrong}");
}

/// Would catch: rows that are sent though nobody unfolds them, a pipeline that cannot be unfolded without scripts.
#[tokio::test]
async fn many_partitions_are_folded() {
    let (state, address, _stop) = started(1_000).await;
    fill(&state, "wide", 64);
    let page = ask(address, "GET", "/", HOST, "").await;
    assert!(page.contains("(64)") && page.contains("href=\"/?open=wide#pipeline-0\"") && !page.contains("in/10</th>"), "{page}");
    let whole = ask(address, "GET", "/?open=wide", HOST, "").await;
    let order: Vec<usize> = ["in/2<", "in/10<", "in/63<"].iter().map(|name| whole.find(name).expect(name)).collect();
    assert!(order.is_sorted(), "{order:?}");
    let rows = ask(address, "GET", "/partitions?of=wide&of=unknown", HOST, "").await;
    assert!(rows.contains("{\"wide\":\"<tr>") && rows.contains("in/63<") && !rows.contains("unknown"), "{rows}");
}

/// Would catch: a page whose making takes longer the more there is, an event that carries every partition.
#[tokio::test]
async fn twenty_pipelines_of_64_partitions_are_quick() {
    let (state, address, _stop) = started(1_000).await;
    (0..20).for_each(|n| fill(&state, &format!("pipeline {n}"), 64));
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let page = ask(address, "GET", "/", HOST, "").await;
        fastest = fastest.min(begun.elapsed());
        assert!(page.contains("pipeline 19"));
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    let mut reader = Reader::of(address).await;
    let [first, second] = [reader.next().await, reader.next().await].map(|event| event.to_string().len());
    assert!(first < 200_000 && second < 60_000, "{first} and {second} bytes");
}

/// Who hears the events.
struct Reader(Lines<BufReader<TcpStream>>);

impl Reader {
    async fn of(address: std::net::SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET /events HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await.unwrap();
        Self(BufReader::new(socket).lines())
    }

    async fn next(&mut self) -> serde_json::Value {
        loop {
            let line = tokio::time::timeout(Duration::from_secs(10), self.0.next_line()).await.unwrap().unwrap().unwrap();
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

/// Would catch: a figure that stands still, an event that repeats what has not changed, readers without bound, readers that keep the
/// server from ending.
#[tokio::test]
async fn events_tell_what_changes_and_end_with_the_server() {
    let [head_timeout, keep_alive, write_timeout] = [Duration::from_secs(30); 3];
    let limits = Connections { most: 8, head_timeout, keep_alive, write_timeout, head_bytes: 65_536 };
    let (state, address, stop) = started_with(1_000, limits).await;
    fill(&state, "p", 2);
    let mut reader = Reader::of(address).await;
    let first = reader.next().await;
    assert!(first["set"].is_string() && first["h"]["0.scores"].is_string(), "{first}");
    assert!(first["h"]["ready"].as_str().unwrap().contains("waiting for model"), "{first}");
    state.metrics.tally("p").decided(100, std::iter::empty(), std::iter::empty());
    state.readiness.release("model");
    let second = loop {
        let event = reader.next().await;
        if event["h"]["ready"].as_str().is_some_and(|said| said.contains("Ready.")) {
            break event;
        }
    };
    assert!(second["t"]["0.rate.more"].as_str().unwrap().contains("500 events decided"), "{second}");
    assert!(second["h"]["0.scores"].is_null(), "what has not changed is not told again: {second}");
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    // Two of eight connections may read at the same time; what probes ask is answered beside them.
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET /events HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await.unwrap();
        socket.read_exact(&mut [0; 12]).await.unwrap();
        open.push(socket);
    }
    let full = ask(address, "GET", "/events", HOST, "").await;
    assert!(full.contains(" 503 ") && full.contains("retry-after"), "{full}");
    assert!(ask(address, "GET", "/readyz", HOST, "").await.contains(" 200 "));
    assert!(ask(address, "GET", "/", HOST, "").await.contains("class=\"well\">Ready."));
    stop.cancel();
    for mut socket in open {
        let ended = tokio::time::timeout(Duration::from_secs(3), socket.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "a reader is held at the end");
    }
}

/// Would catch: a pipeline that an operator has paused, or that waits for a version, and that the page calls running.
#[tokio::test]
async fn what_stands_on_purpose_is_not_called_running() {
    let (state, address, _stop) = started(1_000).await;
    state.metrics.tally("p");
    let running = || PartitionStatus { state: "running".into(), ..Default::default() };
    let pause = Paused { by: "ann".into(), reason: "why".into(), since: "2026-11-30T00:00:00Z".into() };
    let paused = PartitionStatus { paused: Some(pause), ..running() };
    let waits = PartitionStatus { waits_for: Some("version v2 is being loaded".into()), ..running() };
    for (stands, said) in [(paused, "1 of 2 paused"), (waits, "1 of 2 waiting for a version")] {
        state.status.replace("p", BTreeMap::from([("in/0".to_owned(), stands), ("in/1".to_owned(), running())]));
        let page = ask(address, "GET", "/", HOST, "").await;
        assert!(page.contains(said) && !page.contains("running</span>, 2"), "{said}");
    }
}

/// Would catch: `/status` without what a script needs.
#[tokio::test]
async fn the_status_has_lag_and_owner_for_scripts() {
    let (state, address, _stop) = started(1_000).await;
    let since = jiff::Timestamp::now().as_millisecond() - 5_000;
    let one =
        PartitionStatus { behind_since_ms: Some(since), lag_seconds: Some(0.1), owner: "h/1/a".into(), ..Default::default() };
    state.status.replace("p", BTreeMap::from([("in/0".to_owned(), one)]));
    let status = ask(address, "GET", "/status", HOST, "").await;
    let body: serde_json::Value = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let of = &body["pipelines"]["p"]["in/0"];
    assert_eq!(of["owner"], "h/1/a");
    assert!((5.0..60.0).contains(&of["lag_seconds"].as_f64().unwrap()), "it grows older by itself: {of}");
}
