//! `[admin]`, `[telemetry]`, `[memory]` and `[limits]`.

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[admin]`: HTTP for health, metrics, status and the functions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address and port. Default `127.0.0.1:9464`: only this machine.
    pub listen: SocketAddr,
    /// Names by which it may be asked, such as that of a proxy which passes its own on. Addresses, names without a dot and those of this network
    /// (`.local`, `.internal`, `.localhost`) always may. Default none: then a listener that others can reach takes any name, and one on this machine
    /// alone takes no further one, so that no page of another site can read it under a name of its own. With any, other names that have a dot are
    /// refused on every listener, those of a cluster's services (`NAME.NAMESPACE.svc`) too: list them.
    pub hosts: Vec<String>,
    /// Largest request body, bytes. Default 1 MiB. All that come at the same time have 64 MiB together, or four times this where that is more.
    /// Beyond it a request is answered 503.
    pub body_bytes: usize,
    /// How long a request's body may take to come, milliseconds. Default 10,000.
    pub body_timeout_ms: u64,
    /// How long a function may take to answer a request without `stream`, milliseconds; a longer call is given up. Default 60,000. An answer in
    /// pieces has the function's own time.
    pub call_timeout_ms: u64,
    /// How long the head of a request may take to come, milliseconds; a connection's first head must begin within this time too.
    /// Default 30,000.
    pub head_timeout_ms: u64,
    /// How long a connection that has served a request may be without the next, milliseconds. Default 75,000: longer than load balancers
    /// keep theirs, so that it is they who close.
    pub keep_alive_ms: u64,
    /// How long a client may take no byte of an answer that is ready, milliseconds; then it is closed. Default 30,000.
    pub write_timeout_ms: u64,
    /// Largest head of a request, bytes, 8,192 to 1 MiB. Default 64 KiB.
    pub head_bytes: usize,
    /// How long a worker stays once all partitions of its only pipeline, or of each of its pipelines, are halted, so that `/metrics` and `/status` can be read before it ends
    /// with exit code 3, milliseconds. Default 60,000, above a scrape interval; 0 ends it at once. A signal to stop does too.
    pub halted_stay_ms: u64,
    /// How long a worker at least goes on answering over HTTP after a signal to stop, milliseconds, at most 20,000. `/readyz` is 503 at once; who has not heard of it yet, a load balancer
    /// or the cluster's own, is still served. It runs beside the drain, and makes none longer that takes as long; a second signal ends it. Default 0: no longer than the
    /// pipelines need.
    pub drain_stay_ms: u64,
    /// Open connections at most. Default 512. At full, the one that has been without a request the longest is closed for who comes.
    pub connections: usize,
    /// What a request that changes something (pause, resume, swap of versions) must bring as `Authorization: Bearer TOKEN`: 16 characters at least. Without one
    /// such requests are refused. Better from `token_file` or `MILLRACE_ADMIN__TOKEN`.
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// File whose trimmed content is the token. Read again when it changes, and on SIGHUP.
    pub token_file: Option<PathBuf>,
    /// Whether `/records` and `/dead-letters` show what events hold: keys, payloads, texts. Default false.
    pub show_payloads: bool,
}

impl Default for Admin {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9464));
        Self {
            listen,
            hosts: Vec::new(),
            body_bytes: 1 << 20,
            body_timeout_ms: 10_000,
            call_timeout_ms: 60_000,
            head_timeout_ms: 30_000,
            keep_alive_ms: 75_000,
            write_timeout_ms: 30_000,
            head_bytes: 64 << 10,
            halted_stay_ms: 60_000,
            drain_stay_ms: 0,
            connections: 512,
            token: None,
            token_file: None,
            show_payloads: false,
        }
    }
}

impl Admin {
    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        let all = [
            ("body_timeout_ms", self.body_timeout_ms),
            ("call_timeout_ms", self.call_timeout_ms),
            ("head_timeout_ms", self.head_timeout_ms),
            ("keep_alive_ms", self.keep_alive_ms),
            ("write_timeout_ms", self.write_timeout_ms),
        ];
        let wrong = |(name, ms): (&str, u64)| match ms {
            1..=MOST_MS => None,
            ms => Some(format!("[admin] {name} = {ms}: write 1 to {MOST_MS}, milliseconds")),
        };
        let mut findings: Vec<String> = all.into_iter().filter_map(wrong).collect();
        if self.halted_stay_ms > MOST_MS {
            findings.push(format!("[admin] halted_stay_ms = {}: write 0 to {MOST_MS}, milliseconds", self.halted_stay_ms));
        }
        if self.drain_stay_ms > MOST_STAY_MS {
            findings.push(format!("[admin] drain_stay_ms = {}: write 0 to {MOST_STAY_MS}, milliseconds", self.drain_stay_ms));
        }
        let counts = [("head_bytes", self.head_bytes, HEAD_BYTES), ("connections", self.connections, CONNECTIONS)];
        for (name, count, (least, most)) in
            counts.into_iter().filter(|(_, count, (least, most))| !(least..=most).contains(&count))
        {
            findings.push(format!("[admin] {name} = {count}: write {least} to {most}"));
        }
        let is_name = |host: &&String| {
            !host.trim_end_matches('.').is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        findings.extend(self.hosts.iter().filter(|host| !is_name(host)).map(|host| {
            format!("[admin] hosts: `{host}` is no name of a host: write it alone, as in \"scores.example.com\", without scheme, port or `*`")
        }));
        if let Some(wrong) = self.token.as_ref().and_then(unfit_token) {
            findings.push(format!("[admin] the token {wrong}"));
        }
        findings
    }

    /// What a listener that others can reach should have.
    pub fn warning(&self) -> Option<String> {
        let open = !self.listen.ip().is_loopback() && self.token.is_none() && self.token_file.is_none();
        open.then(|| {
            format!(
                "[admin] listen = {}: others can reach it, and there is no token, so that nobody can pause, resume or swap over HTTP; set `token_file`, \
                 and let a network policy or a proxy with TLS stand before it",
                self.listen
            )
        })
    }
}

/// Characters of a token at least.
const TOKEN_CHARS: usize = 16;

/// Why a text is no token; the text is not in it.
pub fn unfit_token(token: &SecretString) -> Option<String> {
    let token = token.expose_secret();
    let sent = token.bytes().all(|byte| byte.is_ascii_graphic());
    let long = token.len() >= TOKEN_CHARS;
    (!sent || !long).then(|| {
        format!("must have {TOKEN_CHARS} characters at least, of ASCII and without spaces; `openssl rand -hex 32` makes one")
    })
}

/// The least that the server's buffer holds, and as much as a body may have by default.
const HEAD_BYTES: (usize, usize) = (8_192, 1 << 20);
const CONNECTIONS: (usize, usize) = (8, 65_536);
/// A day.
const MOST_MS: u64 = 86_400_000;
/// Below the 25 s that a drain may take, so that who grants those has time for this too; and below the 30 s after which a poll thread that stands still is not alive.
const MOST_STAY_MS: u64 = 20_000;

/// `[telemetry]`: logs on stderr; metrics and traces over OTLP when an endpoint is set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// `human` (default) or `json`.
    pub log: LogFormat,
    /// A filter as `RUST_LOG` takes it. Default `info`.
    pub level: String,
    /// OTLP over HTTP, for example `http://localhost:4318`. Default off, or what `OTEL_EXPORTER_OTLP_ENDPOINT` says.
    pub otlp_endpoint: Option<String>,
    /// Share of the slices that make a trace, 0 to 1. Default 1. A slice of one event follows the event's own trace.
    pub sample_ratio: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: LogFormat::Human, level: "info".into(), otlp_endpoint: None, sample_ratio: 1.0 }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Human,
    Json,
}

