//! What is particular to Protobuf.

use super::Messages;
use crate::config::Limits;

fn messages(text: &str) -> Messages {
    Messages::compile(&format!("syntax = \"proto3\"; {text}"), |_| None).unwrap()
}

/// A text of so many bytes under a field's number.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// Would catch: a message that is read as its neighbour because a map stands before it.
#[test]
fn maps_take_no_place_among_messages() {
    let all = messages(
        "message Out { map<string, string> m = 1; message A { string a = 1; } map<string, A> n = 2; \
         message B { string b = 1; map<string, string> o = 2; message C { string c = 1; } } }",
    );
    let value = field(1, b"x");
    let read = |places: &[u8]| all.indexed(&[places, &value].concat(), &Limits::default());
    // Counts and places are in zigzag: 2 is one place, 4 two of them.
    assert_eq!(read(&[4, 0, 0]).unwrap(), r#"{"a":"x"}"#);
    assert_eq!(read(&[4, 0, 2]).unwrap(), r#"{"b":"x","o":{}}"#);
    assert_eq!(read(&[6, 0, 2, 0]).unwrap(), r#"{"c":"x"}"#);
    // Where the text has no such message, the entries of maps are counted: B by writers that do so.
    assert_eq!(read(&[4, 0, 6]).unwrap(), r#"{"b":"x","o":{}}"#);
    for nothing in [&[4, 0, 4][..], &[4, 0, 8], &[6, 0, 0, 0], &[2, 2]] {
        assert_eq!(read(nothing).unwrap_err().code, "invalid_protobuf", "{nothing:?}");
    }
}

/// Would catch: an event that is lost to an `Any` that nobody can unpack, one whose bytes are lost.
#[test]
fn an_any_that_cannot_be_unpacked_keeps_its_bytes() {
    let all =
        messages("import \"google/protobuf/any.proto\"; message In { google.protobuf.Any any = 1; message A { string a = 1; } }");
    let read = |any: &[u8]| all.named("In", &field(1, any), &Limits::default()).unwrap();
    let any = |kind: &str, bytes: &[u8]| [field(1, kind.as_bytes()), field(2, bytes)].concat();
    assert_eq!(read(b""), r#"{"any":{}}"#);
    assert_eq!(read(&any("x/In.A", &field(1, b"y"))), r#"{"any":{"@type":"x/In.A","a":"y"}}"#);
    assert_eq!(read(&any("x/no.Such", b"\x00\xff\x10")), r#"{"any":{"@type":"x/no.Such","value":"AP8Q"}}"#);
    assert_eq!(read(&any("x/In.A", b"\xff")), r#"{"any":{"@type":"x/In.A","value":"/w=="}}"#);
    assert_eq!(read(&any("", b"\xff")), r#"{"any":{"@type":"","value":"/w=="}}"#);
    let empty = any("x/google.protobuf.Any", b"");
    assert_eq!(read(&empty), r#"{"any":{"@type":"x/google.protobuf.Any","value":{}}}"#);
}

/// Would catch: the same event that is other bytes, and so another digest, each time it is read.
#[test]
fn the_same_value_is_the_same_text_each_time() {
    let all = messages(
        "import \"google/protobuf/struct.proto\"; message In { map<sint32, string> m = 1; google.protobuf.Struct s = 2; }",
    );
    let entries: Vec<u8> = (0..50u8).flat_map(|key| field(1, &[&[8, key][..], &field(2, b"v")].concat())).collect();
    let keys: Vec<String> = (-25..25).map(|key| format!("\"{key}\":\"v\"")).collect();
    for _ in 0..20 {
        let json = all.named("In", &entries, &Limits::default()).unwrap();
        assert_eq!(json, format!("{{\"m\":{{{}}}}}", keys.join(",")));
    }
}

/// Would catch: types that writers take for granted and a registry has not.
#[test]
fn common_types_are_at_hand() {
    let all = messages(
        "import \"google/type/money.proto\"; import \"google/type/dayofweek.proto\"; import \"confluent/type/decimal.proto\"; \
         message In { google.type.Money price = 1; google.type.DayOfWeek day = 2; }",
    );
    let value = [field(1, &[&field(1, b"EUR")[..], &[16, 7]].concat()), vec![16, 2]].concat();
    assert_eq!(
        all.named("In", &value, &Limits::default()).unwrap(),
        r#"{"price":{"currencyCode":"EUR","units":7,"nanos":0},"day":"TUESDAY"}"#
    );
}
