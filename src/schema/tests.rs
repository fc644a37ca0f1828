//! Values that other implementations wrote (`tests/fixtures/schemas`), and bytes that nobody should have.

mod hostile;
mod protobuf;

use super::Schema;
use super::avro::Plan;
use super::protobuf::Messages;
use crate::config::{Config, EventKind, Fields, Limits, Pipeline};
use crate::event::{Decoder, Position, RawEvent, Rejection, schema_id};
use crate::schema::Reading;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::Path;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schemas")
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("golden.json")).unwrap()).unwrap()
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    STANDARD.decode(case[name].as_str().unwrap()).unwrap()
}

/// Texts of what a schema refers to, each after those that it refers to itself.
fn references(golden: &Value, stored: &Value, found: &mut Vec<(String, String)>) {
    for reference in stored["references"].as_array().into_iter().flatten() {
        let at = |name: &str| reference[name].as_str().unwrap();
        let version = &golden["subjects"][at("subject")][reference["version"].as_u64().unwrap() as usize - 1];
        references(golden, version, found);
        if found.iter().all(|(name, _)| name != at("name")) {
            found.push((at("name").to_owned(), version["schema"].as_str().unwrap().to_owned()));
        }
    }
}

fn schema(golden: &Value, id: u32) -> Schema {
    let stored = &golden["schemas"][id.to_string()];
    let mut found = Vec::new();
    references(golden, stored, &mut found);
    let text = stored["schema"].as_str().unwrap();
    match stored["schemaType"].as_str() {
        Some(_) => {
            let import = move |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone());
            Schema::Protobuf(Messages::compile(text, import).unwrap())
        }
        None => {
            let found: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
            Schema::Avro(Plan::parse(&found, text).unwrap())
        }
    }
}

/// Would catch: a type that is read otherwise than its writers write it, digits that are lost, a reference that is not found.
#[test]
fn values_of_other_implementations_are_read() {
    let golden = golden();
    let cases = ["avro", "protobuf"].map(|format| golden[format].as_array().unwrap().clone()).concat();
    assert!(cases.len() >= 8);
    for case in cases {
        let value = bytes(&case, "bytes");
        let (id, rest) = schema_id(&value).unwrap();
        let json =
            schema(&golden, id).json(rest, &Limits::default()).unwrap_or_else(|refused| panic!("{}: {refused}", case["name"]));
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), case["json"], "{}", case["name"]);
    }
}

fn pipeline(lines: &str) -> (Config, Pipeline) {
    let text = format!(
        "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'\noptions = {{ fields = ['id'] }}\n{lines}"
    );
    let mut config = Config::parse(&text, "test.toml", &Default::default()).unwrap();
    assert_eq!(config.findings(), [""; 0]);
    config.base = fixtures();
    let pipeline = config.pipeline[0].clone();
    (config, pipeline)
}

fn raw(payload: Vec<u8>) -> RawEvent {
    let position = Position { topic: "t".into(), partition: 0, offset: 5 };
    RawEvent { position, timestamp_ms: 7, key: None, payload: Some(payload.into()), headers: Vec::new() }
}

