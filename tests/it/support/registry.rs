//! A schema registry: Confluent's HTTP protocol as far as a reader of values uses it, over the schemas of `tests/fixtures/schemas`. It can be
//! away, stand still, ask for a login, and speak TLS.

use super::certificate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

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
    /// How it speaks TLS, if it does.
    tls: Option<TlsAcceptor>,
}

impl Registry {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::serve(behaviour, None).await
    }

    /// One that speaks TLS alone, and shows this certificate, a file of `certificates.sh`.
    pub async fn secured(certificate: &str) -> Self {
        Self::serve(Behaviour::default(), Some(acceptor(certificate))).await
    }

    async fn serve(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let golden = golden();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (schemas, subjects) = (golden["schemas"].clone(), golden["subjects"].clone());
        let shared = Arc::new(Mutex::new(Shared { behaviour, schemas, subjects, asked: Vec::new(), tls }));
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(greet(socket, serving.clone()));
            }
        });
        Self { url, golden, shared }
    }

    /// Shows another certificate from now on.
    pub fn certify(&self, certificate: &str) {
        self.shared.lock().unwrap().tls = Some(acceptor(certificate));
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

/// Sessions of an earlier acceptor are not taken up again: each of them shows its certificate.
fn acceptor(name: &str) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate(name)).unwrap().collect();
    let key = PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain.unwrap(), key).unwrap()))
}

async fn greet(socket: TcpStream, shared: Arc<Mutex<Shared>>) {
    let tls = shared.lock().unwrap().tls.clone();
    match tls {
        None => answer(socket, shared).await,
        Some(tls) => {
            // Who does not trust it goes away here.
            if let Ok(socket) = tls.accept(socket).await {
                answer(socket, shared).await;
            }
        }
    }
}

async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Mutex<Shared>>) {
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
    if socket.write_all(answer.as_bytes()).await.is_ok() {
        socket.shutdown().await.ok();
    }
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
