//! `[schema_registry]`: where the schemas of values are, in a registry that speaks Confluent's HTTP protocol.

use super::{Config, Format, Pipeline};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::PathBuf;

/// `[schema_registry]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaRegistry {
    /// Its URL, with a path if it has one; several of the same registry are separated by commas and tried in turn. Default none.
    pub url: Option<String>,
    /// User name, for registries that ask for one.
    pub username: Option<String>,
    /// Its password; better from `password_file` or `MILLRACE_SCHEMA_REGISTRY__PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File whose trimmed content is the password; it is read again when the registry refuses it.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authorities that sign the registry's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long an answer is waited for, milliseconds. Default 5,000.
    pub timeout_ms: u64,
    /// Ids of schemas that are nowhere any more: events with them become dead letters, and the registry is not asked. A pipeline with a fold
    /// waits for an id that the registry has not, and this is how it goes on. An id stays here for good. Default none.
    pub unknown_ids: Vec<u32>,
}

impl Default for SchemaRegistry {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: None,
            password_file: None,
            ca_file: None,
            timeout_ms: 5_000,
            unknown_ids: Vec::new(),
        }
    }
}

impl SchemaRegistry {
    /// The URLs, without the slash that may end one.
    pub fn urls(&self) -> Vec<&str> {
        let all = self.url.as_deref().unwrap_or_default().split(',');
        all.map(|url| url.trim().trim_end_matches('/')).filter(|url| !url.is_empty()).collect()
    }

    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        for url in self.urls() {
            if let Err(what) = fit(url) {
                found.push(format!("[schema_registry] url: {what}"));
            }
        }
        if self.username.is_some() != (self.password.is_some() || self.password_file.is_some()) {
            found.push(
                "[schema_registry] username and its password (`password_file`) belong together; give both or neither".into(),
            );
        }
        let plain = |url: &&str| url.starts_with("http://");
        if self.username.is_some()
            && let Some(url) = self.urls().into_iter().filter(plain).find(|url| !is_local(url))
        {
            found.push(format!("[schema_registry] username: the password would go to {url} in the clear; use https"));
        }
        if self.ca_file.is_some() && self.urls().iter().all(plain) {
            found.push("[schema_registry] ca_file is for https, and no `url` is; remove it or write https://".into());
        }
        if !(1..=600_000).contains(&self.timeout_ms) {
            found.push(format!("[schema_registry] timeout_ms = {}: write 1 to 600000, milliseconds", self.timeout_ms));
        }
        found
    }
}

/// Whether it is the URL of a server; a login in it would be shown.
fn fit(url: &str) -> Result<(), &'static str> {
    let help = "write http://host:port or https://host:port";
    match url::Url::parse(url) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("a login in it would be shown; use `username` and `password_file`")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => Err("it has more than an address and a path"),
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => Err(help),
    }
}

/// Whether it leads to this machine.
fn is_local(url: &str) -> bool {
    match url::Url::parse(url).ok().and_then(|url| url.host().map(|host| host.to_owned())) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// What is wrong with the format of a pipeline's values.
pub fn findings_of(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    let mut found = Vec::new();
    let format = pipeline.format;
    let takes_file = matches!(format, Format::Avro | Format::Protobuf);
    if pipeline.asks_registry() && config.schema_registry.urls().is_empty() {
        found.push(format!(
            "format = \"{}\" needs schemas: set `url` under [schema_registry], or name the file of the one that all values have with `schema`",
            format.as_str()
        ));
    }
    if pipeline.schema.is_some() && !takes_file {
        found.push(format!("schema is for format = \"avro\" or \"protobuf\", and this is {}; remove it", format.as_str()));
    }
    let names_message = format == Format::Protobuf && pipeline.schema.is_some();
    if pipeline.message.is_some() != names_message {
        found.push(match names_message {
            true => "format = \"protobuf\" with a file needs `message`, the full name of the message that a value is".into(),
            false => "message is for format = \"protobuf\" with `schema`; remove it".into(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn findings(section: &str, pipeline: &str) -> Vec<String> {
        let text = format!(
            "{section}\n[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'\noptions = {{ fields = ['a'] }}\n{pipeline}"
        );
        Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap().findings()
    }

    /// Would catch: a pipeline that starts and can read none of its events, a login that logs show.
    #[test]
    fn what_cannot_read_a_value_is_told() {
        let registry = "[schema_registry]\nurl = 'http://a:1, https://b/path/'";
        for (section, pipeline) in [
            ("", "format = 'json_schema'"),
            (registry, "format = 'avro'"),
            (registry, "format = 'protobuf'"),
            ("", "format = 'avro'\nschema = 'a.avsc'"),
            ("", "format = 'protobuf'\nschema = 'a.proto'\nmessage = 'a.B'"),
            ("[schema_registry]\nurl = 'https://a'\nusername = 'u'\npassword = 'p'\nca_file = 'a.pem'", ""),
            (
                "[schema_registry]\nurl = 'http://127.0.0.1:1, http://localhost, http://[::1]:2'\nusername = 'u'\npassword = 'p'",
                "",
            ),
        ] {
            assert_eq!(findings(section, pipeline), [""; 0], "{section} {pipeline}");
        }
        for (section, pipeline, said) in [
            ("", "format = 'avro'", "[schema_registry]"),
            ("", "schema = 'a.avsc'", "remove it"),
            (registry, "format = 'protobuf'\nschema = 'a.proto'", "needs `message`"),
            (registry, "format = 'avro'\nmessage = 'a.B'", "remove it"),
            ("[schema_registry]\nurl = 'ftp://a'", "", "write http://"),
            ("[schema_registry]\nurl = 'a:8081'", "", "write http://"),
            ("[schema_registry]\nurl = 'http://user:secret@a'", "", "a login in it"),
            ("[schema_registry]\nusername = 'u'", "", "belong together"),
            ("[schema_registry]\nurl = 'https://a, http://b'\nusername = 'u'\npassword = 'secret'", "", "in the clear"),
            ("[schema_registry]\nurl = 'http://a'\nca_file = 'a.pem'", "", "is for https"),
            ("[schema_registry]\ntimeout_ms = 0", "", "1 to 600000"),
        ] {
            let found = findings(section, pipeline);
            assert!(
                found.len() == 1 && found[0].contains(said) && !found[0].contains("secret"),
                "{section} {pipeline}: {found:?}"
            );
        }
        assert_eq!(
            Config::parse(registry, "test.toml", &BTreeMap::new()).unwrap().schema_registry.urls(),
            ["http://a:1", "https://b/path"]
        );
    }
}