/// Would catch: a file that is read otherwise than a schema of the registry, an event whose raw bytes are gone, fields that are not found.
#[test]
fn a_file_is_enough_where_values_have_no_prefix() {
    let golden = golden();
    let order = &golden["protobuf"][0];
    let datum = &golden["avro_datum"];
    for (lines, value, wanted) in [
        ("format = 'avro'\nschema = 'payment.avsc'", bytes(datum, "bytes"), &datum["json"]),
        ("format = 'protobuf'\nschema = 'shop/order.proto'\nmessage = 'shop.Order'", bytes(order, "datum"), &order["json"]),
        ("format = 'json_schema'", bytes(&golden["json_schema"][0], "bytes"), &golden["json_schema"][0]["json"]),
    ] {
        let (config, pipeline) = pipeline(lines);
        let fields = Fields { id: Some("id".into()), ..Fields::default() };
        let decoder = Decoder::new(EventKind::Json, fields, Limits::default());
        let event = decoder.reading(Reading::of(&config, &pipeline).unwrap().body()).decode(raw(value.clone())).unwrap();
        assert_eq!(&serde_json::from_slice::<Value>(event.payload().unwrap()).unwrap(), wanted);
        assert_eq!((&*event.id, event.raw.payload.as_deref()), (wanted["id"].as_str().unwrap(), Some(&*value)));
        assert!(event.cost_bytes() >= event.raw.cost_bytes());
    }
    for (lines, said) in [
        ("format = 'avro'\nschema = 'none.avsc'", "cannot read"),
        ("format = 'avro'\nschema = 'make.py'", "not JSON at line 1"),
        ("format = 'protobuf'\nschema = 'shop/order.proto'\nmessage = 'shop.Ordr'", "it has shop.Order, shop.Tree"),
        ("format = 'protobuf'\nschema = 'payment.avsc'\nmessage = 'a.B'", "payment.avsc: "),
    ] {
        let (config, pipeline) = pipeline(lines);
        let refused = Reading::of(&config, &pipeline).map(drop).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
}

/// Would catch: an amount or a time that is none for the kinds of events.
#[test]
fn a_payment_in_avro_is_a_transaction() {
    let golden = golden();
    let (config, pipeline) = pipeline("format = 'avro'\nschema = 'payment.avsc'");
    let body = Reading::of(&config, &pipeline).unwrap().body();
    let decoder = Decoder::new(EventKind::Transaction, Fields::default(), Limits::default()).reading(body);
    let event = decoder.decode(raw(bytes(&golden["avro_datum"], "bytes"))).unwrap();
    assert_eq!((&*event.id, event.key.as_deref(), event.event_time_ms), ("p-1", Some("9007199254740993"), 1_704_067_200_123));
    let small = Decoder::new(EventKind::Transaction, Fields::default(), Limits { body_bytes: 100, ..Limits::default() });
    let (raw, refused) = small.reading(Reading::of(&config, &pipeline).unwrap().body()).decode(event.raw).unwrap_err();
    assert!(refused.code == "too_large" && raw.payload.is_some_and(|payload| payload.len() > 100), "{refused}");
}

/// Would catch: a refusal that does not say where, or that repeats what stands there.
#[test]
fn a_value_that_does_not_fit_is_refused_by_its_place() {
    let golden = golden();
    let plan = |fields: &str| Plan::parse(&[], &format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap();
    let string =
        r#"{"name":"a","type":{"type":"map","values":{"type":"record","name":"In","fields":[{"name":"b","type":"string"}]}}}"#;
    let enumeration = r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["X"]}}"#;
    let refused = |plan: &Plan, value: &[u8]| plan.json(value, &Limits::default()).unwrap_err();
    let told = |refused: &Rejection| (refused.code, refused.field.as_deref().unwrap_or("").to_owned());
    for (plan, value, code, field, said) in [
        (plan(string), &b"\x02\x0csecret\x0a"[..], "invalid_avro", "a.*.b", "5 bytes are wanted, 0 are left"),
        (plan(string), b"\x02\x0csecret\x02\xff\x00", "invalid_utf8", "a.*.b", "byte 10 of 11"),
        (plan(string), b"\x00secret", "invalid_avro", "", "6 bytes stand behind the value"),
        (plan(enumeration), b"\x02", "invalid_avro", "e", "symbol 1 of an enum that has 1"),
        (plan(enumeration), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "invalid_avro", "e", "more than 64 bits"),
    ] {
        let refused = refused(&plan, value);
        assert_eq!(told(&refused), (code, field.to_owned()), "{refused}");
        assert!(refused.detail.contains(said) && !refused.to_string().contains("secret"), "{refused}");
    }
    let Schema::Protobuf(messages) = schema(&golden, 7) else { panic!("schema 7 is Protobuf") };
    for (value, said) in [
        (&b""[..], "no number"),
        (b"\x02", "too few"),
        (b"\x02\x08", "no message stands there"),
        (b"\x02\x01", "below 0"),
        (b"\xff\xff\xff\x01", "a count that no message has"),
        (b"\x00\x0a\x05secr", "as message `shop.Order`"),
    ] {
        let refused = messages.indexed(value, &Limits::default()).unwrap_err();
        assert!(
            refused.code == "invalid_protobuf" && refused.detail.contains(said) && !refused.detail.contains("secr"),
            "{value:?}: {refused}"
        );
    }
}
