//! One section a file; defaults, units, validation. Reads a file and an environment that it is given, nothing else.

pub mod dialogue;
mod explain;
mod hub;
mod kafka;
mod ladder;
mod models;
mod overlay;
mod pipeline;
mod postgres;
pub mod recommend;
pub mod risk;
mod schema;
pub mod schema_registry;
mod service;
mod shadow;
mod span;
mod validate;
mod variant;
mod version;

pub use explain::explain;
pub use hub::Hub;
pub use kafka::{Kafka, OWNED_PROPERTIES, SECRET_PROPERTIES, Security};
pub use ladder::{FULL, Ladder, Rung};
pub use models::{Model, Models};
pub use pipeline::{Delivery, EventKind, Fields, Format, Keep, OnLostCommits, Pipeline, Start};
pub use postgres::Postgres;
pub use schema::schema;
pub use schema_registry::SchemaRegistry;
pub use service::{Admin, Limits, LogFormat, Memory, Telemetry, unfit_token};
pub use shadow::Shadow;
pub use span::Span;
pub use validate::{FUNCTIONS, OWN, http_url, nearest};
pub use version::{BASE, Canary, Version, unknown as unknown_version};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole configuration.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the brokers are and how to speak to them.
    pub kafka: Kafka,
    /// Schemas of values in Avro and Protobuf.
    pub schema_registry: SchemaRegistry,
    /// The database that decides.
    pub postgres: Postgres,
    /// HTTP for health, metrics, status and the functions.
    pub admin: Admin,
    /// Models that are named as `org/name@revision`.
    pub hub: Hub,
    /// Logs, metrics and traces.
    pub telemetry: Telemetry,
    /// What may be in hand.
    pub memory: Memory,
    /// What a single event may be.
    pub limits: Limits,
    /// How models are held, and where each is.
    pub models: Models,
    /// One consumer group each, with its function and its outputs.
    pub pipeline: Vec<Pipeline>,
    /// Signals of the function `recommend`, and of `millrace eval recommend`.
    pub recommend: Option<recommend::Recommend>,
    /// Features of the function `risk`, and of `millrace parity`.
    pub risk: Option<risk::Risk>,
    /// What the function `reply` remembers of conversations.
    pub dialogue: Option<dialogue::Dialogue>,
    /// The config file's folder, where the relative paths of options start.
    #[serde(skip)]
    pub base: PathBuf,
    /// The config file, as it was named.
    #[serde(skip)]
    pub file: PathBuf,
    /// Where secrets were read that can change while a worker runs.
    #[serde(skip)]
    pub secret_files: SecretFiles,
}

/// Files of secrets, and what stood in them. A secret that is given otherwise has none.
#[derive(Debug, Clone, Default)]
pub struct SecretFiles {
    /// The URL of the database.
    pub url: Option<(PathBuf, SecretString)>,
    /// The admin token.
    pub token: Option<(PathBuf, SecretString)>,
    /// Kafka's password.
    pub password: Option<(PathBuf, SecretString)>,
    /// Whether the URL's file is a copy that systemd makes when it starts a unit: nobody rewrites it.
    pub url_is_copied: bool,
}

impl SecretFiles {
    /// Whether a running worker may come to another login.
    pub fn url_may_change(&self) -> bool {
        self.url.is_some() && !self.url_is_copied
    }
}

/// Why a config cannot be used. The text says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {cause}; check the path and its rights", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{place}: {text}")]
    Parse { place: String, text: String },
    #[error("the configuration cannot run:\n  - {}", .0.join("\n  - "))]
    Invalid(Vec<String>),
}

