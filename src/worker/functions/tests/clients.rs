//! What clients of others showed when they were tried; `tests/clients` tries them.

use super::*;
use crate::admin::TRUNCATED;
use tokio::io::AsyncReadExt;

/// Would catch: shapes and parameters that the clients of Hugging Face do not read, as they were tried.
#[tokio::test]
async fn bare_answers_are_as_their_clients_read_them() {
    let functions = tiny();
    let ask = async |name: &str, input: Value| functions.call(name, input, Shape::Bare).await;
    let labels = json!({ "candidate_labels": ["sport", "food"], "multi_label": false });
    let flat = ask("subject", json!({ "inputs": "good film", "parameters": labels })).await.unwrap();
    assert!(flat[0]["label"].is_string() && flat.as_array().unwrap().len() == 2, "labels of the request come flat: {flat}");
    let brought = json!({ "text": "good film", "candidate_labels": ["sport", "food"] });
    assert_eq!(ask("subject", json!({ "inputs": brought })).await.unwrap()[0]["label"], flat[0]["label"]);
    let listed = ask("subject", json!({ "inputs": ["good film", "bad film"], "parameters": labels })).await.unwrap();
    assert_eq!(listed[0], flat);
    let vector = ask("vectors", json!({ "inputs": "good film", "options": { "wait_for_model": true } })).await.unwrap();
    assert_eq!((vector.as_array().unwrap().len(), vector[0].as_array().unwrap().len()), (1, 16));
    let same = json!({
        "inputs": ["good film"], "normalize": true, "truncate": true, "truncation_direction": "right", "prompt_name": null, "dimensions": 16,
    });
    assert_eq!(ask("vectors", same).await.unwrap(), vector);
    assert!(
        ask("digest", json!({ "inputs": "Good film. Bad film.", "parameters": { "clean_up_tokenization_spaces": true } }))
            .await
            .unwrap()[0]["summary_text"]
            .is_string()
    );
    let short = ask("vectors", json!({ "inputs": "good film", "dimensions": 8, "normalize": false })).await.unwrap();
    assert_eq!(short[0].as_array().unwrap().len(), 8);
    for (name, value, status) in [
        ("truncation_direction", json!("left"), 400),
        ("encoding_format", json!("base64"), 400),
        ("prompt_name", json!("query"), 400),
        ("dimensions", json!(17), 400),
        ("dimensions", json!("8"), 400),
        ("nonsense", json!(8), 400),
    ] {
        let mut request = json!({ "inputs": "a" });
        request[name] = value;
        let error = ask("vectors", request).await.unwrap_err();
        assert_eq!((error.status, error.param.clone()), (status, Some(format!("parameters.{name}"))));
        assert!(error.message.contains(&format!("`{name}`")), "{error}");
    }
    let long = json!({ "inputs": ["a", "a ".repeat(100)], "truncate": false });
    let error = ask("vectors", long).await.unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (413, Some("inputs.1")));
    assert_eq!(error.bare(), json!({ "error": error.message, "error_type": "validation", "param": "inputs.1" }));
}

/// Would catch: pipelines of a chain, whose events have a key and fields of their own, that clients of others cannot ask.
#[tokio::test]
async fn events_of_a_pipeline_are_made_for_clients_of_others() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions");
    let mut text = String::new();
    for (name, function, model, options) in [
        ("vectors", "embed", "fill", "output_key = \"meta.id\", pass_event = true"),
        ("faq", "answer", "answer", "output_key = \"id\", fields = { question = \"ask\", context = \"page.body\" }"),
    ] {
        let path = root.join(model).display().to_string();
        text += &format!(
            "[models.{model}]\npath = {path:?}\n[[pipeline]]\nname = {name:?}\ntopic = \"t\"\nevent = \"json\"\nfunction = {function:?}\n\
             model = {model:?}\noptions = {{ {options} }}\n"
        );
    }
    let (functions, usual) = (built(&text), tiny());
    let request = json!({ "input": ["good film", "bad film"] });
    let ours = functions.embedded(request.clone()).await.unwrap();
    assert_eq!(ours["data"], usual.embedded(request).await.unwrap()["data"]);
    let question = json!({ "question": "who?", "context": "Anna lives in Paris." });
    for (name, input) in [("vectors", json!("good film")), ("vectors", json!(["good film", "bad film"])), ("faq", question)] {
        let request = json!({ "inputs": input });
        let ours = functions.call(name, request.clone(), Shape::Bare).await.unwrap();
        assert_eq!(ours, usual.call(name, request, Shape::Bare).await.unwrap(), "{name}");
    }
    let own = json!({ "inputs": { "ask": "who?", "page": { "body": "Anna lives in Paris." } } });
    assert!(functions.call("faq", own, Shape::Bare).await.unwrap()["answer"].is_string(), "as its own events are");
    let whole = functions.call("vectors", json!({ "inputs": "good film" }), Shape::Whole).await.unwrap_err();
    assert_eq!(whole.status, 400, "the worker's own door takes its events alone: {whole}");
}

