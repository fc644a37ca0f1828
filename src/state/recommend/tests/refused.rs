//! Bad input.

use super::{ALL, World};
use serde_json::json;

/// Would catch an event that is refused after something was folded, and a refusal that does not name its field.
#[test]
fn a_refused_event_names_its_field_and_touches_nothing() {
    let mut world = World::new(ALL);
    world.take(0.0, "u", "a");
    world.take(0.1, "u", "b");
    let before = world.bytes();
    let long = "x".repeat(201);
    let many: Vec<String> = (0..33).map(|number| number.to_string()).collect();
    let cases = [
        (json!({ "user": "u", "item": "a" }), "missing_field", "kind"),
        (json!({ "kind": "view", "item": "a" }), "missing_field", "user"),
        (json!({ "kind": "view", "user": "u" }), "missing_field", "item"),
        (json!({ "kind": "item" }), "missing_field", "item"),
        (json!({ "kind": "view", "user": 1.5, "item": "a" }), "wrong_type", "user"),
        (json!({ "kind": "view", "user": "u", "item": ["a"] }), "wrong_type", "item"),
        (json!({ "kind": 5, "user": "u", "item": "a" }), "wrong_type", "kind"),
        (json!({ "kind": "buy", "user": "u", "item": "a" }), "unknown_kind", "kind"),
        (json!({ "kind": "view", "user": "", "item": "a" }), "empty_name", "user"),
        (json!({ "kind": "view", "user": "u", "item": long }), "string_too_long", "item"),
        (json!({ "kind": "view", "user": "u\u{0}", "item": "a" }), "nul_character", "user"),
        (json!({ "kind": "view", "user": "u", "item": "a", "categories": many }), "too_many", "categories"),
        (json!({ "kind": "view", "user": "u", "item": "a", "categories": [true] }), "wrong_type", "categories"),
        (json!({ "kind": "item", "item": "a", "ttl_s": -1 }), "not_positive", "ttl_s"),
        (json!({ "kind": "item", "item": "a", "hidden": "yes" }), "wrong_type", "hidden"),
        (json!({ "kind": "item", "item": "a", "vector": [1, 2, 3] }), "missing_field", "model"),
        (json!({ "kind": "item", "item": "a", "vector": [1, 2], "model": "m@1" }), "wrong_dimension", "vector"),
        (json!({ "kind": "item", "item": "a", "vector": [0, 0, 0], "model": "m@1" }), "not_finite", "vector"),
        (json!({ "kind": "item", "item": "a", "vector": [1e200, 0, 0], "model": "m@1" }), "not_finite", "vector"),
        (json!({ "kind": "item", "item": "a", "vector": [1, "x", 0], "model": "m@1" }), "wrong_type", "vector"),
    ];
    for (payload, code, field) in cases {
        let rejection = world.send(1.0, payload.clone()).unwrap_err();
        assert_eq!((rejection.code, rejection.field.as_deref()), (code, Some(field)), "{payload}");
        assert_eq!(world.bytes(), before, "{payload}");
    }
    for hours in [-1e7, 1e7] {
        let rejection = world.send(hours, json!({ "kind": "view", "user": "u", "item": "a" })).unwrap_err();
        assert_eq!((rejection.code, rejection.field.as_deref()), ("time_out_of_range", Some("time")));
    }
    assert_eq!(world.send(1.0, json!([1])).unwrap_err().code, "not_an_object");
    assert_eq!(world.bytes(), before);
}

/// Would catch: a path that is read from the wrong place, a vector taken without its model, a refusal that names another field.
#[test]
fn an_event_that_was_passed_on_is_read_where_it_stands() {
    let settings = ALL.replace("model = \"m@1\",", "model = \"m@1\", vector = \"out.embedding\", vector_model = \"model\",");
    let mut world = World::new(&format!("at = \"event\"\n{settings}"));
    let told =
        |event: serde_json::Value, model: &str| json!({ "model": model, "event": event, "out": { "embedding": [0, 2, 0] } });
    world.send(0.0, told(json!({ "kind": "item", "item": "a", "model": "car" }), "m@1")).unwrap();
    world.send(0.0, told(json!({ "kind": "item", "item": "b" }), "m@2")).unwrap();
    world.send(0.1, json!({ "event": { "kind": "view", "user": "u", "item": "a" }, "kind": "hide", "user": "v" })).unwrap();
    world.send(0.2, json!({ "event": { "kind": "view", "user": "u", "item": "b" } })).unwrap();
    let answer = world.send(0.3, json!({ "event": { "kind": "request", "user": "u" } })).unwrap().document.unwrap();
    assert_eq!((&answer["interest"]["vector"], &answer["interest"]["support"]), (&json!([0.0, 1.0, 0.0]), &json!(1)));
    assert_eq!(answer["history"][1]["item"], json!("a"));
    for (payload, field) in [
        (json!({ "kind": "view", "user": "u", "item": "a" }), "event"),
        (json!({ "event": null }), "event"),
        (json!({ "event": { "kind": "view", "item": "a" } }), "event.user"),
        (json!({ "event": { "kind": "item", "item": "a" }, "out": { "embedding": [0, 2, 0] } }), "model"),
        (json!({ "event": { "kind": "item", "item": "a" }, "out": { "embedding": 5 }, "model": "m@1" }), "out.embedding"),
        (json!({ "event": { "kind": "item", "item": "a" }, "out": { "embedding": [1] }, "model": "m@1" }), "out.embedding"),
    ] {
        let rejection = world.send(1.0, payload.clone()).unwrap_err();
        assert_eq!(rejection.field.as_deref(), Some(field), "{payload}: {rejection}");
    }
}
