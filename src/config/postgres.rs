//! `[postgres]`: the database that decides.

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// `[postgres]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    /// `postgres://user:password@host:port/database`. Else from `url_file`, else from the environment's `DATABASE_URL`.
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// File whose trimmed content is the URL.
    pub url_file: Option<PathBuf>,
    /// Connections at most. Default: two a pipeline, for its rounds, and two more.
    pub max_connections: Option<u32>,
    /// How long to wait for a connection, milliseconds. Default 5000.
    pub acquire_timeout_ms: u64,
    /// How long one statement may run, milliseconds. Default 30000.
    pub statement_timeout_ms: u64,
}

impl Default for Postgres {
    fn default() -> Self {
        Self { url: None, url_file: None, max_connections: None, acquire_timeout_ms: 5_000, statement_timeout_ms: 30_000 }
    }
}

impl Postgres {
    /// Connections at most, for so many pipelines.
    pub fn connections(&self, pipelines: usize) -> u32 {
        self.max_connections.unwrap_or(2 * pipelines as u32 + 2)
    }
}
