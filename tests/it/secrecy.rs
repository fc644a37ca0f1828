//! Markers planted in payloads and secrets, looked for wherever a worker speaks: log, traces, metrics, pages, answers, commands.

use crate::support::collector::{Received, collector};
use crate::support::command::Ended;
use crate::support::http::{get, post, post_with};
use crate::support::read_committed;
use crate::support::stage::{Plan, SOON, Stage};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Stands in keys, fields, names of fields, headers and broken bytes of events, and in requests.
const PAYLOAD: &str = "acct4711hunter2";
/// Each secret that a worker is given.
const DATABASE: &str = "databasehunter3";
const TOKEN: &str = "admintokenhunter4";
const KAFKA: &str = "kafkahunter5";
const COLLECTOR: &str = "collectorhunter6";
const MARKERS: [&str; 5] = [PAYLOAD, DATABASE, TOKEN, KAFKA, COLLECTOR];

/// Each record has its event in it, and under each key the newest is kept.
const PASSING: &str = "event = \"transaction\"\nfunction = \"copy\"\noptions = { fields = [\"merchant\"], score = \"amount / 100\", pass_event = true }";

/// Good events, and those that each stage refuses in its own words.
fn events() -> Vec<Vec<u8>> {
    let with = |field: &str, value: &str| {
        let mut event = json!({ "id": "t", "account": PAYLOAD, "amount": 1, "currency": "EUR", "time": 1_760_000_000_000i64, "merchant": PAYLOAD });
        event[field] = serde_json::from_str(value).unwrap();
        event.to_string().into_bytes()
    };
    let quoted = format!("\"{PAYLOAD}\"");
    vec![
        with("amount", "2"),
        with(PAYLOAD, "{}"),
        // Refused by Postgres, which quotes the row.
        with("amount", "666"),
        with("merchant", &format!("\"{PAYLOAD}\\u0000\"")),
        with("amount", &quoted),
        with("amount", &format!("[{quoted}]")),
        with("time", &quoted),
        with("currency", &quoted),
        with("id", "null"),
        format!("{{\"id\": \"t\", \"account\": \"{PAYLOAD}\" \"{PAYLOAD}\"").into_bytes(),
        PAYLOAD.as_bytes().to_vec(),
        [PAYLOAD.as_bytes(), b"\xff\xfe", PAYLOAD.as_bytes()].concat(),
        format!("{{\"{PAYLOAD}\": 1, \"{PAYLOAD}\": 2, \"amount\": tru}}").into_bytes(),
        Vec::new(),
    ]
}

fn send(stage: &Stage, events: &[Vec<u8>]) {
    let producer = stage.producer();
    for event in events {
        let headers = OwnedHeaders::new().insert(Header { key: PAYLOAD, value: Some(PAYLOAD) });
        let headers = headers.insert(Header { key: "traceparent", value: Some(PAYLOAD) });
        let record = BaseRecord::to(&stage.name).partition(0).key(PAYLOAD).payload(event).headers(headers);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(SOON).unwrap();
}

/// What the page's stream of events brings first.
async fn streamed(address: &str) -> String {
    let first = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut text, mut part) = (String::new(), [0; 65_536]);
        while text.matches("data:").count() < 2 {
            let read = socket.read(&mut part).await.unwrap();
            assert!(read > 0, "{text}");
            text += &String::from_utf8_lossy(&part[..read]);
        }
        text
    };
    timeout(SOON, first).await.expect("/events says nothing")
}

