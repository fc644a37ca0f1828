//! Banks of replies: every form, and what is wrong with one.

use super::refused;
use crate::function::reply;
use serde_json::json;

/// Would catch: a bank that is taken though its replies cannot be sent, and an error that does not say where.
#[test]
fn bad_banks_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bank = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        refused(json!({ "bank": path }))
    };
    for (name, text, named) in [
        ("a.jsonl", "", "there is no reply"),
        ("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 7}", "line 3: invalid type"),
        ("a.jsonl", "{\"text\": \"a\", \"intents\": \"x\"}", "line 1: unknown field `intents`"),
        ("a.jsonl", "{\"id\": \"a\"}", "line 1: missing field `text`"),
        ("a.jsonl", "{\"text\": \" \"}", "reply 1: `text` is empty"),
        ("a.jsonl", "{\"text\": \"a\", \"when\": [\"\"]}", "reply 1: `when` is empty"),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"id\": \"x\"}\n{\"text\": \"b\", \"id\": \" x\"}",
            "replies 1 and 2 have the same id \"x\"",
        ),
        ("a.jsonl", "{\"text\": \"a\", \"id\": \"2\"}\n{\"text\": \"b\"}", "same id \"2\""),
        ("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \" a\"}", "replies 1 and 3 have the same text"),
        ("a.jsonl", "{\"text\": \"a\\u0000\"}", "U+0000"),
        ("a.jsonl", "{\"text\": \"Hi {name\"}", "reply 1: `text`: \"{name\" begins no placeholder"),
        ("a.csv", "text,intents\na,b\n", "there is no column \"intents\"; known: text, id, intent, tags, when"),
        ("a.csv", "id,intent\na,b\n", "no column \"text\""),
        ("a.csv", "text,text\na,b\n", "stands there twice"),
        ("a.csv", "text,id\na\n", "found record with 1 fields"),
        ("a.tsv", "text\n\t\n", "found record with 2 fields"),
        ("a.csv", "text\n", "there is no reply"),
        ("a.txt", "a", "ends in .jsonl, .csv or .tsv"),
    ] {
        let error = bank(name, text.as_bytes());
        assert!(error.starts_with("reply: option `bank`: ") && error.contains(name) && error.contains(named), "{text}: {error}");
    }
    assert!(bank("a.jsonl", b"{\"text\": \"\xff\"}").contains("not UTF-8"));
    assert!(bank("a.jsonl", "{\"text\": \"a\"}\n".repeat(10_001).as_bytes()).contains("10001 replies; a bank has 10000 at most"));
    assert!(bank("a.jsonl", json!({ "text": "a".repeat(5_001) }).to_string().as_bytes()).contains("5001 characters"));
    let large = folder.path().join("large.csv");
    std::fs::File::create(&large).unwrap().set_len((32 << 20) + 1).unwrap();
    for (wrong, named) in [
        (json!({ "bank": large }), "33554433 bytes; a bank has 33554432 at most"),
        (json!({ "bank": "no/such/bank.csv" }), "cannot be read"),
        (json!({}), "it needs approved replies"),
        (json!({ "bank": "a.csv", "replies": ["a"] }), "give one of them"),
        (json!({ "replies": [] }), "option `replies`: there is no reply"),
        (json!({ "replies": [{ "text": "a", "wen": [] }] }), "no other field"),
        (json!({ "replies": ["a"], "top_k": 0 }), "`top_k`"),
        (json!({ "replies": ["a"], "min_score": 2 }), "`min_score`"),
        (json!({ "replies": ["a"], "diversity": -0.1 }), "`diversity`"),
        (json!({ "replies": ["a"], "intent_bonus": 2 }), "`intent_bonus`"),
        (json!({ "replies": ["a"], "context_words": 101 }), "`context_words`"),
        (json!({ "replies": ["a"], "rewrite_top": 11 }), "`rewrite_top`"),
        (json!({ "replies": ["a"], "rewrite_temperature": -1 }), "`rewrite_temperature`"),
        (json!({ "replies": ["a"], "rewrite_instruction": "x" }), "`rewrite_instruction` needs `rewrite_model`"),
        (json!({ "replies": ["a"], "rewrite_model": "no-such-model" }), "`rewrite_model`: there is no model `no-such-model`"),
        (json!({ "replies": ["Hi {name}"], "fill": { "nam": "a" } }), "no reply has the placeholder {nam}; the bank has name"),
        (json!({ "replies": ["Hi {name}"], "fill": { "name": "a..b" } }), "is no path"),
    ] {
        let error = refused(wrong);
        assert!(error.starts_with("reply: ") && error.contains(named), "{error}");
    }
}

/// Would catch: a table that is read otherwise than lines are.
#[test]
fn banks_are_the_same_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        reply::entries(&path).unwrap()
    };
    let lines = write(
        "a.jsonl",
        "{\"text\":\"Yes, \\\"now\\\".\",\"id\":\"y\",\"intent\":\"i\",\"tags\":[\"a\"],\"when\":[\"b\",\"c\"]}\n\n{\"text\":\"No.\"}\n",
    );
    assert_eq!((lines.len(), lines[1].id.as_deref()), (2, Some("2")));
    assert_eq!(write("a.CSV", "\u{feff}text,id,intent,tags,when\n\"Yes, \"\"now\"\".\",y,i,a,b | c\nNo.,,,,\n"), lines);
    assert_eq!(write("a.tsv", "when\ttext\ttags\tid\tintent\nb|c\tYes, \"now\".\ta\ty\ti\n\tNo.\t\t\t\n"), lines);
}