/// Would catch: a model that clients cannot find by the names that requests take, one that these paths do not run.
#[tokio::test]
async fn models_are_listed_for_clients_of_openai() {
    let functions = tiny();
    let listed = functions.models();
    assert_eq!((&listed["object"], listed["data"].as_array().unwrap().len()), (&json!("list"), 1));
    let one = &listed["data"][0];
    assert_eq!((&one["id"], &one["object"], &one["function"]), (&json!("vectors"), &json!("model"), &json!("embed")));
    assert!(one["created"].as_u64().unwrap() > 1_700_000_000);
    for name in ["vectors", "embed", "fill", one["model"].as_str().unwrap()] {
        assert_eq!(functions.model(name).unwrap(), *one, "{name}");
        assert!(functions.embedded(json!({ "input": "a", "model": name })).await.is_ok(), "{name}");
    }
    for name in ["intent", "gpt-4", ""] {
        let error = functions.model(name).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (404, Some("model")));
        assert!(error.message.ends_with("known: vectors"), "{error}");
    }
    // A second pipeline whose model has the name of the first: the first is meant by it, and nothing is guessed.
    let known = functions.by_pipeline.read().unwrap()["vectors"].clone();
    functions.add_plain("fill", known.function, known.offline);
    assert_eq!(functions.model("fill").unwrap()["id"], "fill");
    assert!(functions.embedded(json!({ "input": "a", "model": "fill" })).await.is_ok());
    assert_eq!(functions.model("embed").unwrap_err().status, 404);
    assert_eq!(functions.embedded(json!({ "input": "a", "model": "embed" })).await.unwrap_err().status, 400);
}

/// Would catch: a text that is cut in silence where others have fixed the shape of the answer, a field that was not there before for those
/// that were not cut.
#[tokio::test]
async fn what_was_cut_is_told_beside_the_shapes_of_others() {
    let functions = Arc::new(tiny());
    let (address, stop) = started(&functions).await;
    let ask = async |path: &str, body: Value| {
        let mut answer = String::new();
        sent(address, path, &body).await.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let told = head.lines().find_map(|line| line.strip_prefix(&format!("{TRUNCATED}: "))).map(str::to_owned);
        (told, serde_json::from_str::<Value>(body).unwrap())
    };
    let (long, short) = ("a ".repeat(100), "good film");
    let (told, body) = ask("/v1/embeddings", json!({ "input": [long, short, short, long] })).await;
    assert_eq!((told.as_deref(), &body["truncated"]), (Some("0,3"), &json!([0, 3])));
    let (told, body) = ask("/v1/embeddings", json!({ "input": short })).await;
    assert!(told.is_none() && body.get("truncated").is_none(), "{body}");
    for (name, inputs, expected) in [
        ("vectors", json!([short, long]), Some("1")),
        ("intent", json!(long), Some("0")),
        ("intent", json!(short), None),
        ("mood", json!([short, long, short, long]), Some("1,3")),
    ] {
        let (told, bare) = ask(&format!("/hf/{name}"), json!({ "inputs": inputs })).await;
        assert_eq!((told.as_deref(), bare.is_array()), (expected, true), "{name}");
        let (told, _) = ask(&format!("/v1/functions/{name}"), json!({ "inputs": inputs })).await;
        assert_eq!(told.as_deref(), expected, "{name}");
    }
    let windows = json!({ "inputs": long, "parameters": { "too_long": "window" } });
    assert_eq!(ask("/hf/mood", windows).await.0, None, "all of it was seen");
    stop.cancel();
}
