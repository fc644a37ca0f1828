//! A client of a schema registry: three questions over HTTP, in Confluent's protocol, which others speak too.
//!
//! It is this crate's own: what decodes must not wait for the network, so that asking and reading are apart here, and answers are bounded in
//! size, number and time.

use super::SchemaError;
use crate::config::SchemaRegistry;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// An answer's bytes at most.
const ANSWER_BYTES: usize = 4 << 20;
/// Codes with which a registry says that there is no such subject, version or schema.
const NOT_THERE: [u64; 3] = [40_401, 40_402, 40_403];
/// The path of the question whether it answers at all.
const TYPES: [&str; 2] = ["schemas", "types"];

/// The registry gives no answer that says anything of the schema: it is away, busy, not set up, or does not let us in. It may be asked again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// What a registry says of something that it was asked for.
#[derive(Debug)]
pub enum Answer<T> {
    Found(T),
    /// Every server of it says that there is none.
    NotThere,
    /// There is one, that nobody can use.
    Unfit(String),
}

/// A schema as it is kept.
#[derive(Debug, Clone, Deserialize)]
pub struct Stored {
    pub schema: String,
    /// `AVRO`, which may be left out, `PROTOBUF` or `JSON`.
    #[serde(rename = "schemaType", default)]
    pub kind: Option<String>,
    /// What it refers to, each under the name that it has there.
    #[serde(default)]
    pub references: Option<Vec<Reference>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reference {
    pub name: String,
    pub subject: String,
    pub version: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    urls: Vec<Url>,
    /// Which of them answered last.
    turn: AtomicUsize,
    username: Option<String>,
    password: Mutex<Option<SecretString>>,
    password_file: Option<PathBuf>,
}

impl Registry {
    /// Files are looked for from `base` on.
    pub fn new(config: &SchemaRegistry, base: &Path) -> Result<Self, SchemaError> {
        if rustls::crypto::CryptoProvider::get_default().is_none()
            && rustls::crypto::ring::default_provider().install_default().is_err()
        {
            tracing::debug!("Another thread has installed the TLS provider first.");
        }
        let urls: Result<Vec<Url>, _> = config.urls().into_iter().map(Url::parse).collect();
        let urls = urls.map_err(|cause| SchemaError::Registry(format!("url: {cause}")))?;
        if urls.is_empty() {
            return Err(SchemaError::Registry("no `url` is set".into()));
        }
        let wait = Duration::from_millis(config.timeout_ms);
        let mut builder = Client::builder()
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            // A redirect could carry the login elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(wait)
            .timeout(wait);
        if urls.iter().all(|url| url.scheme() == "http") {
            // Without https the system's authorities need not be there.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &config.ca_file {
            let path = base.join(file);
            let pem =
                std::fs::read(&path).map_err(|cause| SchemaError::Registry(format!("ca_file {}: {cause}", path.display())))?;
            let all = reqwest::Certificate::from_pem_bundle(&pem);
            builder = builder.tls_certs_merge(
                all.map_err(|_| SchemaError::Registry(format!("ca_file {}: it holds no certificate in PEM", path.display())))?,
            );
        }
        if urls.iter().all(|url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(|cause| SchemaError::Registry(deepest(&cause)))?,
            urls,
            turn: AtomicUsize::new(0),
            username: config.username.clone(),
            password: Mutex::new(config.password.clone()),
            password_file: config.password_file.as_ref().map(|file| base.join(file)),
        })
    }

    pub async fn schema(&self, id: u32) -> Result<Answer<Stored>, Away> {
        self.ask(&["schemas", "ids", &id.to_string()], None).await
    }

    /// A version of a subject, one that was deleted since then among them: what refers to it stays.
    pub async fn version(&self, subject: &str, version: i64) -> Result<Answer<Stored>, Away> {
        self.ask(&["subjects", subject, "versions", &version.to_string()], Some("deleted=true")).await
    }

    /// Whether it answers and lets us in.
    pub async fn answers(&self) -> Result<(), Away> {
        self.ask::<Vec<String>>(&TYPES, None).await.map(drop)
    }

