//! What the operator's commands share: which pipeline is meant, and how its services are reached.

use super::kafka::Kafka;
use crate::config::{Config, Pipeline, nearest};
use crate::hub::{Found, Places};
use crate::store::postgres::{PostgresSettings, PostgresStore};
use crate::worker::build::client_properties;
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// Wrong usage: the command ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The pipeline of that name; without a name the only one there is.
pub fn pipeline<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Pipeline, Usage> {
    let names: Vec<&str> = config.pipeline.iter().map(|pipeline| pipeline.name.as_str()).collect();
    match (name, &config.pipeline[..]) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Usage(format!("which pipeline? Name one with --pipeline: {}", names.join(", ")))),
        (Some(name), all) => all.iter().find(|pipeline| pipeline.name == name).ok_or_else(|| {
            let hint = nearest(name, names.iter().copied()).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            Usage(format!("the config has no pipeline {name:?}, it has: {}{hint}", names.join(", ")))
        }),
    }
}

/// The database that the config names.
pub fn database_url(config: &Config) -> Result<&SecretString, Usage> {
    config.postgres.url.as_ref().ok_or_else(|| Usage("no database is named: set `url` under [postgres], or DATABASE_URL".into()))
}

/// Milliseconds that a command waits for a connection at least: it is run once, and need not give up where a worker would try again.
const CONNECT_MS: u64 = 15_000;

/// Connects to the database; statements may run for `statement_timeout_ms`, whatever the config says.
pub async fn store(config: &Config, statement_timeout_ms: u64) -> anyhow::Result<PostgresStore> {
    let acquire_timeout_ms = config.postgres.acquire_timeout_ms.max(CONNECT_MS);
    let settings = PostgresSettings { max_connections: 2, statement_timeout_ms, acquire_timeout_ms };
    Ok(PostgresStore::connect(database_url(config)?.expose_secret(), &settings).await?)
}

/// Clients for a pipeline's group.
pub fn kafka(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Kafka> {
    Kafka::new(client_properties(config), &pipeline.name)
}

/// The folder of a model that is named on the command line. Blocks while it looks.
pub fn model(name: &Path, allow_download: bool) -> anyhow::Result<Found> {
    Ok(Places::of_process().allowing(allow_download).find(&name.to_string_lossy())?)
}

/// One JSON document to standard output.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Without what a terminal obeys: an event comes from anybody.
pub fn escaped(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    /// Would catch: an event that writes to the operator's terminal, or turns the text around.
    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(escaped("a\u{1b}[2Jb\nc\u{9b}d\u{202e}"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}");
        assert_eq!(escaped("Größe \"1\" \\ 语"), "Größe \"1\" \\ 语");
    }
}