/// The answers of everything that can be looked at, with their names.
async fn looked_at(address: &str, name: &str) -> Vec<(String, String)> {
    let id = format!("{name}/1/{name}/0/0/0");
    let dead = format!("{name}/1/{name}/0/5/0");
    let paths = [
        "/",
        "/partitions",
        "/page.js",
        "/livez",
        "/readyz",
        "/metrics",
        "/status",
        "/openapi.json",
        "/functions",
        "/v1/functions",
        "/v1/models",
        "/dead-letters?limit=200",
        "/v1/dead-letters?limit=200",
    ];
    let paths = paths.map(str::to_owned).into_iter().chain([
        format!("/functions/{name}"),
        format!("/records?id={id}"),
        format!("/v1/records?id={id}"),
        format!("/records?id={dead}"),
        format!("/v1/records?id={dead}"),
        format!("/v1/records?event={name}/0/0"),
    ]);
    let mut answers = vec![("/events".to_owned(), streamed(address).await)];
    for path in paths {
        let (status, body) = get(address, &path).await;
        assert!(status == 200 || path == "/readyz", "{path}: {status} {body}");
        answers.push((path, body));
    }
    answers
}

fn exported(received: &Received) -> Vec<(String, String)> {
    let received = received.lock().unwrap();
    let told = |(path, _, body): &(String, _, axum::body::Bytes)| (path.clone(), String::from_utf8_lossy(body).into_owned());
    received.iter().map(told).collect()
}

/// Would catch: an error that quotes the value which it is about, a span or a metric with a key in it, a page that shows an event before it may, a
/// config or an address that is logged with its password, a message of Postgres about a row.
#[tokio::test(flavor = "multi_thread")]
async fn markers_in_payloads_and_secrets_show_nowhere() {
    let (endpoint, received) = collector().await;
    let level = "info,millrace=trace,librdkafka=debug,sqlx=debug,hyper=debug,reqwest=debug";
    let sections = format!("[telemetry]\nlevel = \"{level}\"\notlp_endpoint = \"{endpoint}\"");
    let stage = Stage::of(Plan {
        partitions: 1,
        function: PASSING,
        options: "keep = \"latest\"",
        sections: &sections,
        ..Plan::default()
    })
    .await;
    // As Postgres does with a value that it cannot take: the text quotes it.
    let quoting = format!(
        "CREATE FUNCTION quoting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.score = 6.66 THEN \
         RAISE EXCEPTION 'the value {PAYLOAD}' USING ERRCODE = '22023', DETAIL = '{PAYLOAD}'; END IF; RETURN NEW; END $$"
    );
    stage.execute(&quoting).await;
    stage.execute("CREATE TRIGGER quoting BEFORE INSERT ON millrace.record FOR EACH ROW EXECUTE FUNCTION quoting()").await;
    stage.reconfigure("halted_stay_ms = 0", &format!("halted_stay_ms = 0\ntoken = \"{TOKEN}\""));
    stage.reconfigure(
        "properties = { ",
        &format!(
            "username = \"worker\"\npassword = \"{KAFKA}\"\nproperties = {{ \"debug\" = \"conf,security,cgrp,msg,consumer,eos\", "
        ),
    );
    let secret = stage.url.replacen("postgres@", &format!("postgres:{DATABASE}@"), 1);
    stage.reconfigure(&stage.url.clone(), &secret);
    let events = events();
    send(&stage, &events);
    let bearer = ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{COLLECTOR}"));
    let mut worker = stage.worker_with(&[bearer, ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned())]);
    let address = worker.admin();
    stage.decided(events.len() as i64).await;

    let mut spoken = looked_at(&address, &stage.name).await;
    // Whoever calls hears of his own words; the log does not.
    for body in [json!({ "inputs": [{ "amount": PAYLOAD }] }), json!({ PAYLOAD: PAYLOAD })] {
        post(&address, &format!("/v1/functions/{}", stage.name), &body).await;
    }
    let refused =
        post_with(&address, &format!("/v1/pipelines/{}/pause", stage.name), "authorization: Bearer wrong\r\n", "{}").await;
    assert_eq!(refused.0, 401, "{refused:?}");
    spoken.push(("a refused pause".to_owned(), refused.1));
    worker.drain();
    for command in [
        &["check", "--connect"][..],
        &["verify", "--deep"],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--json"],
        &["run", "--dry-run"],
    ] {
        let Ended { out, err, .. } = stage.millrace(command);
        assert!(!out.is_empty() || !err.is_empty(), "{command:?} says nothing");
        spoken.push((command.join(" "), out + &err));
    }
    // A database that is not there is told of by name, without the password.
    let database = secret.rsplit_once('/').unwrap().1.split('?').next().unwrap();
    stage.reconfigure(&secret, &secret.replace(database, "nowhere"));
    let failed = stage.millrace(&["run"]);
    assert!(failed.code == Some(1) && failed.err.contains("nowhere"), "{failed:?}");
    spoken.push(("a failed start".to_owned(), failed.out + &failed.err));
    spoken.push(("the log".to_owned(), worker.log()));
    spoken.extend(exported(&received));

    for (place, text) in &spoken {
        for marker in MARKERS {
            let at = text.find(marker);
            assert!(at.is_none(), "{place} says {marker}: {}", at.map_or("", |at| &text[at.saturating_sub(300)..]));
        }
    }
    // The markers were there to be seen.
    let out = read_committed(&stage.output());
    let dead = read_committed(&stage.dead_letters());
    assert!(
        out.iter().any(|record| record.value().contains(PAYLOAD)) && out.len() + dead.len() == events.len(),
        "{} {}",
        out.len(),
        dead.len()
    );
    assert!(dead.len() > 6, "{dead:?}");
    let log = worker.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    let sent = received.lock().unwrap();
    assert!(
        sent.iter()
            .any(|(_, headers, _)| headers.get("authorization").is_some_and(|value| *value == format!("Bearer {COLLECTOR}")))
    );
    for signal in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
        assert!(sent.iter().any(|(path, ..)| path == signal), "no {signal} came");
    }
}