impl Config {
    /// Reads a file, lays the environment over it, reads the files of secrets, validates.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let mut config = Self::parse(&text, &path.display().to_string(), env)?;
        let base = path.parent().unwrap_or(Path::new("."));
        for model in config.models.values_mut() {
            model.path = base.join(&model.path);
        }
        config.base = base.into();
        config.file = path.into();
        config.read_secrets(base, env)?;
        config.validate()?;
        Ok(config)
    }

    /// Parses without reading files and without validating; `place` is named in errors.
    pub fn parse(text: &str, place: &str, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let error = |place: String, text: String| ConfigError::Parse { place, text };
        let in_file = |cause: toml::de::Error| error(place.into(), explain(&cause, Some(text)));
        let mut table: toml::Table = toml::from_str(text).map_err(in_file)?;
        let changed = overlay::apply(&mut table, env).map_err(|text| error("the environment".into(), text))?;
        if changed.is_empty() {
            return toml::from_str(text).map_err(in_file);
        }
        table.try_into().map_err(|cause: toml::de::Error| match toml::from_str::<Config>(text) {
            // The file alone is at fault: its error knows the line.
            Err(of_file) if of_file.message() == cause.message() => in_file(of_file),
            _ => error(format!("{place} with {}", changed.join(", ")), explain(&cause, None)),
        })
    }

    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        validate::findings(self)
    }

    /// The limits on one event of a pipeline.
    pub fn limits_of<'a>(&'a self, pipeline: &'a Pipeline) -> &'a Limits {
        pipeline.limits.as_ref().unwrap_or(&self.limits)
    }

    /// First 12 hex digits of the SHA-256 of what a pipeline was told; travels with its records.
    pub fn digest_of(&self, pipeline: &Pipeline) -> String {
        let told = (pipeline, self.risk_of(pipeline), self.recommend_of(pipeline));
        let mut text = serde_json::to_string(&told).unwrap_or_default();
        if let Some(dialogue) = self.dialogue_of(pipeline) {
            text += &serde_json::to_string(dialogue).unwrap_or_default();
        }
        let mut hex: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(12);
        hex
    }

    /// The features of a pipeline with the function `risk`.
    pub fn risk_of<'a>(&'a self, pipeline: &'a Pipeline) -> Option<&'a risk::Risk> {
        pipeline.risk.as_ref().or(self.risk.as_ref()).filter(|_| pipeline.function == "risk")
    }

    /// The signals of a pipeline with the function `recommend`.
    pub fn recommend_of<'a>(&'a self, pipeline: &'a Pipeline) -> Option<&'a recommend::Recommend> {
        pipeline.recommend.as_ref().or(self.recommend.as_ref()).filter(|_| pipeline.function == "recommend")
    }

    /// What a pipeline with the function `reply` remembers of conversations, if it does.
    pub fn dialogue_of<'a>(&'a self, pipeline: &'a Pipeline) -> Option<&'a dialogue::Dialogue> {
        pipeline.dialogue.as_ref().or(self.dialogue.as_ref()).filter(|_| pipeline.function == "reply")
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let found = self.findings();
        if found.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(found)) }
    }

    fn read_secrets(&mut self, base: &Path, env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        if self.postgres.url.is_none() {
            self.postgres.url = match &self.postgres.url_file {
                Some(file) => {
                    let path = base.join(file);
                    self.secret_files.url_is_copied =
                        env.get("CREDENTIALS_DIRECTORY").is_some_and(|copies| path.starts_with(copies));
                    self.secret_files.url = Some(secret(&path)?);
                    self.secret_files.url.clone().map(|(_, url)| url)
                }
                None => env.get("DATABASE_URL").map(|url| url.as_str().into()),
            };
        }
        if let (None, Some(file)) = (&self.kafka.password, &self.kafka.password_file) {
            self.secret_files.password = Some(secret(&base.join(file))?);
            self.kafka.password = self.secret_files.password.clone().map(|(_, password)| password);
        }
        if let (None, Some(file)) = (&self.schema_registry.password, &self.schema_registry.password_file) {
            self.schema_registry.password = Some(read(&base.join(file))?.trim().into());
        }
        if let (None, Some(file)) = (&self.kafka.key_password, &self.kafka.key_password_file) {
            self.kafka.key_password = Some(read(&base.join(file))?.trim().into());
        }
        if let (None, Some(file)) = (&self.admin.token, &self.admin.token_file) {
            self.secret_files.token = Some(secret(&base.join(file))?);
            self.admin.token = self.secret_files.token.clone().map(|(_, token)| token);
        }
        Ok(())
    }
}

/// What stands in a file of a secret, with its path.
fn secret(path: &Path) -> Result<(PathBuf, SecretString), ConfigError> {
    Ok((path.into(), read(path)?.trim().into()))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.into(), cause })
}

#[cfg(test)]
mod tests;
