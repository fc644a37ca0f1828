//! The client of the registry by itself.

use crate::support::registry::{Behaviour, Registry};
use millrace::config::{Config, Format, Limits};
use millrace::event::{Body, Position, RawEvent};
use millrace::schema::{Registry as Client, Schemas};
use serde_json::json;
use std::path::Path;

fn schemas(section: &str) -> Schemas {
    let config = Config::parse(section, "test.toml", &Default::default()).unwrap();
    Schemas::new(Client::new(&config.schema_registry, Path::new(".")).unwrap(), Format::Avro)
}

fn raw(id: u32) -> RawEvent {
    let payload = [&[0][..], &id.to_be_bytes(), b"x"].concat();
    let position = Position { topic: "t".into(), partition: 0, offset: 0 };
    RawEvent { position, timestamp_ms: 0, key: None, payload: Some(payload.into()), headers: Vec::new() }
}

/// Would catch: an address that is wrong and makes dead letters, an answer without end, a registry whose second server is never asked.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_registry_that_says_so_has_no_schema() {
    let registry = Registry::start(Behaviour::default()).await;
    let known = |schemas: &Schemas, id| {
        let value = raw(id).payload.unwrap_or_default();
        schemas.json(&value, &Limits::default()).map(|_| ())
    };
    let wrong_path = schemas(&format!("[schema_registry]\nurl = \"{}/api\"", registry.url));
    let said = wrong_path.fetch_once(1).await.unwrap_err().to_string();
    assert!(said.contains("check the path") && wrong_path.missing(&raw(1)) == Some(1), "{said}");

    let one = schemas(&registry.section());
    registry.put(500, json!({ "schema": "\"string\"".to_owned() + &" ".repeat(5 << 20) }));
    one.fetch_once(500).await.unwrap();
    let said = known(&one, 500).unwrap_err();
    assert!(said.code == "schema_invalid" && said.detail.contains("longer than"), "{said}");
    registry.put(503, json!({ "schema": "\"string\"".to_owned() + &" ".repeat((4 << 20) - 100) }));
    one.fetch_once(503).await.unwrap();
    registry.put(501, json!({ "schema": "\"a.B\"", "references": [{ "name": "a.B", "subject": "none/such", "version": 3 }] }));
    one.fetch_once(501).await.unwrap();
    let said = known(&one, 501).unwrap_err();
    assert!(said.code == "schema_invalid" && said.detail.contains("version 3 of \"none/such\""), "{said}");
    one.fetch_once(9_999).await.unwrap();
    assert_eq!(known(&one, 9_999).unwrap_err().code, "schema_unknown");
    assert_eq!((one.missing(&raw(9_999)), one.missing(&raw(501)), one.missing(&raw(4))), (None, None, Some(4)));
    assert_eq!(registry.asked("/schemas/ids/9999"), 2, "a server that was told late may know it a moment later");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let two = schemas(&format!("[schema_registry]\nurl = \"http://{closed}, {}\"", registry.url));
    two.fetch_once(1).await.unwrap();
    assert_eq!(two.missing(&raw(1)), None);

    registry.set(Behaviour { stuck: true, ..Behaviour::default() });
    let slow = schemas(&format!("[schema_registry]\nurl = \"{}\"\ntimeout_ms = 50", registry.url));
    assert!(slow.fetch_once(1).await.is_err());
}

/// What is read of a value with this id.
fn read(schemas: &Schemas, id: u32) -> Result<String, String> {
    let value = raw(id).payload.unwrap_or_default();
    schemas.json(&value, &Limits::default()).map(|json| json.into_owned()).map_err(|refused| refused.to_string())
}

/// Would catch: a made-up id that stops a partition for good, or that is taken for a wrong address.
#[tokio::test(flavor = "multi_thread")]
async fn ids_that_no_registry_can_have_are_refused() {
    let registry = Registry::start(Behaviour::default()).await;
    let one = schemas(&registry.section());
    for id in [1 << 31, u32::MAX] {
        one.fetch_once(id).await.unwrap();
        assert!(read(&one, id).unwrap_err().contains("schema_unknown") && registry.asked(&format!("/schemas/ids/{id}")) == 0);
    }
    // One that says no more than 404 is a registry still.
    registry.set(Behaviour { terse: true, ..Behaviour::default() });
    one.fetch_once(9_999).await.unwrap();
    assert!(read(&one, 9_999).unwrap_err().contains("schema_unknown"));
    registry.set(Behaviour { status: Some(404), ..Behaviour::default() });
    assert!(one.fetch_once(9_998).await.is_err());
}

/// Would catch: ids that somebody makes up, each of which costs a second; a new schema that is a dead letter because the one before was none.
#[tokio::test(flavor = "multi_thread")]
async fn many_unknown_ids_are_looked_for_once() {
    let registry = Registry::start(Behaviour::default()).await;
    let one = schemas(&registry.section());
    let looks = |id: u32| registry.asked(&format!("/schemas/ids/{id}"));
    for id in 9_000..9_050 {
        one.fetch_once(id).await.unwrap();
    }
    assert_eq!((9_000..9_050).map(looks).collect::<Vec<_>>(), [vec![2; 3], vec![1; 47]].concat());
    one.fetch_once(1).await.unwrap();
    one.fetch_once(9_050).await.unwrap();
    assert_eq!(looks(9_050), 2);
}

/// Would catch: dead letters because one of two servers is behind, or because one is away and the other behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_behind_has_no_last_word() {
    let (behind, ahead) = (Registry::start(Behaviour::default()).await, Registry::start(Behaviour::default()).await);
    ahead.copy(3, 77);
    let both = schemas(&format!("[schema_registry]\nurl = \"{}, {}\"", behind.url, ahead.url));
    both.fetch_once(77).await.unwrap();
    assert!(!read(&both, 77).unwrap_err().contains("schema_unknown"));
    ahead.set(Behaviour { status: Some(503), ..Behaviour::default() });
    ahead.copy(3, 78);
    assert!(both.fetch_once(78).await.unwrap_err().to_string().contains("503"));
    ahead.set(Behaviour::default());
    both.fetch_once(78).await.unwrap();
    assert!(!read(&both, 78).unwrap_err().contains("schema_unknown"));
    both.fetch_once(79).await.unwrap();
    assert!(read(&both, 79).unwrap_err().contains("schema_unknown"));
}

/// Would catch: an event that a fold has not seen because the registry was asked early, and sees when it is folded again.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_fold_what_is_not_there_yet_is_waited_for() {
    let registry = Registry::start(Behaviour::default()).await;
    let one = schemas(&registry.section()).waiting(true, [5_000]);
    registry.put(501, json!({ "schema": "\"a.B\"", "references": [{ "name": "a.B", "subject": "none/such", "version": 3 }] }));
    registry.put(502, json!({ "schema": "7" }));
    for (id, said) in [(9_999, "has no schema 9999"), (501, "none/such")] {
        let away = one.fetch_once(id).await.unwrap_err().to_string();
        assert!(away.contains(said) && away.contains("unknown_ids") && one.missing(&raw(id)) == Some(id), "{away}");
    }
    // These are so for good.
    for (id, code) in [(502, "schema_invalid"), (u32::MAX, "schema_unknown"), (5_000, "schema_unknown")] {
        one.fetch_once(id).await.unwrap();
        assert!(read(&one, id).unwrap_err().contains(code));
    }
    registry.copy(1, 9_999);
    one.fetch_once(9_999).await.unwrap();
    assert_eq!(one.missing(&raw(9_999)), None);
}
