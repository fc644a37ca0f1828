//! `[kafka]`: where the brokers are and how to speak to them.

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[kafka]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Bootstrap servers, `host:port` separated by commas. Default `localhost:9092`.
    pub brokers: String,
    /// `plaintext` (default), `ssl`, `sasl_plaintext` or `sasl_ssl`; all but the first need the cargo feature `tls`.
    pub security: Security,
    /// `SCRAM-SHA-256`, `SCRAM-SHA-512` or `PLAIN`. Default none.
    pub sasl_mechanism: Option<String>,
    /// SASL user name.
    pub username: Option<String>,
    /// SASL password; better from `password_file` or `MILLRACE_KAFKA__PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File whose trimmed content is the SASL password.
    pub password_file: Option<std::path::PathBuf>,
    /// PEM file of the authorities that sign the brokers' certificates. Default: the system's.
    pub ca_file: Option<std::path::PathBuf>,
    /// PEM file of this client's certificate, for brokers that ask for one.
    pub cert_file: Option<std::path::PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<std::path::PathBuf>,
    /// Password of the private key; better from `key_password_file` or `MILLRACE_KAFKA__KEY_PASSWORD`.
    #[schemars(with = "Option<String>")]
    pub key_password: Option<SecretString>,
    /// File whose trimmed content is that password.
    pub key_password_file: Option<std::path::PathBuf>,
    /// Name of this instance, unique among the live workers: in Kubernetes the pod's name in a StatefulSet. With it a worker
    /// that was killed and comes back ends at once the transaction that it left open; without it (default) the next owner
    /// waits up to 10 s for the broker to do so. Two live workers of one name fence each other again and again.
    pub instance: Option<String>,
    /// Raw librdkafka properties, except secrets and those that the delivery protocol owns. `client.id` is
    /// `MILLRACE_KAFKA__PROPERTIES__CLIENT_ID` in the environment.
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".into(),
            security: Security::default(),
            sasl_mechanism: None,
            username: None,
            password: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            key_password: None,
            key_password_file: None,
            instance: None,
            properties: BTreeMap::new(),
        }
    }
}

impl Kafka {
    /// What was tried and what to look at when Kafka does not answer. librdkafka does not always say that it was the certificate
    /// or the password. No secret is in it.
    pub fn no_answer(&self) -> String {
        let encrypted = matches!(self.security, Security::Ssl | Security::SaslSsl);
        let authenticated = matches!(self.security, Security::SaslPlaintext | Security::SaslSsl);
        let named = |value: &Option<String>| value.as_ref().map_or("none".to_owned(), |value| format!("`{value}`"));
        let mut tried = format!("security.protocol `{}`", self.security.as_str());
        let mut check = "the address".to_owned();
        if encrypted {
            let ca = self.ca_file.as_ref().map_or("the system's".to_owned(), |file| format!("`{}`", file.display()));
            tried += &format!(", CA file {ca}");
            if let Some(file) = &self.cert_file {
                tried += &format!(", client certificate `{}`", file.display());
            }
            check +=
                ", that this port speaks TLS, that `ca_file` has signed the broker's certificate and that it has not expired";
        } else {
            check += ", that this port does not ask for TLS";
        }
        if authenticated {
            tried += &format!(", mechanism {}, user {}", named(&self.sasl_mechanism), named(&self.username));
            check += ", `sasl_mechanism`, `username` and the password";
        }
        format!("Kafka does not answer at {}; tried {tried}; check {check}", self.brokers)
    }
}

/// How the connection to a broker is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Security {
    /// As librdkafka's `security.protocol` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Security::Plaintext => "plaintext",
            Security::Ssl => "ssl",
            Security::SaslPlaintext => "sasl_plaintext",
            Security::SaslSsl => "sasl_ssl",
        }
    }
}

/// Properties that the delivery protocol sets itself; a config that names one is refused.
pub const OWNED_PROPERTIES: &[&str] = &[
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.send.max.retries",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "retries",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Properties that hold a secret, by the start of their name, and what to write instead: what stands in `properties` is shown.
pub const SECRET_PROPERTIES: &[(&str, &str)] = &[
    ("sasl.password", "use `password_file`, or MILLRACE_KAFKA__PASSWORD"),
    ("sasl.username", "use `username`"),
    ("sasl.oauthbearer.", "tokens are not supported yet; use SCRAM with `sasl_mechanism`, `username` and `password_file`"),
    ("ssl.key.password", "use `key_password_file`, or MILLRACE_KAFKA__KEY_PASSWORD"),
    ("ssl.key.pem", "write the key to a file and name it with `key_file`"),
    ("ssl.keystore.", "use `cert_file`, `key_file` and `key_password_file`"),
];
