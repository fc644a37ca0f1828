//! What is read of values, and what becomes of those that cannot be read.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Would catch: a type, a reference or a second version that is read otherwise off a topic than from a file; a broken value that is no dead
/// letter, takes others along, or whose bytes are lost; a schema that is asked for with each event.
#[tokio::test(flavor = "multi_thread")]
async fn avro_values_end_as_their_json_would() {
    let registry = Registry::start(Behaviour::default()).await;
    registry.put(900, json!({ "schema": "{\"type\":\"record\"}" }));
    let stage = stage(&registry, "avro").await;
    let mut wanted = Vec::new();
    for name in ["every type", "an older schema", "references", "the other branches", "every type"] {
        let (value, json) = registry.value("avro", name, None);
        stage.put(0, &value);
        wanted.push(json);
    }
    let (good, json) = registry.value("avro", "an older schema", None);
    let (unknown, _) = registry.value("avro", "an older schema", Some(77));
    let (protobuf, _) = registry.value("protobuf", "the second message", None);
    let (unfit, _) = registry.value("avro", "an older schema", Some(900));
    for (value, ending) in [
        (unknown.clone(), json!("schema_unknown")),
        (good[..good.len() - 3].to_vec(), json!("invalid_avro")),
        ([&good[..], b"x"].concat(), json!("invalid_avro")),
        (b"{\"id\":\"x\"}".to_vec(), json!("no_schema_id")),
        (good[..4].to_vec(), json!("no_schema_id")),
        (protobuf, json!("schema_invalid")),
        (unfit, json!("schema_invalid")),
        (good.clone(), json),
    ] {
        stage.put(0, &value);
        wanted.push(ending);
    }
    stage.run_until(wanted.len() as i64).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, wanted);
    assert_eq!(registry.asked("/schemas/ids/1"), 1);
    stage.published().await;

    // What could not be read is driven again once the schema is there.
    let id = format!("{name}/1/{name}/0/5/0", name = stage.name);
    let shown = stage.millrace(&["dead-letters", "show", &id, "--json"]).json();
    assert!(shown["reason"] == "schema_unknown" && shown.to_string().contains("schema 77"), "{shown}");
    registry.copy(3, 77);
    registry.copy(2, 77);
    assert_eq!(stage.millrace(&["dead-letters", "redrive", &id]).code, Some(0));
    stage.run_until(wanted.len() as i64 + 1).await;
    let last = stage.endings().await.pop().unwrap();
    assert_eq!(last.2, registry.value("avro", "an older schema", None).1);
}

/// Would catch: Protobuf that is read otherwise off a topic, an import that is not asked for; `test`, `replay` or a dry run that read other
/// values than the worker.
#[tokio::test(flavor = "multi_thread")]
async fn protobuf_values_are_the_same_for_every_command() {
    let registry = Registry::start(Behaviour::default()).await;
    let stage = stage(&registry, "protobuf").await;
    let mut wanted = Vec::new();
    for name in ["every type", "nothing set", "the second message"] {
        let (value, json) = registry.value("protobuf", name, None);
        stage.put(1, &value);
        // Without an id of its own it is refused, by the name of the field.
        wanted.push(if name == "every type" { json } else { json!("missing_field") });
    }
    wanted[1] = registry.value("protobuf", "nothing set", None).1;
    stage.run_until(3).await;
    let endings: Vec<Value> = stage.endings().await.into_iter().map(|(_, _, ending)| ending).collect();
    assert_eq!(endings, wanted);

    let dry = stage.millrace(&["run", "--dry-run", "--json"]);
    assert!(
        dry.code == Some(0)
            && dry.out.contains("the schema registry answers")
            && dry.out.contains("of the last 3 events 2 would be scored"),
        "{dry:?}"
    );
    let (value, json) = registry.value("protobuf", "every type", None);
    let cases = stage.config().with_file_name("cases.jsonl");
    let case = |event: Value| json!({ "event": event, "expect": { "event": json } }).to_string();
    std::fs::write(&cases, [case(json!(STANDARD.encode(value))), case(json.clone())].join("\n")).unwrap();
    let tested = stage.millrace(&["test", cases.to_str().unwrap()]);
    assert!(tested.code == Some(0) && tested.out.contains("2 passed"), "{tested:?}");
    let replay = stage.millrace(&["replay", "--from", "earliest", "--yes"]);
    assert!(replay.code == Some(0), "{replay:?}");
    let name = format!("{}.replay-1", stage.name);
    let same = format!("SELECT count(*) FROM millrace.record WHERE pipeline = '{name}' AND kind <> 'dead_letter'");
    assert_eq!(stage.number(&same).await, 2);

    registry.set(Behaviour { away: true, ..Behaviour::default() });
    let dry = stage.millrace(&["run", "--dry-run"]);
    assert!(dry.code == Some(1) && dry.out.contains("AWAY"), "{dry:?}");
}

