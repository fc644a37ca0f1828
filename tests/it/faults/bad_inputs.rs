//! Events that cannot be scored, between good ones, through the real model.

use crate::support::http;
use crate::support::stage::{Plan, SOON, Stage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};
use sqlx::Row;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// Largest payload of these tests, bytes.
const BODY: usize = 300_000;
/// Bytes that are not text, and a header without a value.
const HEADERS: [(&str, Option<&[u8]>); 3] = [("trace", Some(b"\xff\x00\x01")), ("none", None), ("empty", Some(b""))];
const KEY: &[u8] = b"\x00key\xff";

fn message(text: &Value) -> Vec<u8> {
    json!({ "id": "m", "conversation": "c", "text": text, "time": 1_760_000_000_000i64 }).to_string().into_bytes()
}

/// What is refused, and the code that says why; `None` is a tombstone.
fn bad() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let mut broken = message(&json!("broken"));
    let middle = broken.len() / 2;
    broken[middle] = 0xff;
    let deep = format!(
        "{{\"id\":\"m\",\"conversation\":\"c\",\"text\":\"x\",\"time\":1,\"more\":{}{}}}",
        "[".repeat(40),
        "]".repeat(40)
    );
    vec![
        ("invalid_utf8", Some(broken)),
        ("invalid_json", Some(b"{\"id\": \"m\", \"conversation\": ".to_vec())),
        ("invalid_json", Some(Vec::new())),
        ("not_an_object", Some(b"[1, 2, 3]".to_vec())),
        ("too_large", Some(message(&json!("x".repeat(BODY))))),
        ("too_deep", Some(deep.into_bytes())),
        ("nul_character", Some(message(&json!("a\u{0}b")))),
        ("wrong_type", Some(message(&json!(["a text in a list"])))),
        ("wrong_type", Some(br#"{"id":1.5,"conversation":"c","text":"x","time":1}"#.to_vec())),
        ("wrong_type", Some(br#"{"id":1,"conversation":"c","text":"x","time":"noon"}"#.to_vec())),
        ("missing_field", Some(br#"{"id":1,"conversation":"c","time":1}"#.to_vec())),
        ("empty_text", Some(message(&json!("")))),
        ("empty_text", Some(message(&json!(" \n\t ")))),
        ("string_too_long", Some(message(&json!("y".repeat(BODY - 1_000))))),
        ("text_too_long", Some(message(&json!("so ".repeat(80_000))))),
        ("text_too_long", Some(message(&json!("!".repeat(100_000))))),
        ("tombstone", None),
    ]
}

/// What is scored: one between any two of the bad ones, a text far longer than the model reads among them.
fn good(number: usize) -> String {
    match number {
        0 => "good ".repeat(15_000),
        1 => "naïve 😂 \u{202e} \"quoted\" \\ and a line\nbreak".into(),
        2 => "👍".into(),
        _ => format!("{} number {number}", ["This is wonderful", "I hate this", "It is a table"][number % 3]),
    }
}

/// Label, score and whether the text was cut, of a value as a function gives it; a text of which the model knows nothing has neither
/// of the first two, and says so.
fn answer(value: &Value) -> (Option<String>, Option<f64>, bool) {
    let label = value["label"].as_str().map(str::to_owned);
    assert_eq!(label.is_none(), value["reason"] == "unknown_text", "{value}");
    (label, value["score"].as_f64(), value["truncated"].as_bool().unwrap())
}

fn call(texts: &[String]) -> Vec<Value> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/sentiment-en");
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["call", "sentiment", "--model", model])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = texts.iter().map(|text| json!(text).to_string() + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Would catch: a bad event that spoils its neighbours, ends the worker, is skipped, or is kept with other bytes than it came
/// with; a check that only one of the ways in has; a batch on the stream that changes what a text scores.
#[tokio::test(flavor = "multi_thread")]
async fn bad_events_become_dead_letters_and_their_neighbours_are_scored_as_off_the_stream() {
    let sections =
        format!("[models.starter]\npath = \"{}/models/sentiment-en\"\n[limits]\nbody_bytes = {BODY}", env!("CARGO_MANIFEST_DIR"));
    let function = "event = \"chat_message\"\nfunction = \"sentiment\"\nmodel = \"starter\"";
    let stage = Stage::of(Plan { partitions: 1, sections: &sections, function, ..Plan::default() }).await;
    let bad = bad();
    let texts: Vec<String> = (0..=bad.len()).map(good).collect();
    // Even offsets are good, odd ones are bad.
    let producer = stage.producer();
    for (number, text) in texts.iter().enumerate() {
        let good = Some(message(&json!(text)));
        for payload in [Some(&good), bad.get(number).map(|(_, payload)| payload)].into_iter().flatten() {
            let headers = HEADERS.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
            let mut record = BaseRecord::<[u8], [u8]>::to(&stage.name).partition(0).key(KEY).headers(headers);
            if let Some(payload) = payload {
                record = record.payload(payload);
            }
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(SOON).unwrap();

    let mut worker = stage.worker();
    stage.decided((texts.len() + bad.len()) as i64).await;
    let (records, rows) = stage.published().await;
    assert_eq!(rows.len(), texts.len() + bad.len(), "every event has one ending");
    assert_eq!(records.len(), rows.len());

    let found = sqlx::query("SELECT \"offset\", kind, value::text, key FROM millrace.record ORDER BY \"offset\"")
        .fetch_all(&mut stage.connect().await)
        .await
        .unwrap();
    let mut scored = Vec::new();
    for (offset, row) in found.iter().enumerate() {
        assert_eq!(row.get::<i64, _>(0), offset as i64);
        let value: Value = serde_json::from_str(row.get(2)).unwrap();
        if offset % 2 == 0 {
            assert_eq!(row.get::<&str, _>(1), "prediction", "offset {offset}: {value}");
            scored.push(answer(&value));
            continue;
        }
        let (code, payload) = &bad[offset / 2];
        assert_eq!((row.get::<&str, _>(1), value["reason"]["code"].as_str()), ("dead_letter", Some(*code)), "offset {offset}");
        let bytes = |value: &Value| value.as_str().map(|text| STANDARD.decode(text).unwrap());
        assert_eq!(bytes(&value["payload_base64"]), *payload, "{code}: the payload as it came");
        assert_eq!(bytes(&value["key_base64"]).as_deref(), Some(KEY), "{code}");
        assert_eq!(row.get::<Option<Vec<u8>>, _>(3).as_deref(), Some(KEY), "{code}");
        let headers: Vec<_> = value["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (header["name"].as_str().unwrap(), bytes(&header["value_base64"])))
            .collect();
        assert_eq!(headers, HEADERS.map(|(name, value)| (name, value.map(<[u8]>::to_vec))), "{code}");
    }
    assert!(scored[0].2 && !scored[3].2, "15,000 words are cut and scored, a sentence is not cut");
    assert_eq!(scored[2], (None, None, false), "a thumb alone is nothing that the model knows");
    assert_eq!(answers(call(&texts)), scored, "`millrace call` gives what the stream gave");
    let (status, body) = http::post(&worker.admin(), "/v1/functions/sentiment", &json!({ "inputs": texts })).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(answers(body["outputs"].as_array().unwrap().clone()), scored, "HTTP gives what the stream gave");
    // Both refuse what the stream refuses for its text.
    let long = "so ".repeat(80_000);
    let (_, body) = http::post(&worker.admin(), "/v1/functions/sentiment", &json!({ "inputs": [long, "fine"] })).await;
    for outputs in [call(&[long, "fine".into()]), body["outputs"].as_array().unwrap().clone()] {
        assert_eq!(outputs[0]["rejected"]["code"], "text_too_long", "{outputs:?}");
        assert!(outputs[1]["label"].is_string(), "{outputs:?}");
    }
    let codes: BTreeMap<&str, usize> = bad.iter().fold(BTreeMap::new(), |mut all, (code, _)| {
        *all.entry(*code).or_default() += 1;
        all
    });
    let (_, metrics) = http::get(&worker.admin(), "/metrics").await;
    for (code, count) in codes {
        let counted = metrics.lines().find(|line| line.contains("dead") && line.contains(&format!("\"{code}\"")));
        assert!(counted.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{code}: {counted:?}, expected {count}");
    }
    worker.drain();
}

fn answers(values: Vec<Value>) -> Vec<(Option<String>, Option<f64>, bool)> {
    values.iter().map(answer).collect()
}
