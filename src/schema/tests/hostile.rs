//! Bytes and schemas that are made to take all memory, all time or the stack.

use super::{Messages, Plan, Schema, bytes, golden, schema};
use crate::config::Limits;
use crate::event::schema_id;
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, Value};
use std::sync::LazyLock;

fn small() -> Limits {
    Limits { body_bytes: 10_000, depth: 32, string_bytes: 1_000 }
}

/// A zigzag number of ten bytes: the largest there is.
const LARGE: &[u8] = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";

/// Would catch: memory or time by what a length or a count claims, a recursion that ends with the stack.
#[test]
fn claims_of_a_value_cost_nothing() {
    let recursive = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R"]}]}"#;
    let endless = r#"{"type":"record","name":"R","fields":[{"name":"next","type":"R"}]}"#;
    let nested = r#"{"type":"record","name":"R","fields":[{"name":"all","type":{"type":"array","items":"R"}}]}"#;
    for (text, value, code) in [
        (r#""bytes""#, LARGE.to_vec(), "invalid_avro"),
        (r#""string""#, LARGE.to_vec(), "invalid_avro"),
        (r#"{"type":"array","items":"null"}"#, LARGE.to_vec(), "too_large"),
        (r#"{"type":"array","items":{"type":"record","name":"E","fields":[]}}"#, LARGE.to_vec(), "too_large"),
        (r#"{"type":"map","values":"null"}"#, LARGE.to_vec(), "invalid_avro"),
        (r#"{"type":"fixed","name":"F","size":18446744073709551615}"#, b"\0".to_vec(), "invalid_avro"),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
            [&b"\x90\x4e"[..], &[7; 5_000]].concat(),
            "invalid_avro",
        ),
        (recursive, vec![2; 9_000], "too_deep"),
        (endless, Vec::new(), "too_deep"),
        (nested, vec![2; 9_000], "too_deep"),
    ] {
        let refused = Plan::parse(&[], text).unwrap().json(&value, &small()).unwrap_err();
        assert_eq!(refused.code, code, "{text}: {refused}");
    }
    // So many blocks of so many nothings, each a byte: no more work than bytes and the limit allow.
    let blocks = [b"\x80\x80\x01".repeat(1_000), vec![0]].concat();
    let refused = Plan::parse(&[], r#"{"type":"array","items":"null"}"#).unwrap().json(&blocks, &small()).unwrap_err();
    assert_eq!(refused.code, "too_large");
}

/// Would catch: an `Any` in an `Any` that is unpacked until the stack is gone, groups and messages without end, JSON without bounds.
#[test]
fn messages_in_messages_end() {
    let golden = golden();
    let Schema::Protobuf(messages) = schema(&golden, 7) else { panic!("schema 7 is Protobuf") };
    let json = |name: &str, value: &[u8], limits: &Limits| messages.named(name, value, limits);
    let tree = (0..5_000).fold(Vec::new(), |inner, _| {
        let mut outer = vec![0x12];
        prost_reflect::prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        [outer, inner].concat()
    });
    assert_eq!(json("shop.Tree", &tree, &Limits::default()).unwrap_err().code, "invalid_protobuf");
    let pool = Messages::compile(
        "syntax = \"proto3\"; import \"google/protobuf/any.proto\"; message In { google.protobuf.Any any = 1; }",
        |_| None,
    )
    .unwrap();
    let any = pool.pool.get_message_by_name("google.protobuf.Any").unwrap();
    let packed = |times: usize| {
        (0..times).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut outer = DynamicMessage::new(any.clone());
            outer.set_field_by_name("type_url", Value::String("x/google.protobuf.Any".into()));
            outer.set_field_by_name("value", Value::Bytes(inner.into()));
            outer.encode_to_vec()
        })
    };
    for times in [50, 20_000] {
        let refused = pool.named("google.protobuf.Any", &packed(times), &Limits { depth: 10, ..Limits::default() }).unwrap_err();
        assert_eq!(refused.code, "too_deep", "{times}");
    }
    let many = Limits { body_bytes: 5_000, ..Limits::default() };
    assert_eq!(json("shop.Order", &[0xaa, 0x01, 0].repeat(3_000), &many).map(|json| json.len() < 5_000), Ok(true));
    assert_eq!(json("shop.Order", &[0x4a, 0].repeat(3_000), &many).unwrap_err().code, "too_large");
    assert_eq!(json("shop.Order", &[0x4b; 9_000], &Limits::default()).unwrap_err().code, "invalid_protobuf");
}

/// Would catch: a schema that ends the process that reads it.
#[test]
fn schemas_that_nest_without_end_are_refused() {
    let array = |times: usize| format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(times), "}".repeat(times));
    assert!(Plan::parse(&[], &array(50)).is_ok());
    for text in [
        array(100_000),
        "[".repeat(100_000),
        "{".repeat(100_000),
        "\"none.There\"".into(),
        "7".into(),
        r#"{"type":"record"}"#.into(),
    ] {
        assert!(Plan::parse(&[], &text).is_err());
    }
    let several = format!("[{}]", vec![r#""int""#; 50_000].join(","));
    assert!(Plan::parse(&[], &several).unwrap_err().contains("more than 20000 types"));
    let message = |times: usize| format!("syntax = \"proto3\";{}{}", "message A {".repeat(times), "}".repeat(times));
    assert!(Messages::compile(&message(20), |_| None).is_ok());
    for text in [
        message(100_000),
        "syntax = \"proto3\"; option a = ".to_owned() + &"{a:".repeat(100_000),
        "import \"x\";".into(),
        "{".repeat(100_000),
    ] {
        assert!(Messages::compile(&text, |_| None).is_err());
    }
    // A file that imports itself, and one that imports another without end.
    assert!(Messages::compile("import \"a\";", |_| Some("import \"a\";".into())).is_err());
    assert!(Messages::compile("import \"a1\";", |name| Some(format!("import \"{name}1\";"))).is_err());
}

/// A file with an option that is this message, which holds itself.
fn option(value: &str) -> String {
    "syntax = \"proto3\"; import \"google/protobuf/descriptor.proto\"; message M { M a = 1; string s = 2; } \
     extend google.protobuf.FileOptions { M m = 50000; } option (m) = "
        .to_owned()
        + value
}

/// Would catch: a closing bracket in a string or a comment that hides how deep the rest is, which takes the stack and the process; a schema
/// that is refused for what its comments say.
#[test]
fn brackets_in_strings_and_comments_hide_and_harm_nothing() {
    let compiled = |text: &str| Messages::compile(text, |_| None).map(drop);
    let nested = |open: &str, times: usize| option(&format!("{{ {} {} }};", open.repeat(times), "}".repeat(times)));
    assert_eq!(compiled(&nested("a { s: \"}\"", 50)), Ok(()));
    for open in ["a { s: \"}\"", "a { # }\n", "a { /* } */", "a { s: '\\'}'"] {
        let refused = compiled(&nested(open, 100_000)).unwrap_err();
        assert!(refused.contains("brackets are open") && refused.contains("millrace-main.proto"), "{refused}");
    }
    let comments = "// a < b\n/* { */\n".repeat(500);
    assert_eq!(compiled(&format!("syntax = \"proto3\";\n{comments}message A {{ string s = 1; }}\n{comments}")), Ok(()));
}

/// Values that are good, and their schemas.
static GOOD: LazyLock<Vec<(Schema, Vec<u8>)>> = LazyLock::new(|| {
    let golden = golden();
    let cases = ["avro", "protobuf"].into_iter().flat_map(|format| golden[format].as_array().cloned().unwrap_or_default());
    let read = cases.map(|case| {
        let value = bytes(&case, "bytes");
        let (id, rest) = schema_id(&value).unwrap();
        (schema(&golden, id), rest.to_vec())
    });
    read.collect()
});

proptest! {
    #[test]
    fn no_bytes_panic(noise: Vec<u8>, cut in 0usize..400, flips in proptest::collection::vec((0usize..400, any::<u8>()), 0..4)) {
        for (schema, rest) in GOOD.iter() {
            let mut broken = rest.to_vec();
            for (at, with) in &flips {
                if let Some(byte) = broken.get_mut(*at) {
                    *byte ^= with;
                }
            }
            broken.truncate(cut);
            for value in [&broken, &noise] {
                if let Ok(json) = schema.json(value, &small()) {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
                }
            }
        }
    }
}
