//! The schemas of answers, by the function's name. A test holds each against what the function answers.

use serde_json::{Value, json};

/// One output of a function; an object of any fields where nothing is known of it.
pub fn output(function: &str) -> Value {
    let (mut needed, optional) = match function {
        "answer" => (
            json!({ "answer": maybe("string"), "answers": list(found()), "windows": count() }),
            json!({ "score": number(), "start": count(), "end": count() }),
        ),
        "classify" => (
            json!({ "label": maybe("string"), "score": maybe("number"), "labels": list(label()), "windows": count() }),
            json!({ "scores": numbers_by_name(), "reason": text() }),
        ),
        "embed" => (json!({ "embedding": list(number()), "dimensions": count() }), json!({ "windows": count() })),
        "fill" => (json!({ "fills": fills() }), json!({})),
        "generate" => (
            json!({
                "generated_text": text(), "finish_reason": text(), "generated_tokens": count(), "prompt_tokens": count(),
                "seed": count(), "truncated": truth(),
            }),
            json!({
                "label": text(), "value": {}, "tokens": list(json!({ "type": "object" })), "score": number(),
                "answers": list(json!({ "type": "object" })),
            }),
        ),
        "reply" => (
            json!({ "suggestions": list(suggestion()), "bank": text() }),
            json!({
                "reason": text(), "intent": label(), "sentiment": label(), "intent_model": text(), "sentiment_model": text(),
                "windows": count(),
            }),
        ),
        "rerank" => (
            json!({ "ranks": list(object(&json!({ "index": count(), "score": number() }), &json!({ "text": text() }))) }),
            json!({ "windows": count() }),
        ),
        "sentiment" => (
            json!({ "label": maybe("string"), "score": maybe("number"), "scores": numbers_by_name() }),
            json!({ "labels": list(label()), "reason": text(), "windows": count() }),
        ),
        "similar" => (json!({ "scores": list(number()) }), json!({ "windows": count() })),
        "summarize" => (
            json!({ "summary_text": text() }),
            json!({ "sentences": list(sentence()), "generated_tokens": count(), "finish_reason": text(), "windows": count() }),
        ),
        "tag" => (json!({ "entities": list(entity()), "windows": count() }), json!({})),
        "translate" => (
            json!({ "translation_text": text(), "generated_tokens": count(), "finish_reason": text(), "windows": count() }),
            json!({}),
        ),
        _ => return json!({ "type": "object" }),
    };
    if function != "generate" {
        needed["tokens"] = count();
        needed["truncated"] = truth();
    }
    let mut output = object(&needed, &optional);
    // With `pass_event` the event itself is part of it.
    output["properties"]["event"] = json!({ "type": "object" });
    output
}

/// The bare answer to one input.
pub fn bare(function: &str) -> Value {
    let part = |name: &str| output(function)["properties"][name].clone();
    match function {
        "answer" => part("answers"),
        "classify" => part("labels"),
        "embed" => part("embedding"),
        "fill" => part("fills"),
        "generate" => {
            let one = object(&json!({ "generated_text": text() }), &json!({ "details": { "type": "object" } }));
            json!({ "anyOf": [one, list(one.clone())] })
        }
        "reply" => part("suggestions"),
        "rerank" => part("ranks"),
        "sentiment" => list(label()),
        "similar" => part("scores"),
        "summarize" => object(&json!({ "summary_text": text() }), &json!({})),
        "tag" => part("entities"),
        "translate" => object(&json!({ "translation_text": text() }), &json!({})),
        _ => output(function),
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn numbers_by_name() -> Value {
    json!({ "type": "object", "additionalProperties": number() })
}

/// An object with these fields and no others.
fn object(needed: &Value, optional: &Value) -> Value {
    let mut properties = needed.clone();
    let names: Vec<&String> = needed.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    for (name, schema) in optional.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

fn label() -> Value {
    object(&json!({ "label": text(), "score": number() }), &json!({}))
}

fn found() -> Value {
    object(&json!({ "answer": text(), "score": number(), "start": count(), "end": count() }), &json!({}))
}

fn sentence() -> Value {
    object(&json!({ "text": text(), "start": count(), "end": count(), "score": number() }), &json!({}))
}

fn entity() -> Value {
    let needed = json!({ "score": number(), "word": text(), "start": count(), "end": count() });
    object(&needed, &json!({ "entity": text(), "entity_group": text(), "index": count() }))
}

fn suggestion() -> Value {
    let needed = json!({ "text": text(), "score": number(), "source": text() });
    object(&needed, &json!({ "intent": text(), "tags": list(text()) }))
}

/// Words for the only mask, or for each of several.
fn fills() -> Value {
    let one = object(&json!({ "sequence": text(), "score": number(), "token": count(), "token_str": text() }), &json!({}));
    list(json!({ "anyOf": [one, list(one.clone())] }))
}
