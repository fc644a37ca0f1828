use super::*;
use crate::config::Config;
use crate::event::{Position, RawEvent};
use crate::state::{Stored, in_memory::InMemory};
use serde_json::Value;
use std::collections::BTreeMap;

const CONFIG: &str = r#"
[risk]
max_late = "1h"
entries = 4
non_negative = ["amount"]
labels = { when = "kind == 'label'", event_id = "of", value = "fraud" }
feature = [
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
  { name = "sum", entity = "card", aggregate = "sum", field = "amount", window = "1d" },
  { name = "share", entity = "card", aggregate = "share", field = "fraud", window = "1d" },
]
"#;
const HOUR: i64 = 3_600_000;

struct Log {
    states: InMemory<RiskFold>,
    offset: i64,
}

impl Log {
    fn new() -> Self {
        let config = Config::parse(CONFIG, "test.toml", &BTreeMap::new()).unwrap();
        Self { states: InMemory::new(RiskFold::new(&config.risk.unwrap())), offset: 0 }
    }

    fn add(&mut self, id: &str, hours: i64, fields: Value) -> Result<Features, Rejection> {
        let payload = Some(fields.to_string().into_bytes().into());
        let position = Position { topic: "t".into(), partition: 0, offset: self.offset };
        self.offset += 1;
        let time_ms = 1_700_000_000_000 + hours * HOUR;
        let raw = RawEvent { position, timestamp_ms: time_ms, key: None, payload, headers: vec![] };
        self.states.apply(&Event { raw, id: id.into(), key: None, event_time_ms: time_ms, text: None })
    }

    fn paid(&mut self, id: &str, hours: i64, amount: f64) -> Features {
        self.add(id, hours, json!({ "card": "A", "amount": amount })).unwrap()
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let encode = |state: &Rows| {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            bytes
        };
        self.states.all().iter().map(|(_, state)| encode(state)).collect()
    }
}

/// Would catch: a late event that is put at the end or left out, one that is too late and folded, and marks that are missing.
#[test]
fn late_events_are_put_in_their_place_up_to_the_bound() {
    let mut log = Log::new();
    log.paid("a", 10, 1.0);
    let late = log.paid("b", 9, 2.0);
    assert!(late.late && late.document.is_none() && *late.numbers == [1.0, 2.0, 0.0], "it sees what is older: {late:?}");
    assert_eq!(*log.paid("c", 10, 4.0).numbers, [3.0, 7.0, 0.0]);
    let before = log.bytes();
    let too_late = log.paid("d", 8, 8.0);
    assert!(too_late.late && too_late.document == Some(json!({ "folded": false })), "{too_late:?}");
    assert_eq!(log.bytes(), before, "it is scored and not folded");
}

/// Would catch: an event that counts twice because it was sent twice.
#[test]
fn an_event_that_comes_again_is_there_once() {
    let mut log = Log::new();
    log.paid("a", 1, 1.0);
    log.paid("b", 1, 2.0);
    let before = log.bytes();
    log.paid("a", 1, 1.0);
    assert_eq!(log.bytes(), before);
    assert_eq!(log.paid("c", 2, 4.0).numbers[..2], [3.0, 7.0]);
}

/// Would catch: a label that is seen before it stands in the log, one that marks another event, and a label for nobody that harms.
#[test]
fn a_label_counts_from_where_it_stands() {
    let mut log = Log::new();
    log.paid("a", 1, 1.0);
    assert_eq!(log.paid("b", 2, 1.0).numbers[2], 0.0);
    let label = |of: &str| json!({ "kind": "label", "of": of, "fraud": true, "card": "A" });
    let before = log.bytes();
    let unknown = log.add("l0", 2, label("nobody")).unwrap();
    assert_eq!((unknown.document, log.bytes()), (Some(json!({ "label": "unknown_id" })), before));
    assert_eq!(log.add("l1", 2, label("a")).unwrap().document, Some(json!({ "label": "marked" })));
    assert_eq!(log.paid("c", 3, 1.0).numbers[2], 1.0 / 3.0);
}

/// Would catch: numbers that are none in a sum, and a rejection that leaves half of an event behind.
#[test]
fn bad_events_are_named_and_touch_nothing() {
    let mut log = Log::new();
    log.paid("a", 1, 1.0);
    let before = log.bytes();
    for (fields, field) in [
        (json!({ "card": "A" }), "amount"),
        (json!({ "card": "A", "amount": "1" }), "amount"),
        (json!({ "card": "A", "amount": -1 }), "amount"),
        (json!({ "amount": 1 }), "card"),
        (json!({ "card": [1], "amount": 1 }), "card"),
    ] {
        let rejection = log.add("x", 2, fields.clone()).expect_err("it was folded");
        assert_eq!(rejection.field.as_deref(), Some(field), "{fields}: {rejection}");
    }
    assert_eq!(log.bytes(), before);
}

/// Would catch: a cap that is not kept or not told, states that do not read back, and equal states with unequal bytes.
#[test]
fn states_are_capped_and_read_back_as_they_were() {
    let mut log = Log::new();
    for number in 0..4 {
        assert!(!log.paid(&format!("e{number}"), number, 1.0).truncated);
    }
    let cut = log.paid("e4", 4, 1.0);
    assert!(cut.truncated && cut.numbers[0] == 4.0, "{cut:?}");
    let bytes = log.bytes();
    let mut again = Vec::new();
    Rows::decode(&bytes[0]).unwrap().encode(&mut again);
    assert_eq!(again, bytes[0]);
    assert!(Rows::decode(&bytes[0][..bytes[0].len() - 1]).is_err());
}
