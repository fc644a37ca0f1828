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
    assert!(one.fetch_once(500).await.unwrap_err().to_string().contains("longer than"));
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