/// Remembers what an account has done; its states leave memory when the worker ends.
const RISK: &str = "event = \"json\"\nfields = { id = \"id\", key = \"account\", time = \"time\" }\nfunction = \"risk\"\n[pipeline.risk]\n\
                    feature = [{ name = \"n\", entity = \"account\", aggregate = \"count\", window = \"1d\" }]";

/// Would catch: a halt that names the key whose state cannot be read, or does not say how its row is found.
#[tokio::test(flavor = "multi_thread")]
async fn the_halt_over_a_state_tells_its_row_and_not_its_key() {
    let stage = Stage::of(Plan { partitions: 1, function: RISK, ..Plan::default() }).await;
    let event = json!({ "id": "e", "account": PAYLOAD, "time": 1_760_000_000_000i64 }).to_string().into_bytes();
    send(&stage, std::slice::from_ref(&event));
    let mut worker = stage.worker();
    stage.decided(1).await;
    stage.wait_for("SELECT count(*) FROM millrace.state", 1).await;
    worker.drain();
    assert_eq!(stage.execute("UPDATE millrace.state SET bytes = decode('ffffff', 'hex')").await, 1);
    stage.reconfigure("halted_stay_ms = 0", "halted_stay_ms = 3600000");
    send(&stage, &[event]);
    let worker = stage.worker();
    let address = worker.admin();
    let halted = async {
        loop {
            let status = get(&address, "/status").await.1;
            if status.contains("a stored state cannot be read") {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let status = timeout(SOON, halted).await.unwrap_or_else(|_| panic!("it does not halt: {}", worker.log()));
    let spoken = [status, get(&address, "/").await.1, get(&address, "/readyz").await.1, worker.log()];
    assert!(spoken.iter().all(|said| !said.contains(PAYLOAD)), "{spoken:?}");
    let of_row = format!(
        "SELECT count(*) FROM millrace.states WHERE pipeline = '{}' AND partition = 0 AND as_of = 1 AND bytes = 3",
        stage.name
    );
    assert!(spoken[0].contains("`as_of` 1 and 3 `bytes`") && stage.number(&of_row).await == 1, "{}", spoken[0]);
}
