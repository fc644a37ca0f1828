//! Output that is held to labels or to a schema, out of a network of noise.

use super::*;

/// Would catch: an output that is no label, a label that cannot come, one that begins another and is never ended.
#[test]
fn labels_alone_come_out() {
    let vocabulary = vocabulary();
    let names = ["yes", "no", "not", "don't know", "中文"];
    let tokens = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), vocabulary.plain(n, true).unwrap())).collect::<Vec<_>>();
    let labels = Arc::new(Labels::new(tokens(&names), true).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let penalised = Sampling { repetition_penalty: 5.0, no_repeat_ngram_size: 1, ..(*hot()).clone() };
        let sampler = Sampler::new(Arc::new(penalised), Arc::clone(&vocabulary), seed, labels.longest() + 1);
        let trace = run(sampler.guide(Box::new(LabelGuide::new(Arc::clone(&labels)))), &[5, 6], seed);
        assert_eq!((trace.finish, trace.value.as_deref()), (Finish::End, Some(trace.text.as_str())));
        assert!(names.contains(&trace.text.as_str()), "{trace:?}");
        seen.insert(trace.text);
    }
    assert_eq!(seen.len(), names.len(), "{seen:?}");
    assert!(Labels::new(tokens(&["no", "not"]), false).unwrap_err().contains("\"no\""));
    assert!(Labels::new(tokens(&["no", "no"]), true).unwrap_err().contains("the same"));
    assert!(Labels::new(vec![], true).is_err());
}

fn valid(schema: &Value, value: &Value) -> bool {
    if let Some(all) = schema["enum"].as_array() {
        return all.contains(value);
    }
    let within = |count: usize, min: &str, max: &str| {
        schema[min].as_u64().is_none_or(|min| count as u64 >= min) && schema[max].as_u64().is_none_or(|max| count as u64 <= max)
    };
    match schema["type"].as_str().unwrap_or_default() {
        "object" => {
            let Some(fields) = value.as_object() else { return false };
            match &schema["additionalProperties"] {
                Value::Bool(true) => return depth(value) <= 8,
                of @ Value::Object(_) => return fields.values().all(|value| valid(of, value)),
                _ => {}
            }
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                && fields.iter().all(|(name, value)| valid(&schema["properties"][name], value))
        }
        "array" => value
            .as_array()
            .is_some_and(|all| within(all.len(), "minItems", "maxItems") && all.iter().all(|one| valid(&schema["items"], one))),
        "string" => value.as_str().is_some_and(|text| within(text.chars().count(), "minLength", "maxLength")),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => schema["const"] == *value,
    }
}

/// Objects and lists in one another.
fn depth(value: &Value) -> usize {
    let inner = |deepest: Option<usize>| 1 + deepest.unwrap_or(0);
    match value {
        Value::Array(all) => inner(all.iter().map(depth).max()),
        Value::Object(fields) => inner(fields.values().map(depth).max()),
        _ => 0,
    }
}

/// Would catch: an output that does not parse or does not validate, whatever the network says and however few tokens are allowed.
#[test]
fn json_always_parses_and_validates() {
    let (text, integer) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let schemas = [
        text.clone(),
        integer.clone(),
        json!({ "type": "number" }),
        json!({ "type": "boolean" }),
        json!({ "enum": ["a", "ab", 1, 12, null, {"x": [1]}] }),
        json!({ "const": "only" }),
        json!({ "type": "string", "minLength": 3, "maxLength": 5 }),
        json!({ "type": "array", "items": integer, "minItems": 2, "maxItems": 4 }),
        json!({ "type": "array", "items": { "type": "array", "items": { "type": "null" } } }),
        json!({ "type": "object" }),
        json!({ "type": "object", "additionalProperties": true }),
        json!({ "type": "object", "additionalProperties": { "type": "object", "additionalProperties": integer } }),
        json!({ "type": "array", "items": { "type": "object", "additionalProperties": true }, "minItems": 2 }),
        json!({
            "type": "object", "additionalProperties": false, "required": ["urgency", "name"],
            "properties": {
                "name": text, "named": { "type": "number" }, "na\"me": { "type": "boolean" }, "urgency": { "enum": ["low", "lower", "high"] },
                "tags": { "type": "array", "items": { "type": "string", "maxLength": 4 }, "minItems": 1 },
                "deep": { "type": "object", "properties": { "n": integer, "x": { "type": "null" } }, "required": ["x"] },
            },
        }),
    ];
    let vocabulary = vocabulary();
    for schema in &schemas {
        let tokens = Arc::new(JsonTokens::new(Schema::parse(schema).unwrap(), &vocabulary).unwrap());
        for seed in 0..24 {
            let max = tokens.least() + [0, 1, 7, 40, 200][seed as usize % 5];
            let sampler = Sampler::new(hot(), Arc::clone(&vocabulary), seed, max.max(1));
            let trace = run(sampler.guide(Box::new(JsonGuide::new(Arc::clone(&tokens), Arc::clone(&vocabulary)))), &[5], seed);
            let parsed: Value =
                serde_json::from_str(&trace.text).unwrap_or_else(|error| panic!("{schema}: {error}: {:?}", trace.text));
            assert!(valid(schema, &parsed), "{schema}: {parsed}");
            assert!(trace.tokens.len() <= max.max(1), "{schema}: {} of {max}", trace.tokens.len());
        }
    }
}

