//! Answers of a schema registry: its client, what reads the texts of schemas out of them, and the values that come under those.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace::config::{Format, Limits, SchemaRegistry};
use millrace::event::Body;
use millrace::schema::{Registry, Schemas};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What it answers now: to whoever asks for a schema by its id, and by its subject.
static ANSWERS: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// A registry that says whatever it is told to say.
fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
        address
    })
}

/// Who goes away in the midst of it is let go.
fn answer(mut socket: TcpStream) {
    let mut lines = BufReader::new(&socket).lines();
    let path = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let name = if path.contains("/schemas/ids/") { "schema" } else { "reference" };
    let body = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), &body].concat()).ok();
}

/// What a registry says of a schema and of what it refers to, and a value as others wrote it, with the id that is asked for.
pub fn files(root: &Path, format: &str) -> BTreeMap<String, Vec<u8>> {
    let golden: Value = serde_json::from_slice(&std::fs::read(root.join("golden.json")).unwrap()).unwrap();
    let mut value = STANDARD.decode(golden[format][0]["bytes"].as_str().unwrap()).unwrap();
    let id = u32::from_be_bytes([value[1], value[2], value[3], value[4]]).to_string();
    value[1..5].copy_from_slice(&1u32.to_be_bytes());
    let schema = &golden["schemas"][&id];
    let subject = schema["references"][0]["subject"].as_str().unwrap_or("money");
    let text = |value: &Value| value.to_string().into_bytes();
    let files = [("schema", text(schema)), ("reference", text(&golden["subjects"][subject][0])), ("value", value)];
    files.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}

/// Asks for the schema of a value, and reads the value.
pub async fn read(files: &BTreeMap<String, Vec<u8>>, format: Format) -> Result<String, String> {
    *ANSWERS.lock().unwrap_or_else(PoisonError::into_inner) = files.clone();
    let config = SchemaRegistry { url: Some(format!("http://{}", address())), ..SchemaRegistry::default() };
    let registry = Registry::new(&config, Path::new(".")).map_err(|error| error.to_string())?;
    let (schemas, value) = (Schemas::new(registry, format), &files["value"]);
    // A value says which schema it has; one whose id is damaged has none that was asked for.
    schemas.fetch_once(1).await.map_err(|away| away.0)?;
    let read = schemas.json(value, &Limits::default());
    read.map(|json| if json.is_empty() { "nothing" } else { "a value" }.to_owned()).map_err(|refused| refused.detail.to_string())
}