/// `[memory]`: what may be in hand.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Events and records in hand, over all pipelines, bytes. Default 64 MiB. At full the source waits; when it stays full, partitions are
    /// paused until half is free. A pipeline is never kept from its fair share.
    pub budget_bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget_bytes: 64 << 20 }
    }
}

/// `[limits]`: what a single event may be before it becomes a dead letter. A pipeline can set its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Payload, bytes. Default 1 MiB.
    pub body_bytes: usize,
    /// Nesting of JSON objects and arrays. Default 32, at most 100.
    pub depth: usize,
    /// A string that is used (id, key, text …), bytes. Default 256 KiB.
    pub string_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1 << 20, depth: 32, string_bytes: 256 << 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::Admin;
    use crate::config::Config;
    use std::collections::BTreeMap;

    /// Would catch: a token that can be guessed, one that no header carries, one that an error repeats; a listener for all without a word.
    #[test]
    fn a_token_is_long_and_never_repeated() {
        let admin =
            |token: &str, listen: &str| Admin { token: Some(token.into()), listen: listen.parse().unwrap(), ..Admin::default() };
        for wrong in ["short", "", "with spaces in the middle", "naïve-naïve-naïve-naïve"] {
            let found = admin(wrong, "127.0.0.1:1").findings();
            let told = found.len() == 1 && found[0].contains("[admin] the token");
            assert!(told && (wrong.is_empty() || !found[0].contains(wrong)), "{found:?}");
        }
        let good = admin("0123456789abcdef", "0.0.0.0:9464");
        assert!(good.findings().is_empty() && good.warning().is_none() && !format!("{good:?}").contains("0123456789abcdef"));
        let open = Admin { token: None, ..good };
        assert!(open.warning().is_some_and(|said| said.contains("token_file")));
        assert!(Admin::default().warning().is_none());
    }

    /// Would catch: a time within which nothing can be answered, or after which nobody is.
    #[test]
    fn times_of_the_doors_are_checked() {
        let findings = |admin: &str| {
            let text = format!(
                "[admin]\n{admin}\n[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'\noptions = {{ fields = ['a'] }}"
            );
            Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap().findings()
        };
        assert_eq!(findings("call_timeout_ms = 1\nbody_timeout_ms = 86400000"), [""; 0]);
        for wrong in ["call_timeout_ms = 0", "body_timeout_ms = 86400001"] {
            let found = findings(wrong);
            assert!(found.len() == 1 && found[0].contains(&format!("{wrong}: write 1 to 86400000")), "{found:?}");
        }
        assert_eq!(
            findings("head_timeout_ms = 1\nkeep_alive_ms = 1\nwrite_timeout_ms = 1\nhead_bytes = 8192\nconnections = 8"),
            [""; 0]
        );
        for (wrong, said) in [
            ("head_bytes = 8191", "8192 to 1048576"),
            ("connections = 7", "8 to 65536"),
            ("head_timeout_ms = 0", "1 to"),
            ("keep_alive_ms = 0", "1 to"),
            ("write_timeout_ms = 0", "1 to"),
            ("drain_stay_ms = 20001", "0 to 20000"),
        ] {
            let found = findings(wrong);
            assert!(found.len() == 1 && found[0].contains(&format!("{wrong}: write {said}")), "{found:?}");
        }
    }
}
