//! A schema registry: Confluent's HTTP protocol as far as a reader of values uses it, over the schemas of `tests/fixtures/schemas`. It can be
//! away, stand still, and ask for a login.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Closes connections without a word.
    pub away: bool,
    /// Takes connections and says nothing.
    pub stuck: bool,
    /// `user:password` that it wants to see.
    pub login: Option<String>,
    /// Answers with this status to everything.
    pub status: Option<u16>,
    /// Says of what is not there 404 and no more, as of a path that it has not.
    pub terse: bool,
}

/// See the module.
pub struct Registry {
    pub url: String,
    pub golden: Value,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    behaviour: Behaviour,
    schemas: Value,
    subjects: Value,
    asked: Vec<String>,
}

impl Registry {
    pub async fn start(behaviour: Behaviour) -> Self {
        let golden = golden();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared =
            Shared { behaviour, schemas: golden["schemas"].clone(), subjects: golden["subjects"].clone(), asked: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, serving.clone()));
            }
        });
        Self { url, golden, shared }
    }

    pub fn set(&self, behaviour: Behaviour) {
        self.shared.lock().unwrap().behaviour = behaviour;
    }

    /// Another id for the schema of an id.
    pub fn copy(&self, id: u32, as_id: u32) {
        let mut shared = self.shared.lock().unwrap();
        shared.schemas[as_id.to_string()] = shared.schemas[id.to_string()].clone();
    }

    pub fn put(&self, id: u32, schema: Value) {
        self.shared.lock().unwrap().schemas[id.to_string()] = schema;
    }

    /// How often something was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.shared.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }

    /// The section of a config.
    pub fn section(&self) -> String {
        format!("[schema_registry]\nurl = \"{}\"\ntimeout_ms = 2000\n", self.url)
    }

    /// The bytes of a golden value, under another id where one is given.
    pub fn value(&self, format: &str, name: &str, id: Option<u32>) -> (Vec<u8>, Value) {
        let case = self.golden[format].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let mut value = STANDARD.decode(case["bytes"].as_str().unwrap()).unwrap();
        if let Some(id) = id {
            value[1..5].copy_from_slice(&id.to_be_bytes());
        }
        (value, case["json"].clone())
    }
}

fn golden() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schemas/golden.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

async fn answer(mut socket: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&piece[..read]),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let Some((status, body)) = ({
        let mut shared = shared.lock().unwrap();
        shared.asked.push(path.clone());
        let Behaviour { away, stuck, login, status, terse: _ } = shared.behaviour.clone();
        let wanted = login.map(|login| format!("authorization: Basic {}", STANDARD.encode(login)));
        let known = wanted.is_none_or(|wanted| head.lines().any(|line| line.eq_ignore_ascii_case(&wanted)));
        match status {
            _ if away => return,
            _ if stuck => None,
            Some(status) => Some((status, json!({ "error_code": 50001, "message": "no" }))),
            None if !known => Some((401, json!({ "error_code": 401, "message": "Unauthorized" }))),
            None => Some(shared.answer(&path)),
        }
    }) else {
        // Until the client goes.
        let mut rest = [0; 16];
        while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        return;
    };
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(answer.as_bytes()).await.ok();
}

impl Shared {
    fn answer(&self, path: &str) -> (u16, Value) {
        let terse = self.behaviour.terse;
        let none = |code: u64| (404, json!({ "error_code": if terse { 404 } else { code }, "message": "not found" }));
        let parts: Vec<&str> = path.split('?').next().unwrap().split('/').skip(1).collect();
        match parts[..] {
            ["schemas", "types"] => (200, json!(["AVRO", "JSON", "PROTOBUF"])),
            // No 32-bit number is no path of a registry at all.
            ["schemas", "ids", id] if id.parse::<i32>().is_err() => none(404),
            ["schemas", "ids", id] => self.schemas.get(id).map_or(none(40_403), |schema| (200, schema.clone())),
            ["subjects", subject, "versions", version] => {
                let subject = subject.replace("%2F", "/");
                let number = version.parse::<usize>().unwrap();
                let found = self.subjects.get(subject).and_then(|versions| versions.get(number - 1));
                found.map_or(none(40_402), |schema| (200, schema.clone()))
            }
            _ => (404, json!({ "error_code": 404, "message": "HTTP 404 Not Found" })),
        }
    }
}
