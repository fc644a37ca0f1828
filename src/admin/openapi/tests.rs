//! The document against the rules of OpenAPI 3.1 that a client trips over.

use super::document;
use crate::admin::server::tests::document as function;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every `$ref` in a tree.
fn references(of: &Value, found: &mut Vec<String>) {
    match of {
        Value::Object(all) => {
            found.extend(all.get("$ref").and_then(Value::as_str).map(str::to_owned));
            all.values().for_each(|one| references(one, found));
        }
        Value::Array(all) => all.iter().for_each(|one| references(one, found)),
        _ => {}
    }
}

/// Would catch: a reference that leads nowhere, two operations of one name, a path whose parameter is not declared, an operation without
/// answers.
#[test]
fn the_document_holds_together() {
    let functions = ["a.b-c", "other", "a_b_c", "a_b.c", "models", "other_chat"].map(|name| Arc::new(function(name)));
    let document = document(&functions, 77);
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some_and(Value::is_object), "{reference}");
    }
    let mut ids = BTreeSet::new();
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        assert!(path.starts_with('/'), "{path}");
        assert_eq!(path.contains('{'), item["parameters"].is_array(), "{path}");
        for method in ["get", "post"] {
            let Some(operation) = item.get(method) else { continue };
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()) && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{id}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("200"), "{path}");
            for (status, response) in responses {
                assert!(
                    status.parse::<u16>().is_ok() && (response["$ref"].is_string() || response["description"].is_string()),
                    "{path}"
                );
            }
            assert_eq!(operation.get("requestBody").is_some(), method == "post", "{path}");
        }
    }
    for path in [
        "/v1/functions/a.b-c",
        "/hf/other",
        "/v1/embeddings",
        "/v1/chat/completions",
        "/v1/pipelines/{name}/pause",
        "/v1/pipelines/{name}/swap",
        "/v1/records",
        "/v1/dead-letters",
        "/livez",
        "/readyz",
        "/openapi.json",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    for path in ["/v1/functions/other", "/hf/other", "/v1/embeddings", "/v1/chat/completions"] {
        let call = &paths[path]["post"];
        assert_eq!(
            (&call["parameters"][0]["name"], &call["parameters"][0]["in"]),
            (&"version".into(), &"query".into()),
            "{path}"
        );
        assert!(call["responses"]["200"]["headers"]["x-millrace-version"].is_object(), "{path}");
    }
    assert_eq!(paths["/hf/other"]["post"]["parameters"][0]["schema"]["enum"], serde_json::json!(["base", "v2"]));
    let secured = &paths["/v1/pipelines/{name}/resume"]["post"]["security"][0];
    let scheme = secured.as_object().and_then(|of| of.keys().next()).unwrap();
    assert_eq!(document["components"]["securitySchemes"][scheme]["scheme"], "bearer");
    let body = &paths["/v1/functions/a.b-c"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(body["example"]["inputs"], "I love it.");
    assert_eq!(body["schema"]["properties"]["parameters"]["properties"]["top_k"]["maximum"], 9);
    assert!(document["info"]["description"].as_str().unwrap().contains("77 bytes"));
}
