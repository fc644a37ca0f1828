//! A Kafka or a Postgres of a test's own, that it can stop and start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Kinds of service, by the name of their script in `deploy/local`.
#[derive(Clone, Copy)]
pub enum Kind {
    Kafka,
    Postgres,
}

/// A running service; taken down with the test.
pub struct Service {
    kind: Kind,
    folder: TempDir,
}

impl Service {
    pub fn up(kind: Kind) -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("own.");
        // Under the folder of `with.sh`, which also takes down what a killed test leaves.
        let folder = std::env::var_os("MILLRACE_SERVICES").map_or_else(|| builder.tempdir(), |of| builder.tempdir_in(of));
        let service = Self { kind, folder: folder.unwrap() };
        service.tell(&["up"]);
        service
    }

    /// Runs the service's script: `stop`, `start`, `kill`.
    pub fn tell(&self, words: &[&str]) {
        let script = script(match self.kind {
            Kind::Kafka => "kafka.sh",
            Kind::Postgres => "postgres.sh",
        });
        let (action, more) = words.split_first().unwrap();
        let mut command = Command::new(&script);
        command.arg(action).arg(self.folder.path()).args(more).stdin(Stdio::null());
        assert!(command.status().unwrap().success(), "{} {words:?} failed", script.display());
    }

    /// What clients connect to: brokers, or a URL.
    pub fn address(&self) -> String {
        let file = match self.kind {
            Kind::Kafka => "kafka.brokers",
            Kind::Postgres => "postgres.url",
        };
        std::fs::read_to_string(self.folder.path().join(file)).unwrap().trim().to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        Command::new(script("down.sh")).arg(self.folder.path()).stdin(Stdio::null()).status().ok();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(name)
}
