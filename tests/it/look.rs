//! Records and dead letters looked up over HTTP, at a worker beside a real Kafka and Postgres.

use crate::support::http::{get, try_get};
use crate::support::produce;
use crate::support::services::{Kind, Service};
use crate::support::stage::{Plan, SOON, Stage, Worker};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Each record has its event in it, and under each key the newest is kept.
const PASSING: &str = "event = \"transaction\"\nfunction = \"copy\"\noptions = { fields = [\"currency\"], score = \"amount / 100\", pass_event = true }";

/// Text and byte strings that stand in payloads alone.
const PAYLOAD: [&str; 2] = ["EUR", "merchant"];

async fn passing() -> Stage {
    Stage::of(Plan { partitions: 2, function: PASSING, options: "keep = \"latest\"", ..Plan::default() }).await
}

async fn ready(worker: &mut Worker) -> String {
    let address = worker.admin();
    let deadline = Instant::now() + SOON;
    while try_get(&address, "/readyz").await.is_none_or(|(status, _)| status != 200) {
        assert!(worker.is_running() && Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    address
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn json(address: &str, path: &str) -> (u16, Value) {
    let (status, body) = get(address, path).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

fn ids(found: &Value) -> Vec<&str> {
    found["records"].as_array().unwrap().iter().map(|record| record["id"].as_str().unwrap()).collect()
}

fn notes(found: &Value) -> String {
    found["notes"].to_string()
}

/// Would catch: a record that one of the ways does not lead to, another one than was asked for, an answer that does not say how far it
/// looked, payloads that show before they are allowed or do not afterwards, a page that says less than the JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_found_by_id_event_and_key_and_payloads_only_show_when_allowed() {
    let stage = passing().await;
    stage.send(0, 200);
    let mut worker = stage.worker();
    stage.decided(200).await;
    let address = ready(&mut worker).await;
    let name = stage.name.as_str();
    // Event 42 is the 22nd of partition 0, event 47 the 24th of partition 1, and no transaction.
    let (id, dead) = (format!("{name}/1/{name}/0/21/0"), format!("{name}/1/{name}/1/23/0"));
    let of = |query: &str| format!("/v1/records?{query}");
    for query in [
        format!("id={}", encoded(&id)),
        format!("id={}", encoded(id.strip_suffix("/0").unwrap())),
        "event=t-42".to_owned(),
        format!("event=t-42&pipeline={name}&since=2020-01-01&until=2099-01-01"),
        format!("event={}", encoded(&format!("{name}/0/21"))),
        "key=a-42".to_owned(),
        "key=a-42&limit=1".to_owned(),
        format!("q={}", encoded(&id)),
        format!("q={}", encoded(&format!("{name}/0/21"))),
        "q=t-42".to_owned(),
        "q=+a-42".to_owned(),
    ] {
        let (status, found) = json(&address, &of(&query)).await;
        assert_eq!((status, ids(&found)), (200, vec![id.as_str()]), "{query}: {found}");
        let record = &found["records"][0];
        assert_eq!((&record["score"], &record["value"]["score"]), (&0.42.into(), &0.42.into()), "{record}");
        assert_eq!((&record["function"], &record["offset"], &record["kind"]), (&"copy".into(), &21.into(), &"prediction".into()));
        assert!(
            record.get("key").is_none() && record["hidden_fields"] == 2 && record["value"].get("event").is_none(),
            "{record}"
        );
        assert!(notes(&found).contains("show_payloads = true"), "{found}");
        let (status, page) = get(&address, &format!("/records?{query}")).await;
        assert!(status == 200 && page.contains(&format!("<h3>{id}</h3>")) && page.contains("show_payloads"), "{page}");
        for secret in PAYLOAD {
            assert!(!found.to_string().contains(secret) && !page.contains(secret), "{secret} shows: {found}");
        }
    }
    let (_, found) = json(&address, &of("key=a-42")).await;
    assert!(notes(&found).contains("table `latest`") && found["complete"] == true, "{found}");
    let call = found["records"][0]["commands"][0]["line"].as_str().unwrap();
    assert_eq!(call, format!("millrace call copy --config {} --pipeline {name} < event.json", stage.config().display()));
    for (query, said) in [
        ("key=a-4242".to_owned(), "records of that time were looked at"),
        ("event=t-47".to_owned(), "/dead-letters"),
        (format!("id={}", encoded(&format!("{name}/1/{name}/0/4000"))), "is not decided yet"),
        (format!("id={}", encoded(&format!("{name}/7/{name}/0/1"))), "has not worked on"),
        ("key=a-42&until=2020-01-01".to_owned(), "0 records of that time"),
        ("q=other/1/topic/0/5".to_owned(), "As a key: "),
    ] {
        let (status, found) = json(&address, &of(&query)).await;
        assert!(status == 200 && ids(&found).is_empty() && notes(&found).contains(said), "{query}: {found}");
    }

    // The dead letter, in the list and by its id.
    let (_, letters) = json(&address, "/v1/dead-letters?limit=200").await;
    assert_eq!(
        (letters["counts"][0]["reason"].as_str(), letters["counts"][0]["open"].as_i64()),
        (Some("missing_field"), Some(20))
    );
    let listed = letters["letters"].as_array().unwrap();
    let letter = listed.iter().find(|letter| letter["id"] == dead).unwrap_or_else(|| panic!("{letters}"));
    assert_eq!((&letter["field"], &letter["handling"], listed.len()), (&"amount".into(), &"open".into(), 20));
    assert!(letter["detail"].as_str().unwrap().contains("amount") && letter.get("event").is_none(), "{letter}");
    let (_, page) = get(&address, "/dead-letters?limit=200").await;
    assert!(page.contains(&dead) && page.contains("missing_field") && !page.contains("a-47"), "{page}");
    let (_, shown) = json(&address, &of(&format!("id={}", encoded(&dead)))).await;
    assert!(
        shown["records"][0]["value"]["reason"]["code"] == "missing_field" && !shown.to_string().contains("_base64"),
        "{shown}"
    );

    // The commands that are shown do what they say.
    let line = letter["commands"][1]["line"].as_str().unwrap().to_owned();
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    let redriven = stage.without_config(&words);
    assert_eq!(redriven.code, Some(0), "{line}: {redriven:?}");
    stage.decided(201).await;
    let (_, open) = json(&address, "/v1/dead-letters?handling=redriven&reason=missing_field").await;
    assert_eq!((&open["letters"][0]["id"], open["letters"].as_array().unwrap().len()), (&dead.as_str().into(), 1), "{open}");
    let counts = &open["counts"][0];
    assert_eq!((&counts["open"], &counts["redriven"]), (&20.into(), &1.into()), "{open}");

    worker.drain();
    stage.reconfigure("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:0\"\nshow_payloads = true");
    let mut worker = stage.worker();
    let address = ready(&mut worker).await;
    let (_, found) = json(&address, &of("event=t-42")).await;
    let record = &found["records"][0];
    assert_eq!((&record["key"], &record["value"]["event"]["currency"]), (&"a-42".into(), &"EUR".into()), "{record}");
    assert!(get(&address, "/records?key=a-42").await.1.contains("EUR"));
    let (_, letters) = json(&address, "/v1/dead-letters?limit=200").await;
    let letter = letters["letters"].as_array().unwrap().iter().find(|letter| letter["id"] == dead).unwrap();
    assert_eq!((&letter["event"]["key"], &letter["event"]["cut"]), (&"a-47".into(), &false.into()));
    assert!(letter["event"]["payload"].as_str().unwrap().contains("t-47"), "{letter}");
    assert!(get(&address, "/dead-letters?limit=200").await.1.contains("a-47"));
    worker.drain();
}

/// Would catch: input that reaches a statement or a page as more than text, a failure that tells the statement or where the database is, a
/// look-up that waits for Postgres without an end, probes that wait with it.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_missing_rights_and_an_absent_postgres_are_told_plainly() {
    let postgres = tokio::task::spawn_blocking(|| Service::up(Kind::Postgres)).await.unwrap();
    let stage = Stage::of(Plan { partitions: 1, function: PASSING, postgres: postgres.address(), ..Plan::default() }).await;
    let user = stage.name.clone();
    stage.execute(&format!("CREATE ROLE {user} LOGIN; GRANT millrace_worker TO {user}")).await;
    stage.reconfigure("postgres://postgres@", &format!("postgres://{user}@"));
    stage.send(0, 20);
    let mut worker = stage.worker();
    stage.decided(20).await;
    let address = ready(&mut worker).await;

    let long = "x".repeat(10_000);
    for (query, status) in [
        ("key=%27%3B+DROP+TABLE+millrace.record%3B+--", 200),
        ("key=%25&pipeline=", 200),
        ("event=%3Cscript%3Ealert(1)%3C%2Fscript%3E", 200),
        ("event=%27+OR+1%3D1+--", 200),
        ("key=%00", 400),
        ("id=%27", 400),
        ("id=%00%FF", 400),
        ("key=a&since=%27", 400),
        ("key=a&limit=-1", 400),
        ("key=a&pipeline=nobody", 404),
        ("id=nobody%2F1%2Ft%2F0%2F1", 404),
        (&format!("key={long}"), 400),
        (&format!("{long}=1"), 400),
    ] {
        let (found, answer) = json(&address, &format!("/v1/records?{query}")).await;
        assert_eq!(found, status, "{query}: {answer}");
        assert!(answer["records"].as_array().is_none_or(Vec::is_empty), "{query}: {answer}");
        let (found, page) = get(&address, &format!("/records?{query}")).await;
        assert!(found == status && !page.contains("<script"), "{query}: {page}");
    }
    for query in ["reason=%27", "reason=%3Cscript%3E", "pipeline=nobody", "handling=%27", "until=x"] {
        let (_, page) = get(&address, &format!("/dead-letters?{query}")).await;
        assert!(!page.contains("<script"), "{query}: {page}");
    }
    assert_eq!(stage.number("SELECT count(*) FROM millrace.record").await, 20);
    assert!(json(&address, "/v1/records?key=a&pipeline=nobody").await.1["error"]["message"].as_str().unwrap().contains(&user));

    stage.execute("REVOKE SELECT ON millrace.dead_letter_mark FROM millrace_worker").await;
    for path in ["/v1/dead-letters", "/v1/records?key=a-3", "/dead-letters", "/records?key=a-3"] {
        let (status, answer) = get(&address, path).await;
        assert!(status == 503 && answer.contains("needs the role millrace_reader"), "{path}: {answer}");
        assert!(!answer.contains("SELECT") && !answer.contains("postgres://"), "{path}: {answer}");
    }
    stage.execute("GRANT SELECT ON millrace.dead_letter_mark TO millrace_worker").await;
    assert_eq!(json(&address, "/v1/dead-letters").await.1["letters"].as_array().unwrap().len(), 2);

    let postgres = tokio::task::spawn_blocking(move || {
        postgres.tell(&["stop"]);
        postgres
    });
    let postgres = postgres.await.unwrap();
    for path in ["/v1/records?key=a", "/v1/dead-letters", "/records?event=t-1", "/dead-letters"] {
        let asked = Instant::now();
        let ((status, answer), (alive, _)) = tokio::join!(get(&address, path), get(&address, "/livez"));
        assert!(status == 503 && answer.contains("Postgres"), "{path}: {status} {answer}");
        assert!(asked.elapsed() < Duration::from_secs(10) && alive == 200, "{path} took {:?}", asked.elapsed());
        assert!(
            !answer.contains("SELECT") && !answer.contains("postgres://") && !answer.contains(&format!("{user}@")),
            "{answer}"
        );
    }
    let postgres = tokio::task::spawn_blocking(move || {
        postgres.tell(&["start"]);
        postgres
    });
    let _postgres = postgres.await.unwrap();
    let deadline = Instant::now() + SOON;
    while get(&address, "/v1/records?event=t-1").await.0 != 200 {
        assert!(Instant::now() < deadline, "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Two labels of the options; an event may bring its own.
const CLASSIFYING: &str =
    "event = \"json\"\nfunction = \"classify\"\nmodel = \"minilm\"\noptions = { candidate_labels = [\"refund\", \"praise\"] }";

/// Would catch: what stands in an event that becomes the name of a metric, a row of the page or an answer, because a function called it a label.
#[tokio::test(flavor = "multi_thread")]
async fn labels_that_an_event_brings_show_nowhere() {
    let sections = format!("[models.minilm]\npath = \"{}/models/minilm-en\"", env!("CARGO_MANIFEST_DIR"));
    let stage = Stage::of(Plan { partitions: 1, sections: &sections, function: CLASSIFYING, ..Plan::default() }).await;
    let texts = [
        r#"{"text": "I want my money back", "candidate_labels": ["4111-secret", "5222-secret"]}"#,
        r#"{"text": "I want my money back"}"#,
    ];
    texts.iter().for_each(|text| produce(&stage.name, 0, None, text.as_bytes()));
    let mut worker = stage.worker();
    stage.decided(2).await;
    let (address, name) = (ready(&mut worker).await, stage.name.as_str());
    for offset in 0..2 {
        let query = format!("event={}", encoded(&format!("{name}/0/{offset}")));
        let (_, found) = json(&address, &format!("/v1/records?{query}")).await;
        let (_, page) = get(&address, &format!("/records?{query}")).await;
        let record = &found["records"][0];
        let shown = if offset == 0 { Value::Null } else { "refund".into() };
        assert_eq!((&record["label"], &record["value"]["label"]), (&shown, &shown), "{found}");
        assert!(!found.to_string().contains("-secret") && !page.contains("-secret"), "{found}");
    }
    let metrics = get(&address, "/metrics").await.1;
    for label in ["other", "refund"] {
        let line = format!("millrace_labels_total{{label=\"{label}\",pipeline=\"{name}\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let page = get(&address, "/").await.1;
    assert!(page.contains(">refund</th>") && page.contains(">other</th>"), "{page}");
    assert!(!metrics.contains("-secret") && !page.contains("-secret"));
    let rows = stage.number("SELECT count(*) FROM millrace.record WHERE label LIKE '%-secret'").await;
    assert_eq!(rows, 1, "the row has what the function said");
}
