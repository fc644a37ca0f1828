//! Requests to functions of pipelines.

mod clients;

use super::*;
use crate::admin::{self, AdminState};
use crate::config::Config;
use crate::function::copy::Copy;
use crate::function::offline;
use crate::inference::{Options, Registry};
use crate::telemetry::Metrics;
use crate::worker::{build, folds};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

/// A server in front of some functions, on a free port; it ends with the token.
pub async fn started(functions: &Arc<Functions>) -> (SocketAddr, CancellationToken) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let state = AdminState {
        operators: Arc::new(crate::worker::operators::Operators::default()),
        token: Arc::default(),
        liveness: Arc::default(),
        readiness: Arc::new(admin::Readiness::new([])),
        status: Arc::default(),
        metrics: Arc::new(Metrics::new().unwrap()),
        functions: functions.clone(),
        records: Arc::new(crate::worker::look::Records::new(&Config::default(), "postgres://nobody@127.0.0.1:1/none").unwrap()),
        hosts: Arc::default(),
        body_bytes: 1_000,
        body_timeout: Duration::from_secs(10),
        connections: admin::Connections {
            most: 100,
            head_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            head_bytes: 65_536,
        },
    };
    tokio::spawn(admin::serve(listener, state, stop.clone()));
    (address, stop)
}