    /// Asks the one that answered last, then the others. That something is not there counts when all of them say so: one may be behind.
    async fn ask<T: DeserializeOwned>(&self, path: &[&str], query: Option<&str>) -> Result<Answer<T>, Away> {
        let first = self.turn.load(Ordering::Relaxed);
        let mut away = None;
        for step in 0..self.urls.len() {
            let turn = (first + step) % self.urls.len();
            let Some(base) = self.urls.get(turn) else { continue };
            match self.ask_one(base, path, query).await {
                Ok(Answer::NotThere) => {}
                Ok(answer) => {
                    self.turn.store(turn, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(cause) => away = Some(Away(format!("{}: {}", base.origin().ascii_serialization(), cause.0))),
            }
        }
        away.map_or(Ok(Answer::NotThere), Err)
    }

    async fn ask_one<T: DeserializeOwned>(&self, base: &Url, path: &[&str], query: Option<&str>) -> Result<Answer<T>, Away> {
        let (status, body) = self.get(base, path, query).await?;
        match status {
            StatusCode::OK => {
                let Some(body) = body else { return Ok(Answer::Unfit(format!("it is longer than {ANSWER_BYTES} bytes"))) };
                let answer = serde_json::from_slice(&body);
                answer
                    .map(Answer::Found)
                    .map_err(|_| Away("its answer is none of a schema registry; check the path in `url`".into()))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.read_password().await;
                Err(Away(format!("it answers {status}; check `username`, `password_file` and the rights of this user")))
            }
            StatusCode::NOT_FOUND => match error_code(&body.unwrap_or_default()) {
                Some(code) if NOT_THERE.contains(&code) => Ok(Answer::NotThere),
                // A path that is wrong is answered like this too; where another one is right, this is about what was asked for.
                Some(_) if path != TYPES && self.is_registry(base).await => Ok(Answer::NotThere),
                _ => Err(Away("it answers 404 without saying that the schema is not there; check the path in `url`".into())),
            },
            other => Err(Away(format!("it answers {other}"))),
        }
    }

    /// Whether a registry is at this address, by the question that has one answer.
    async fn is_registry(&self, base: &Url) -> bool {
        let answer = self.get(base, &TYPES, None).await;
        matches!(answer, Ok((StatusCode::OK, Some(body))) if serde_json::from_slice::<Vec<String>>(&body).is_ok())
    }

    /// The status, and what was said; `None` is more JSON than is taken.
    async fn get(&self, base: &Url, path: &[&str], query: Option<&str>) -> Result<(StatusCode, Option<Vec<u8>>), Away> {
        let mut url = base.clone();
        url.path_segments_mut().map_err(|()| Away("its address has no path".into()))?.pop_if_empty().extend(path);
        url.set_query(query);
        let mut request = self.client.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(user) = &self.username {
            let password = self.password.lock().unwrap_or_else(PoisonError::into_inner).clone();
            request = request.basic_auth(user, password.as_ref().map(|password| password.expose_secret()));
        }
        let mut response = request.send().await.map_err(|cause| Away(deepest(&cause)))?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.contains("json"));
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|cause| Away(deepest(&cause)))? {
            if body.len() + piece.len() > ANSWER_BYTES {
                return if is_json { Ok((status, None)) } else { Err(Away("its answer is long and no JSON".into())) };
            }
            body.extend_from_slice(&piece);
        }
        Ok((status, Some(body)))
    }

    /// A password that was changed is in its file.
    async fn read_password(&self) {
        let Some(file) = &self.password_file else { return };
        match tokio::fs::read_to_string(file).await {
            Ok(text) if !text.trim().is_empty() => {
                *self.password.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.trim().into());
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(file = %file.display(), %error, "The registry's password cannot be read again."),
        }
    }
}

fn error_code(body: &[u8]) -> Option<u64> {
    let said: serde_json::Value = serde_json::from_slice(body).ok()?;
    said.get("error_code")?.as_u64()
}

/// The innermost cause: the outer ones repeat the URL.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let mut said = error.to_string();
    // As rustls begins what it has against a certificate.
    if said.starts_with("invalid peer certificate") {
        said += "; check `ca_file`, the address in `url`, and how long the registry's certificate holds";
    }
    said
}
