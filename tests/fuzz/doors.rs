//! What comes over HTTP: bodies and queries, through the doors of a worker that has functions on tiny models and no streams.

use millrace::config::Config;
use millrace::inference::import;
use millrace::worker::serve_doors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How a path is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// By POST, with this for its body.
    Body(&'static str),
    /// By GET, with this for its query.
    Query(&'static str),
}

/// Names, doors, and what they answer well.
pub const DOORS: [(&str, Door, &[&str]); 11] = [
    ("http-chat", Door::Body("/v1/chat/completions"), &CHAT),
    ("http-hf-chat", Door::Body("/hf/chat/v1/chat/completions"), &CHAT),
    (
        "http-embeddings",
        Door::Body("/v1/embeddings"),
        &[
            r#"{"model":"vectors","input":["good film","bad"],"encoding_format":"base64","dimensions":4,"user":"u"}"#,
            r#"{"input":"good","encoding_format":"float"}"#,
        ],
    ),
    (
        "http-hf-generate",
        Door::Body("/hf/chat"),
        &[
            r#"{"inputs":"hi","parameters":{"max_new_tokens":3,"do_sample":true,"temperature":0.5,"top_p":0.9,"seed":7,"return_full_text":true,"details":true,"top_n_tokens":2,"stop":["x"]}}"#,
            r#"{"inputs":"hi","stream":true,"parameters":{"max_new_tokens":9,"grammar":{"type":"json","value":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}}}"#,
        ],
    ),
    (
        "http-hf-embed",
        Door::Body("/hf/vectors"),
        &[
            r#"{"inputs":["good film","bad"],"parameters":{"normalize":true,"truncate":false,"dimensions":4,"prompt_name":null,"truncation_direction":"right"}}"#,
        ],
    ),
    (
        "http-hf-classify",
        Door::Body("/hf/subject"),
        &[
            r#"{"inputs":["good film"],"parameters":{"candidate_labels":["refund","praise"],"multi_label":true,"hypothesis_template":"This is {}."}}"#,
        ],
    ),
    (
        "http-hf-answer",
        Door::Body("/hf/faq"),
        &[r#"{"inputs":{"question":"who?","context":"anna went to rome."},"parameters":{"top_k":2,"max_answer_len":5}}"#],
    ),
    (
        "query-records",
        Door::Query("/v1/records"),
        &[
            "id=chat/1/events/0/4711/0&pipeline=chat&since=2026-01-31&until=2026-02-01T12:00:00%2B01:00&limit=7",
            "q=events/0/4711",
            "key=card%2017&limit=100",
            "event=events/3/9223372036854775807",
        ],
    ),
    ("query-letters", Door::Query("/v1/dead-letters"), &LETTERS),
    ("query-page-records", Door::Query("/records"), &["q=events/0/4711&limit=7", "key=card%2017&pipeline=chat&since=2026-01-31"]),
    ("query-page-letters", Door::Query("/dead-letters"), &LETTERS),
];

const LETTERS: [&str; 1] =
    ["pipeline=chat&reason=missing_field&handling=open&since=2026-01-31T01:00:00Z&until=2026-02-01&limit=200"];

const CHAT: [&str; 3] = [
    r#"{"model":"chat","messages":[{"role":"developer","content":"Be kind."},{"role":"user","content":[{"type":"text","text":"hi"}]}],"max_tokens":3,"n":2,"temperature":0.5,"top_p":0.9,"seed":7,"stop":["x"],"logprobs":true,"top_logprobs":2}"#,
    r#"{"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":9,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{"a":{"enum":["x",1]}},"required":["a"]}}}}"#,
    r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":"é"}],"max_tokens":3,"stream":true,"stream_options":{"include_usage":true},"tools":[]}"#,
];

/// A model for each function, and a database that is not there, which is known at once.
fn config(tiny: &Path) -> Config {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions");
    let mut text = format!(
        "[postgres]\nurl = \"postgres://nobody@localhost/none?host=/nowhere\"\n[admin]\ncall_timeout_ms = 15000\n[models.tiny]\npath = {tiny:?}\n"
    );
    for (name, function, model) in
        [("chat", "generate", "tiny"), ("vectors", "embed", "fill"), ("subject", "classify", "nli"), ("faq", "answer", "answer")]
    {
        if model != "tiny" {
            text += &format!("[models.{model}]\npath = {:?}\n", fixtures.join(model));
        }
        text += &format!(
            "[[pipeline]]\nname = {name:?}\ntopic = \"events\"\nevent = \"json\"\nfunction = {function:?}\nmodel = {model:?}\n"
        );
    }
    Config::parse(&text, "fuzz.toml", &BTreeMap::new()).unwrap()
}

/// Where the doors are: one server for all cases, for as long as the process lives.
fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let request = import::Request {
            file: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/llama.gguf"),
            folder: folder.path().join("tiny"),
            dtype: import::Dtype::F32,
            tokenizer: None,
            rope_theta: None,
        };
        import::import(&request).unwrap();
        let config = config(&request.folder);
        let (told, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                serve_doors(config, listener, CancellationToken::new()).await.unwrap();
            });
            drop(folder);
        });
        asked.recv().unwrap()
    })
}

/// Asks, and says what came: the status, and the words of a refusal.
pub fn ask(door: Door, bytes: &[u8]) -> String {
    let address = address();
    let head = |line: &str, length: usize| {
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    let request = match door {
        Door::Body(path) => [head(&format!("POST {path}"), bytes.len()).as_slice(), bytes].concat(),
        Door::Query(path) => head(&format!("GET {path}?{}", as_query(bytes)), 0),
    };
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    // A request that is refused by its head may be closed before all of it is sent.
    if let Err(error) = socket.write_all(&request).and_then(|()| socket.read_to_end(&mut answer).map(drop)) {
        return format!("closed: {:?}", error.kind());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("no status");
    assert!(status != "500" && status != "no status", "the worker does not answer for itself: {answer}");
    format!("{status} {}", refusal(body))
}

/// What stands in no query is written as one writes it.
fn as_query(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~&=+%:/;,!*'()$@?".contains(byte);
    bytes.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The message of an error in any of the shapes; nothing of an answer.
fn refusal(body: &str) -> String {
    let Ok(body) = serde_json::from_str::<Value>(body) else { return String::new() };
    let error = &body["error"];
    error["message"].as_str().or(error.as_str()).unwrap_or_default().to_owned()
}
