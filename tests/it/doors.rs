//! The doors of a worker over HTTP, in the shapes that clients of others read. `tests/clients` tries them with those clients; what they
//! showed is held here without Python.

use crate::support::http::{self, get, post, raw};
use crate::support::stage::{Plan, Stage, Worker};
use crate::support::{create_topic, unique};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// A worker with one pipeline a function on small models, and its address. `chat` has a model that lies in `folder`.
async fn doors(folder: &Path) -> (Stage, Worker, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tiny = folder.join("tiny");
    let mut import = Command::new(env!("CARGO_BIN_EXE_millrace"));
    import.args(["models", "import", "tests/fixtures/import/llama.gguf"]).arg(&tiny).args(["--dtype", "f32"]).current_dir(root);
    assert!(import.output().unwrap().status.success());
    let topic = unique("doors");
    for name in [topic.clone(), format!("{topic}.out"), format!("{topic}.dead")] {
        create_topic(&name, 1).await;
    }
    let mut sections =
        format!("[models.tiny]\npath = {:?}\n[models.vectors]\npath = {:?}\n", tiny, root.join("models/minilm-en"));
    for name in ["one", "answer"] {
        sections += &format!("[models.{name}]\npath = {:?}\n", root.join("tests/fixtures/functions").join(name));
    }
    for (name, function, model) in [
        ("chat", "generate", "tiny"),
        ("embedder", "embed", "vectors"),
        ("faq", "answer", "answer"),
        ("digest", "summarize", "vectors"),
    ] {
        sections += &format!(
            "[[pipeline]]\nname = {name:?}\ntopic = {topic:?}\noutput_topic = \"{topic}.out\"\ndead_letter_topic = \"{topic}.dead\"\n\
             event = \"json\"\nfunction = {function:?}\nmodel = {model:?}\n"
        );
        if function == "generate" {
            sections += "options = { max_new_tokens = 12 }\n";
        }
    }
    let stage = Stage::of(Plan {
        sections: &sections,
        function: "event = \"json\"\nfunction = \"classify\"\nmodel = \"one\"",
        ..Plan::default()
    })
    .await;
    let mut worker = stage.worker();
    let address = worker.admin();
    loop {
        assert!(worker.is_running(), "{}", worker.log());
        // One that cannot start goes away between two looks.
        let Some((status, _)) = http::try_get(&address, "/readyz").await else { continue };
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    (stage, worker, address)
}

/// Would catch: an answer that the clients of Hugging Face or OpenAI cannot read, a path that they ask and that is not there, an error
/// without a sentence.
#[tokio::test(flavor = "multi_thread")]
async fn the_doors_speak_as_clients_read() {
    let folder = tempfile::tempdir().unwrap();
    let (stage, mut worker, address) = doors(folder.path()).await;
    let intent = stage.name.as_str();
    let ask = async |path: &str, body: Value| post(&address, path, &body).await;

    // OpenAI's list of models.
    let models: Value = serde_json::from_str(&get(&address, "/v1/models").await.1).unwrap();
    let ids: Vec<&Value> = models["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["chat", "embedder"]);
    assert!(models["object"] == "list" && models["data"][0]["object"] == "model" && models["data"][0]["created"].is_u64());
    let one: Value = serde_json::from_str(&get(&address, "/v1/models/embedder").await.1).unwrap();
    assert_eq!(one, models["data"][1]);
    let (status, error) =
        ask("/v1/chat/completions", json!({ "model": "gpt-4", "messages": [{ "role": "user", "content": "a" }] })).await;
    let error = &error["error"];
    assert_eq!((status, &error["code"], &error["param"]), (404, &json!("model_not_found"), &json!("model")));
    assert!(error["message"].as_str().unwrap().ends_with("known: chat"), "{error}");
    for (status, answer) in [ask("/v1/completions", json!({})).await, ask("/v1/models", json!({})).await] {
        assert!(
            [404, 405].contains(&status) && answer["error"]["message"].as_str().unwrap().contains("/openapi.json"),
            "{answer}"
        );
    }

    // The bare shape of each task, for one text.
    let bare = async |name: &str, body: Value| ask(&format!("/hf/{name}"), body).await;
    let (_, labels) = bare(intent, json!({ "inputs": "good film", "parameters": { "top_k": 2 } })).await;
    assert!(labels[0].as_array().is_some_and(|labels| labels.len() == 2) && labels[0][0]["label"].is_string(), "{labels}");
    let asked = json!({ "question": "who works in Paris?", "context": "Anna works in Paris." });
    let (_, answer) = bare("faq", json!({ "inputs": asked, "parameters": {} })).await;
    assert!(answer["answer"].is_string(), "{answer}");
    let (_, answers) = bare("faq", json!({ "inputs": asked, "parameters": { "top_k": 3 } })).await;
    assert!(answers.as_array().is_some_and(|answers| answers.len() == 3), "{answers}");
    let (_, vectors) = bare("embedder", json!({ "inputs": "good film", "normalize": true, "truncate": true })).await;
    assert!(vectors[0].as_array().is_some_and(|vector| vector.len() == 384), "{vectors}");
    let (_, summary) = bare("digest", json!({ "inputs": "It came late. It was broken.", "parameters": {} })).await;
    assert!(summary[0]["summary_text"].is_string(), "{summary}");
    for (name, body, status) in [
        (intent, json!({ "inputs": " " }), 422),
        ("embedder", json!({ "inputs": "a", "prompt_name": "query" }), 400),
        ("nobody", json!({ "inputs": "a" }), 404),
    ] {
        let (found, error) = bare(name, body).await;
        assert!(found == status && error["error"].is_string() && error["error_type"].is_string(), "{found} {error}");
    }

    // Text, whole and in pieces as text-generation has them, and a conversation beside it.
    let request = |stream: bool| json!({ "inputs": "The film", "parameters": { "max_new_tokens": 6 }, "stream": stream });
    let text = bare("chat", request(false)).await.1["generated_text"].clone();
    let events = raw(&address, "/hf/chat", &request(true)).await;
    let data: Vec<Value> = events.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let pieces: String = data.iter().map(|event| event["token"]["text"].as_str().unwrap()).collect();
    assert_eq!((Value::from(pieces), &data.last().unwrap()["generated_text"]), (text.clone(), &text), "{events}");
    let turns = json!({ "model": "dummy", "messages": [{ "role": "user", "content": "Where is it?" }], "max_tokens": 6 });
    let (status, said) = ask("/hf/chat/v1/chat/completions", turns.clone()).await;
    assert_eq!((status, &said["choices"]), (200, &ask("/v1/chat/completions", turns.clone()).await.1["choices"]));
    // Tokens of a conversation in chunks, and any object.
    let tokens = |stream: bool| {
        let mut asked = turns.clone();
        asked.as_object_mut().unwrap().extend([("logprobs".into(), true.into()), ("stream".into(), stream.into())]);
        asked
    };
    let events = raw(&address, "/v1/chat/completions", &tokens(true)).await;
    let chunks = events.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let content = |chunk: Value| chunk["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    let streamed: Vec<Value> = chunks.flat_map(content).collect();
    assert_eq!(Value::from(streamed), ask("/v1/chat/completions", tokens(false)).await.1["choices"][0]["logprobs"]["content"]);
    let mut any = turns.clone();
    any["response_format"] = json!({ "type": "json_object" });
    for path in ["/v1/chat/completions", "/hf/chat/v1/chat/completions"] {
        let (status, said) = ask(path, any.clone()).await;
        let value: Value = serde_json::from_str(said["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
        assert!(status == 200 && value.is_object(), "{said}");
    }
    let (status, error) = ask(&format!("/hf/{intent}/v1/chat/completions"), turns).await;
    assert!(status == 404 && error["error"].as_str().unwrap().contains(intent), "{error}");

    // Every example of the document is answered.
    let document: Value = serde_json::from_str(&get(&address, "/openapi.json").await.1).unwrap();
    let mut answered = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let example = &item["post"]["requestBody"]["content"]["application/json"]["example"];
        if example.is_object() {
            // What changes something wants a token, and this worker has none.
            let wanted = if path.starts_with("/v1/pipelines/") { 403 } else { 200 };
            assert_eq!(ask(path, example.clone()).await.0, wanted, "{path}");
            answered += 1;
        }
    }
    assert_eq!(answered, 2 * 5 + 3 + 3);

    // Would catch: a worker that ends only when a client that stands still lets it.
    let mut silent = TcpStream::connect(&address).unwrap();
    silent
        .write_all(
            b"POST /v1/functions/faq HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        )
        .unwrap();
    let mut silent_head = TcpStream::connect(&address).unwrap();
    silent_head.write_all(b"POST /v1/fun").unwrap();
    worker.drain();
}