/// A request on its way.
pub async fn sent(address: SocketAddr, path: &str, body: &Value) -> tokio::net::TcpStream {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Would catch: the last of two pipelines answering for both, a pipeline that cannot be named, a guess where nobody can know.
#[tokio::test]
async fn a_pipeline_is_named_and_a_shared_function_is_not_guessed() {
    let functions = Functions::new(Duration::from_secs(60));
    let copy = |field: &str| Arc::new(Copy::new(json!({ "fields": [field] }).as_object().unwrap()).unwrap());
    functions.add_plain("one", copy("a"), Arc::new(offline::Plain));
    let ask = async |name: &str| functions.call(name, json!({ "inputs": [{ "a": 1, "b": 2 }] }), Shape::Whole).await;
    assert_eq!(ask("copy").await.unwrap()["outputs"], ask("one").await.unwrap()["outputs"]);
    functions.add_plain("two", copy("b"), Arc::new(offline::Plain));
    let (one, two) = (ask("one").await.unwrap().to_string(), ask("two").await.unwrap().to_string());
    assert!(one.contains("\"a\":1") && two.contains("\"b\":2"), "{one} {two}");
    let error = ask("copy").await.unwrap_err();
    assert_eq!((error.status, error.kind), (409, "ambiguous"));
    assert!(error.message.ends_with("one, two"), "{error}");
    assert_eq!(ask("three").await.unwrap_err().status, 404);
    assert_eq!(functions.list()[1]["pipeline"], "two");
}

/// Would catch: states that outlive a request, events that are not folded in their order, a refused one that shifts the answers.
#[tokio::test]
async fn a_fold_begins_anew_with_each_request() {
    let text = r#"
        [risk]
        feature = [{ name = "n", entity = "card", aggregate = "count", window = "1d" }]
        [[pipeline]]
        name = "stage"
        topic = "t"
        event = "json"
        fields = { time = "time" }
        function = "risk"
    "#;
    let config = Config::parse(text, "test.toml", &BTreeMap::new()).unwrap();
    let functions = Functions::new(Duration::from_secs(60));
    let pipeline = &config.pipeline[0];
    let function = build::function(&config, pipeline, &Registry::new(Options::default())).unwrap();
    functions.add_plain("stage", function, folds::offline(&config, pipeline));
    let pay = |card: &str| json!({ "time": 1_000, "card": card });
    let request = json!({ "inputs": [pay("a"), pay("b"), { "card": "a" }, pay("a")] });
    let counts = async || {
        let answer = functions.call("risk", request.clone(), Shape::Whole).await.unwrap();
        let of = |output: &Value| output["features"]["n"].as_f64().ok_or(output["rejected"]["field"].clone());
        answer["outputs"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let expected = [Ok(1.0), Ok(1.0), Err(json!("time")), Ok(2.0)];
    assert_eq!(counts().await, expected);
    assert_eq!(counts().await, expected);
    assert_eq!(
        functions.call("risk", json!({ "inputs": pay("a") }), Shape::Whole).await.unwrap()["outputs"][0]["features"]["n"],
        1.0
    );
}

/// Functions of a worker whose models are tiny ones.
fn tiny() -> Functions {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let at = |name: &str, path: &str| format!("[models.{name}]\npath = {:?}\n", root.join(path).display().to_string());
    let model = |name: &str| at(name, &format!("functions/{name}"));
    let pipeline = |name: &str, function: &str, model: &str| {
        format!("[[pipeline]]\nname = {name:?}\ntopic = \"t\"\nevent = \"json\"\nfunction = {function:?}\nmodel = {model:?}\n")
    };
    let text = ["one", "answer", "fill", "many", "nli"].map(model).concat()
        + &at("mt", "translate/marian_many")
        + &at("t5", "translate/t5")
        + &at("llama", "writer/llama")
        + &pipeline("french", "translate", "mt")
        + "options = { tgt_lang = \"fra\", max_new_tokens = 6 }\n"
        + &pipeline("short", "summarize", "t5")
        + "options = { method = \"generate\" }\n"
        + &pipeline("guess", "classify", "llama")
        + &pipeline("intent", "classify", "one")
        + &pipeline("faq", "answer", "answer")
        + &pipeline("vectors", "embed", "fill")
        + &pipeline("mood", "sentiment", "many")
        + &pipeline("subject", "classify", "nli")
        + &pipeline("digest", "summarize", "fill");
    let functions = built(&text);
    functions.expect([("later", "tag")].into_iter());
    functions
}

/// The functions of a config's pipelines.
fn built(text: &str) -> Functions {
    let config = Config::parse(text, "test.toml", &BTreeMap::new()).unwrap();
    let functions = Functions::new(Duration::from_secs(60));
    let registry = Registry::new(Options::default());
    for pipeline in &config.pipeline {
        let function = build::function(&config, pipeline, &registry).unwrap();
        functions.add_plain(&pipeline.name, function, folds::offline(&config, pipeline));
    }
    functions
}

/// Would catch: parameters that are passed over, an answer of another shape than was asked for, a batch and one input confused.
#[tokio::test]
async fn a_request_has_parameters_and_a_shape() {
    let functions = tiny();
    let ask = async |name: &str, input: Value, shape| functions.call(name, input, shape).await;
    let request = json!({ "inputs": ["good film", "bad film"], "parameters": { "top_k": 2 } });
    let whole = ask("intent", request.clone(), Shape::Whole).await.unwrap();
    assert_eq!(whole["outputs"].as_array().unwrap().len(), 2);
    assert_eq!(whole["outputs"][1]["labels"].as_array().unwrap().len(), 2);
    assert!(whole["usage"]["tokens"] == 8 && whole["model"].as_str().unwrap().starts_with("one@"), "{whole}");
    let bare = ask("intent", request, Shape::Bare).await.unwrap();
    assert_eq!(bare[1], whole["outputs"][1]["labels"]);
    let one = ask("intent", json!({ "inputs": "good film" }), Shape::Bare).await.unwrap();
    assert!(one[0][0]["label"].is_string(), "labels of one text come in a list of one: {one}");
    let question = json!({ "question": "who?", "context": "Anna lives in Paris." });
    let found = ask("faq", json!({ "inputs": question, "parameters": { "top_k": 2 } }), Shape::Bare).await.unwrap();
    assert!(found[0]["answer"].is_string() && found.as_array().unwrap().len() == 2, "{found}");
    let found = ask("faq", json!({ "inputs": question }), Shape::Bare).await.unwrap();
    assert!(found["answer"].is_string(), "a single answer comes without a list: {found}");
    let found = ask("faq", json!({ "inputs": [question, question] }), Shape::Bare).await.unwrap();
    assert!(found[1]["answer"].is_string() && found.as_array().unwrap().len() == 2, "{found}");
    assert!(ask("mood", json!({ "inputs": ["good"] }), Shape::Bare).await.unwrap()[0][0]["score"].is_f64());
    let list = functions.list();
    let intent = list.as_array().unwrap().iter().find(|one| one["pipeline"] == "intent").unwrap();
    assert!(intent["parameters"].as_array().unwrap().contains(&json!("top_k")) && intent["options"]["threshold"].is_null());
    assert!(ask("intent", intent["example"].clone(), Shape::Whole).await.is_ok());
}

/// Would catch: an error without the status, the field or the place that it is about.
#[tokio::test]
async fn what_is_wrong_is_told_by_status_and_field() {
    let functions = tiny();
    for (name, input, status, param, said) in [
        ("intent", json!({ "inputs": " " }), 422, "inputs.0.text", "empty"),
        ("intent", json!({ "inputs": { "x": 1 } }), 400, "inputs.0.text", "not there"),
        ("intent", json!({ "inputs": ["a"], "parameters": { "topk": 1 } }), 400, "parameters.topk", "known: top_k"),
        ("intent", json!({ "inputs": ["a"], "parameters": { "top_k": "x" } }), 400, "parameters.top_k", "`top_k`"),
        ("intent", json!({ "inputs": ["a"], "parameters": [] }), 400, "parameters", "object"),
        ("intent", json!({ "inputs": "a ".repeat(100), "parameters": { "too_long": "reject" } }), 413, "inputs.0.text", "64"),
        ("intent", json!({ "inputs": "a ".repeat(30_000) }), 413, "inputs.0.text", "20000"),
        ("intent", json!({ "inputs": [], }), 400, "inputs", "empty"),
        ("intent", json!({ "text": "a" }), 400, "inputs", "body must be"),
        ("intent", json!({ "inputs": vec!["a"; 257] }), 413, "inputs", "256"),
        ("intent", json!({ "inputs": "a", "top_k": 1 }), 400, "top_k", "stand in `parameters`"),
        ("mood", json!({ "inputs": "a", "parameters": { "topk": 1 } }), 400, "parameters.topk", "known: top_k"),
        ("later", json!({ "inputs": "a" }), 503, "name", "loaded"),
        ("nobody", json!({ "inputs": "a" }), 404, "name", "intent (classify)"),
    ] {
        let error = functions.call(name, input, Shape::Whole).await.unwrap_err();
        let found = (error.status, error.param.as_deref(), error.message.contains(said));
        assert_eq!(found, (status, Some(param), true), "{name}: {error}");
    }
    // Index, model and limit, whichever door is taken.
    let long = "a ".repeat(30_000);
    let inputs = json!({ "inputs": ["a", long] });
    let bare = functions.call("vectors", inputs.clone(), Shape::Bare).await.unwrap_err();
    let vectors = functions.embedded(json!({ "input": ["a", long] })).await.unwrap_err();
    let rejected = functions.call("vectors", inputs, Shape::Whole).await.unwrap()["outputs"][1]["rejected"].clone();
    for error in [bare, vectors] {
        assert!(error.message.starts_with("input 1 (model fill@") && error.message.contains("20000"), "{error}");
        assert!(error.message.ends_with(rejected["detail"].as_str().unwrap()), "{error}");
    }
    let many = vec!["a"; 257];
    let many = [
        functions.call("vectors", json!({ "inputs": many }), Shape::Bare).await.unwrap_err(),
        functions.embedded(json!({ "input": many })).await.unwrap_err(),
    ];
    for error in many {
        assert!(
            error.message.starts_with("257 ") && error.message.contains("(model fill@") && error.message.contains("256"),
            "{error}"
        );
    }
    let asked = json!({ "text": "a", "candidate_labels": vec!["a"; 1_001] });
    let labels = functions.call("subject", json!({ "inputs": ["a", asked] }), Shape::Bare).await.unwrap_err();
    assert_eq!(labels.param.as_deref(), Some("inputs.1.candidate_labels"));
    assert!(labels.message.starts_with("input 1 (model nli@") && labels.message.contains("1000"), "{labels}");
    let some = json!({ "inputs": ["good", " "] });
    let answer = functions.call("intent", some.clone(), Shape::Whole).await.unwrap();
    assert_eq!(answer["outputs"][1]["rejected"]["code"], "empty_text");
    let error = functions.call("intent", some, Shape::Bare).await.unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (422, Some("inputs.1.text")), "a bare list has no place for a refusal");
    let _all = functions.room.acquire_many(IN_WORK as u32).await.unwrap();
    assert_eq!(functions.call("intent", json!({ "inputs": "a" }), Shape::Whole).await.unwrap_err().status, 429);
}

/// Would catch: numbers of another order or length in the two encodings, a pipeline that embeds nothing.
#[tokio::test]
async fn vectors_come_in_the_shape_of_openai() {
    use base64::Engine;
    let functions = tiny();
    let ask = async |input: Value| functions.embedded(input).await;
    let floats = ask(json!({ "input": ["good", "bad film"], "model": "vectors" })).await.unwrap();
    assert_eq!((&floats["data"][1]["index"], &floats["usage"]["total_tokens"]), (&json!(1), &json!(7)));
    let vector: Vec<f64> = floats["data"][1]["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let coded = ask(json!({ "input": "bad film", "encoding_format": "base64" })).await.unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(decoded.len(), vector.len());
    assert!(decoded.iter().zip(&vector).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6));
    let short = ask(json!({ "input": "bad film", "dimensions": 4 })).await.unwrap()["data"][0]["embedding"].clone();
    let (length, first) = (vector[..4].iter().map(|v| v * v).sum::<f64>().sqrt(), short[0].as_f64().unwrap());
    assert!(short.as_array().unwrap().len() == 4 && (first - vector[0] / length).abs() < 1e-6, "{short}");
    for (input, status, param) in [
        (json!({}), 400, "input"),
        (json!({ "input": [1, 2] }), 400, "input"),
        (json!({ "input": "a", "dimensions": 17 }), 400, "dimensions"),
        (json!({ "input": "a", "dimensions": 0 }), 400, "dimensions"),
        (json!({ "input": "a", "encoding_format": "hex" }), 400, "encoding_format"),
        (json!({ "input": "a", "model": "intent" }), 404, "model"),
        (json!({ "input": ["a", " "] }), 422, "input.1"),
    ] {
        let error = ask(input).await.unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (status, Some(param)), "{error}");
    }
}

/// Would catch: a bare answer that the clients of Hugging Face cannot read, tokens that nobody counts, a model of another kind than the folder is.
#[tokio::test]
async fn functions_that_write_answer_over_http() {
    let functions = tiny();
    let ask = async |name: &str, input: Value, shape| functions.call(name, input, shape).await;
    let one = ask("french", json!({ "inputs": "the cat" }), Shape::Bare).await.unwrap();
    assert!(one.as_array().unwrap().len() == 1 && one[0]["translation_text"].is_string(), "{one}");
    let many =
        ask("french", json!({ "inputs": ["the cat", { "text": "the cat", "tgt_lang": "deu" }] }), Shape::Bare).await.unwrap();
    assert_eq!((many.as_array().unwrap().len(), &many[0]), (2, &one[0]));
    let whole = ask(
        "translate",
        json!({ "inputs": "the cat", "parameters": { "num_beams": 2, "generate_parameters": { "max_length": 4 } } }),
        Shape::Whole,
    );
    let whole = whole.await.unwrap();
    let of = |name: &str| whole["outputs"][0][name].as_u64().unwrap();
    assert!(of("generated_tokens") <= 3 && whole["usage"]["tokens"] == of("tokens") + of("generated_tokens"), "{whole}");
    assert!(whole["model"].as_str().unwrap().starts_with("mt@"));
    let error = ask("french", json!({ "inputs": "a", "parameters": { "tgt_lang": "nld" } }), Shape::Whole).await.unwrap_err();
    assert_eq!((error.status, error.param.as_deref()), (400, Some("parameters.tgt_lang")), "{error}");
    let short = ask("short", json!({ "inputs": "the cat sat on the mat." }), Shape::Bare).await.unwrap();
    assert!(short[0]["summary_text"].is_string(), "{short}");
    let request = json!({ "inputs": "the parcel is late", "parameters": { "candidate_labels": ["delay", "praise"] } });
    let guess = ask("guess", request, Shape::Bare).await.unwrap();
    assert!(guess.as_array().unwrap().len() == 2 && guess[0]["score"].as_f64() >= guess[1]["score"].as_f64(), "{guess}");
    let list = functions.list();
    let french = list.as_array().unwrap().iter().find(|one| one["pipeline"] == "french").unwrap();
    assert!(ask("french", french["example"].clone(), Shape::Whole).await.is_ok(), "{french}");
}

/// Would catch: a function that is loaded and not in the document, an example in it that is refused.
#[tokio::test]
async fn what_is_documented_is_answered() {
    let functions = tiny();
    let documented = functions.documented();
    let names: Vec<&str> = documented.iter().map(|one| one.pipeline.as_str()).collect();
    assert_eq!(names, ["digest", "faq", "french", "guess", "intent", "mood", "short", "subject", "vectors"]);
    for one in &documented {
        let answer = functions.call(&one.pipeline, json!({ "inputs": one.example }), Shape::Whole).await.unwrap();
        let fields = answer["outputs"][0].as_object().unwrap();
        assert!(fields.keys().all(|name| one.output["properties"].get(name).is_some()), "{answer}");
    }
    let openapi = crate::admin::openapi_of(&documented, 1);
    let schema =
        |path: &str| openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"].clone();
    assert_eq!(schema("/v1/embeddings")["input"]["anyOf"][0]["maxLength"], 100_000);
    assert_eq!(schema("/v1/embeddings")["input"]["anyOf"][1]["maxItems"], 256);
    let inputs = &schema("/hf/subject")["inputs"]["anyOf"];
    assert_eq!((&inputs[0]["anyOf"][0]["maxLength"], &inputs[1]["maxItems"]), (&json!(100_000), &json!(256)));
    assert!(Arc::ptr_eq(&documented[0], &functions.documented()[0]), "it is found once");
}