#[test]
fn a_schema_that_cannot_be_held_is_refused() {
    for (schema, words) in [
        (json!("string"), "a schema is an object"),
        (json!({}), "neither `type`"),
        (json!({ "type": "date" }), "`date`"),
        (json!({ "type": ["string", "null"] }), "neither `type`"),
        (json!({ "type": "string", "pattern": "a+" }), "`pattern`"),
        (json!({ "type": "array" }), "`items`"),
        (json!({ "enum": [] }), "empty"),
        (json!({ "type": "string", "minLength": 5, "maxLength": 2 }), "below"),
        (json!({ "type": "string", "minLength": 4_000_000_000u64 }), "whole number"),
        // More bytes than a count of 32 bits can say.
        (
            json!({ "type": "array", "minItems": 100_000, "items": { "type": "string", "minLength": 90_000 } }),
            "its shortest value has",
        ),
        (json!({ "type": "object", "required": ["a"] }), "\"a\""),
        (json!({ "type": "object", "additionalProperties": 1 }), "true, false or a schema"),
        (json!({ "type": "object", "additionalProperties": { "type": "date" } }), "schema.*: there is no type"),
        (
            json!({ "type": "object", "properties": { "a": { "type": "integer", "minimum": 1 } } }),
            "schema.a: the keyword `minimum`",
        ),
    ] {
        let error = Schema::parse(&schema).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let mut deep = json!({ "type": "null" });
    (0..100).for_each(|_| deep = json!({ "type": "array", "items": deep }));
    assert!(Schema::parse(&deep).unwrap_err().contains("nested"));
}

/// Takes the bytes of an output one by one, as tokens would come.
fn takes(schema: &Value, text: &str) -> bool {
    let vocabulary = vocabulary();
    let tokens = Arc::new(JsonTokens::new(Schema::parse(schema).unwrap(), &vocabulary).unwrap());
    let mut guide = JsonGuide::new(tokens, Arc::clone(&vocabulary));
    let of =
        |byte: u8| (0..vocabulary.size() as u32).find(|id| vocabulary.bytes(*id).is_some_and(|bytes| *bytes == [byte])).unwrap();
    for byte in text.bytes() {
        let (id, mut logits) = (of(byte), vec![0.0; vocabulary.size()]);
        guide.mask(&mut logits, 10_000);
        if logits[id as usize] == f32::NEG_INFINITY {
            return false;
        }
        guide.advance(id);
    }
    guide.may_end()
}

/// Would catch: a value of some kind that cannot come in an object of any shape, one that is no JSON and can, a nesting without an end.
#[test]
fn an_object_of_any_shape() {
    let open = json!({ "type": "object", "additionalProperties": true });
    let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels - 1) + "{", "}".repeat(levels));
    let listed = |levels: usize| format!("{{\"a\": {}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    for text in [
        "{}",
        "{\"a\":1}",
        "{\"a\": [], \"b\": {}}",
        "{\"a\":\"\",\"\\\"\":[null,true,false,-0.5,\"x\",[1, {\"中\":2}]]}",
        &nested(8),
        &listed(8),
    ] {
        assert!(takes(&open, text), "{text}");
        assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
    }
    for text in [
        "[]",
        "1",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"\":1}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":1}}",
        "{\"a\":nul}",
        &nested(9),
        &listed(9),
    ] {
        assert!(!takes(&open, text), "{text}");
    }
    let scores = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    assert!(takes(&scores, "{\"a\":1, \"b\":2}") && !takes(&scores, "{\"a\":true}"));
}
