//! A hub on a port of this machine: models, revisions, large files that lie on another host, and faults by request.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What happens to a request instead of its answer.
#[derive(Debug, Clone)]
pub enum Fault {
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The whole file, whatever was asked for.
    NoRange,
}

#[derive(Default)]
pub struct State {
    /// By `org/name`, then by file.
    pub models: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Commits by revision.
    pub revisions: BTreeMap<String, String>,
    /// Files whose bytes lie on the other host.
    pub large: Vec<String>,
    pub token: Option<&'static str>,
    /// Faults by the end of the path, each used up by one request.
    pub faults: Vec<(&'static str, Fault)>,
    /// Hashes that are told instead of the right ones, by file.
    pub hashes: BTreeMap<String, String>,
    /// Method, path and headers of all requests.
    pub asked: Vec<(String, String, BTreeMap<String, String>)>,
}

#[derive(Clone)]
pub struct Twin {
    pub state: Arc<Mutex<State>>,
    pub port: u16,
}

pub fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Twin {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut state = State::default();
        state.revisions.insert("main".into(), COMMIT.into());
        let twin = Self { state: Arc::new(Mutex::new(state)), port };
        let own = twin.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.serve(stream);
            }
        });
        twin
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn add(&self, model: &str, files: &[(&str, &[u8])]) {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        self.state.lock().unwrap().models.insert(model.to_owned(), files);
    }

    pub fn fault(&self, path: &'static str, fault: Fault) {
        self.state.lock().unwrap().faults.push((path, fault));
    }

    /// Requests whose path ends so, with their headers.
    pub fn asked(&self, method: &str, end: &str) -> Vec<BTreeMap<String, String>> {
        let state = self.state.lock().unwrap();
        let of = state.asked.iter().filter(|(how, path, _)| how == method && path.ends_with(end));
        of.map(|(_, _, headers)| headers.clone()).collect()
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let (status, mut told, body) = self.answer(&method, &path, &headers);
        let fault = self.cut(&method, &path);
        told.entry("content-length".into()).or_insert_with(|| body.len().to_string());
        let told: String = told.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut stream = stream;
        let body = if method == "HEAD" { &body[..0] } else { &body[..fault.unwrap_or(body.len()).min(body.len())] };
        let head = format!("HTTP/1.1 {status} X\r\n{told}connection: close\r\n\r\n");
        // Who asked may be gone.
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok();
    }

    /// The cut of a request, which is used up.
    fn cut(&self, method: &str, path: &str) -> Option<usize> {
        let mut state = self.state.lock().unwrap();
        let of = |(end, fault): &(&str, Fault)| matches!(fault, Fault::Cut(_)) && method == "GET" && path.ends_with(end);
        let place = state.faults.iter().position(of)?;
        match state.faults.remove(place).1 {
            Fault::Cut(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn answer(&self, method: &str, path: &str, headers: &BTreeMap<String, String>) -> (u16, BTreeMap<String, String>, Vec<u8>) {
        let mut state = self.state.lock().unwrap();
        state.asked.push((method.to_owned(), path.to_owned(), headers.clone()));
        let told = |pairs: &[(&str, String)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let of = |(end, fault): &(&str, Fault)| !matches!(fault, Fault::Cut(_)) && path.ends_with(end);
        let fault = state.faults.iter().position(of).map(|place| state.faults.remove(place).1);
        if let Some(Fault::Status(status, code)) = fault {
            return (status, told(&[("x-error-code", code.to_owned()), ("retry-after", "0".to_owned())]), Vec::new());
        }
        let whole = matches!(fault, Some(Fault::NoRange));
        if let Some(name) = path.strip_prefix("/far/") {
            let bytes = state.models.values().flat_map(|files| files.values()).find(|bytes| sha(bytes) == name).unwrap().clone();
            return ranged(bytes, headers, whole, BTreeMap::new());
        }
        let token = headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        if state.token.is_some_and(|wanted| token.as_deref() != Some(wanted)) {
            let code = if token.is_some() { "GatedRepo" } else { "" };
            return (if token.is_some() { 403 } else { 401 }, told(&[("x-error-code", code.to_owned())]), Vec::new());
        }
        let lost = |code: &str| (404, told(&[("x-error-code", code.to_owned())]), Vec::new());
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["api", "models", org, name, "revision", revision] => {
                let Some(files) = state.models.get(&format!("{org}/{name}")) else { return lost("RepoNotFound") };
                let revision = revision.replace("%2F", "/");
                let commit = state.revisions.get(&revision).cloned().or_else(|| Some(revision).filter(|one| one.len() == 40));
                let Some(commit) = commit else { return lost("RevisionNotFound") };
                let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
                let body = serde_json::json!({ "sha": commit, "siblings": siblings }).to_string();
                (200, BTreeMap::new(), body.into_bytes())
            }
            // What the hub calls a redirect within itself.
            ["moved", ..] => {
                let file = parts[4..].join("/");
                let bytes = state.models[&format!("{}/{}", parts[1], parts[2])][&file].clone();
                let tag = format!("\"{}\"", &sha(&bytes)[..40]);
                ranged(bytes, headers, whole, told(&[("etag", tag), ("x-repo-commit", parts[3].to_owned())]))
            }
            [org, name, "resolve", commit, ..] => {
                let file = parts[4..].join("/");
                let Some(bytes) = state.models.get(&format!("{org}/{name}")).and_then(|files| files.get(&file)) else {
                    return lost("EntryNotFound");
                };
                if state.large.contains(&file) {
                    let hash = state.hashes.get(&file).cloned().unwrap_or_else(|| sha(bytes));
                    let far = format!("http://localhost:{}/far/{}", self.port, sha(bytes));
                    let told = told(&[
                        ("location", far),
                        ("x-linked-etag", format!("\"{hash}\"")),
                        ("x-linked-size", bytes.len().to_string()),
                        ("x-repo-commit", commit.to_owned()),
                    ]);
                    return (302, told, Vec::new());
                }
                let place = format!("/moved/{org}/{name}/{commit}/{file}");
                (307, told(&[("location", place), ("x-repo-commit", commit.to_owned())]), Vec::new())
            }
            _ => lost(""),
        }
    }
}

fn ranged(
    bytes: Vec<u8>,
    headers: &BTreeMap<String, String>,
    whole: bool,
    mut told: BTreeMap<String, String>,
) -> (u16, BTreeMap<String, String>, Vec<u8>) {
    let from = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from.filter(|_| !whole) {
        None => (200, told, bytes),
        Some(from) if from >= bytes.len() => (416, told, Vec::new()),
        Some(from) => {
            told.insert("content-range".into(), format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()));
            (206, told, bytes[from..].to_vec())
        }
    }
}