const RISK: &str = r#"
event = "json"
format = "avro"
fields = { id = "id", key = "account", time = "time" }
function = "risk"
[pipeline.risk]
feature = [
  { name = "n", entity = "account", aggregate = "count", window = "1d" },
  { name = "sum", entity = "account", aggregate = "sum", field = "amount", window = "1d" },
]
"#;

/// A record of an id, an account, an amount and a time, under schema 600.
fn payment(n: i64) -> Vec<u8> {
    payment_as(600, n)
}

fn payment_as(schema: u32, n: i64) -> Vec<u8> {
    let mut value = [&[0][..], &schema.to_be_bytes()].concat();
    for text in [format!("e-{n}"), format!("a-{}", n % 3)] {
        value.push(2 * text.len() as u8);
        value.extend(text.bytes());
    }
    value.extend((n as f64).to_le_bytes());
    let mut time = 2 * (1_760_000_000_000 + n as u64 * 60_000);
    while time > 0x7f {
        value.push(time as u8 | 0x80);
        time >>= 7;
    }
    value.push(time as u8);
    value
}

/// Would catch: a fold that does not see Avro, or sees it otherwise when a score is explained or events are folded again after a claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_score_out_of_avro_is_explained() {
    let registry = Registry::start(Behaviour::default()).await;
    let text = r#"{"type":"record","name":"P","fields":[{"name":"id","type":"string"},{"name":"account","type":"string"},{"name":"amount","type":"double"},{"name":"time","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
    registry.put(600, json!({ "schema": text }));
    let stage = Stage::of(Plan { partitions: 1, sections: &registry.section(), function: RISK, ..Plan::default() }).await;
    (0..20).for_each(|n| stage.put(0, &payment(n)));
    stage.run_until(20).await;
    (20..30).for_each(|n| stage.put(0, &payment(n)));
    stage.run_until(30).await;
    let told = stage.millrace(&["explain", "--json", "--event", "e-29"]);
    assert_eq!((told.code, &told.json()["verdict"]), (Some(0), &json!("same")), "{told:?}");
    // Of account 2: 2, 5, ..., 29.
    assert_eq!(told.json()["features"], json!({ "n": 10.0, "sum": 155.0 }));
    // A fold waits for an id that is not there, so that it sees the same whenever it is asked.
    stage.put(0, &payment_as(601, 30));
    stage.put(0, &payment(31));
    let mut worker = stage.worker();
    let said = readyz(&worker, 503).await;
    assert!(said.contains("has no schema 601"), "{said}");
    assert_eq!(stage.events().await, 30);
    registry.copy(600, 601);
    stage.decided(32).await;
    readyz(&worker, 200).await;
    worker.drain();
    let told = stage.millrace(&["explain", "--json", "--event", "e-30"]);
    // Of account 0: 0, 3, ..., 30.
    assert_eq!(told.json()["features"], json!({ "n": 11.0, "sum": 165.0 }));
    stage.put(0, &payment_as(602, 32));
    stage.reconfigure("timeout_ms = 2000", "timeout_ms = 2000\nunknown_ids = [602]");
    stage.run_until(33).await;
    registry.set(Behaviour { away: true, ..Behaviour::default() });
    let told = stage.millrace(&["explain", "--json", "--event", "e-29"]);
    assert!(told.code == Some(1) && told.err.contains("the schema registry does not tell schema 600"), "{told:?}");
}
