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
        Self::of(CONFIG)
    }

    fn of(config: &str) -> Self {
        let config = Config::parse(config, "test.toml", &BTreeMap::new()).unwrap();
        assert_eq!(config.findings(), [""; 0]);
        Self { states: InMemory::new(RiskFold::new(&config.risk.unwrap())), offset: 0 }
    }

    fn add(&mut self, id: &str, hours: i64, fields: Value) -> Result<Features, Rejection> {
        let payload = Some(fields.to_string().into_bytes().into());
        let position = Position { topic: "t".into(), partition: 0, offset: self.offset };
        self.offset += 1;
        let time_ms = 1_700_000_000_000 + hours * HOUR;
        let raw = RawEvent { position, timestamp_ms: time_ms, key: None, payload, headers: vec![] };
        self.states.apply(&Event { body: None, raw, id: id.into(), key: None, event_time_ms: time_ms, text: None })
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

/// Two kinds of events in one log: a payment has an amount and a shop, an application a limit and an age.
const KINDS: &str = r#"
[risk]
non_negative = ["amount", "age"]
feature = [
  { name = "limit", field = "limit", empty = nan },
  { name = "age", field = "age", empty = -1.0 },
  { name = "paid", entity = "card", aggregate = "sum", field = "amount", window = "1d", filter = "kind == 'payment'" },
  { name = "shops", entity = "card", aggregate = "distinct", field = "shop", window = "1d", filter = "kind == 'payment'" },
  { name = "last", entity = "card", aggregate = "last", field = "amount", window = "1d", filter = "kind == 'payment'", include_current = true },
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
]
"#;

/// Would catch: a field that is asked of events that no window takes it from, or not of those that one does; an empty value that hides
/// a bad one; something of another kind of event in a window.
#[test]
fn a_field_is_needed_where_it_counts() {
    let mut log = Log::of(KINDS);
    let mut add = |id: &str, fields: Value| {
        let mut event = json!({ "card": "A" });
        event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        log.add(id, 1, event).map(|features| features.numbers.to_vec())
    };
    let told = add("a", json!({ "kind": "payment", "amount": 5, "shop": "X" })).unwrap();
    assert!(told[0].is_nan() && told[1..] == [-1.0, 5.0, 1.0, 5.0, 1.0], "{told:?}");
    let asked = add("b", json!({ "kind": "application", "limit": 900, "age": 40, "amount": "no number" })).unwrap();
    assert_eq!(asked, [900.0, 40.0, 5.0, 1.0, 5.0, 2.0]);
    let unsaid = add("c", json!({ "kind": "application", "limit": null, "age": 41, "shop": 1.5 })).unwrap();
    assert!(unsaid[0].is_nan() && unsaid[1..] == [41.0, 5.0, 1.0, 5.0, 3.0], "{unsaid:?}");
    let told = add("d", json!({ "kind": "payment", "amount": 7, "shop": "Y", "limit": 1 })).unwrap();
    assert_eq!(told, [1.0, -1.0, 12.0, 2.0, 7.0, 4.0]);
    for (fields, code, field) in [
        (json!({ "kind": "payment", "shop": "X" }), "missing_field", "amount"),
        (json!({ "kind": "payment", "amount": 5 }), "missing_field", "shop"),
        (json!({ "kind": "payment", "amount": -5, "shop": "X" }), "negative", "amount"),
        (json!({ "kind": "application", "limit": "900" }), "wrong_type", "limit"),
        (json!({ "kind": "application", "age": -1 }), "negative", "age"),
    ] {
        let rejection = add("x", fields.clone()).expect_err("it was folded");
        assert_eq!((rejection.code, rejection.field.as_deref()), (code, Some(field)), "{fields}");
    }
    for bytes in log.bytes() {
        let mut again = Vec::new();
        Rows::decode(&bytes).unwrap().encode(&mut again);
        assert_eq!(again, bytes);
    }
}

/// Would catch: a change of what is folded, and a state that goes on as if nothing had changed.
#[test]
fn what_is_empty_is_part_of_the_digest() {
    let digest = |empty: &str| Log::of(&KINDS.replace(", empty = nan", empty)).states.fold().digest().to_owned();
    let all = [digest(""), digest(", empty = nan"), digest(", empty = 0.0")];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
}
