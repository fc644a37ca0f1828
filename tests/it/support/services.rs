//! A Kafka or a Postgres of a test's own, that it can stop and start.

use super::link::Link;
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

/// Under the folder of `with.sh`, which also takes down what a killed test leaves.
pub(super) fn folder(prefix: &str) -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    std::env::var_os("MILLRACE_SERVICES").map_or_else(|| builder.tempdir(), |of| builder.tempdir_in(of)).unwrap()
}

impl Service {
    pub fn up(kind: Kind) -> Self {
        let service = Self { kind, folder: folder("own.") };
        service.tell(&["up"]);
        service
    }

    /// One whose data is on a disk of its own, of so many MiB.
    pub fn on_a_small_disk(kind: Kind, mib: u32) -> Self {
        let service = Self { kind, folder: folder("own.") };
        run(Command::new(service.script()).arg("up").arg(service.folder.path()).env("MILLRACE_DISK_MIB", mib.to_string()));
        service
    }

    /// One that listens at this end of a link too, [`there`](Self::there), for who is behind it.
    pub fn at(kind: Kind, link: &Link) -> Self {
        let service = Self { kind, folder: folder("own.") };
        run(Command::new(service.script()).arg("up").arg(service.folder.path()).env("MILLRACE_ALSO_AT", link.here()));
        service
    }

    /// Host and port for who is behind the link.
    pub fn there(&self) -> String {
        let file = match self.kind {
            Kind::Kafka => "kafka.there",
            Kind::Postgres => "postgres.there",
        };
        std::fs::read_to_string(self.folder.path().join(file)).unwrap().trim().to_owned()
    }

    /// Takes all that is left on that disk (`fill`), or gives it back (`free`).
    pub fn disk(&self, action: &str) {
        let path = std::fs::read_to_string(self.folder.path().join("disk")).unwrap();
        run(Command::new(script("disk.sh")).arg(action).arg(path.trim()));
    }

    /// Whether this Kafka's process is there.
    pub fn is_running(&self) -> bool {
        let pid = std::fs::read_to_string(self.folder.path().join("kafka.pid")).unwrap();
        std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| !line.is_empty())
    }

    /// A standby of a Postgres, which follows it asynchronously unless the primary is told otherwise.
    pub fn standby_of(primary: &Self) -> Self {
        let standby = Self { kind: Kind::Postgres, folder: folder("own.") };
        standby.follow("up", primary);
        standby
    }

    /// Runs the standby's script: `cut` it off from its primary, `take` the dead primary's port.
    pub fn follow(&self, action: &str, primary: &Self) {
        run(Command::new(script("standby.sh")).arg(action).arg(primary.folder.path()).arg(self.folder.path()));
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(Command::new(script("standby.sh")).arg("promote").arg(self.folder.path()));
    }

    /// A Kafka whose partitions lose their leader only `ms` after its broker was killed; one that is back before then finds itself as it was.
    pub fn kafka_with_session(ms: u32) -> Self {
        let service = Self { kind: Kind::Kafka, folder: folder("own.") };
        run(Command::new(script("kafka.sh")).arg("up").arg(service.folder.path()).env("KAFKA_BROKER_SESSION_MS", ms.to_string()));
        service
    }

    /// A Kafka that has a second door, [`behind`](Self::behind), whose clients it sends to a proxy at this port.
    pub fn kafka_behind(port: u16) -> Self {
        let service = Self { kind: Kind::Kafka, folder: folder("own.") };
        run(Command::new(script("kafka.sh")).arg("up").arg(service.folder.path()).env("KAFKA_PROXIED", port.to_string()));
        service
    }

    /// Where that proxy must lead to.
    pub fn behind(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("kafka.behind")).unwrap().trim().to_owned()
    }

    /// Where the user `limited` comes in, who may do nothing but what ACLs allow.
    pub fn limited(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("kafka.limited-brokers")).unwrap().trim().to_owned()
    }

    /// A file of the folder that `deploy/local/certificates.sh` has filled for it.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(name)
    }

    /// Where a Kafka speaks SASL_SSL.
    #[cfg(any(feature = "tls", feature = "tls-vendored"))]
    pub fn secured(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("kafka.tls-brokers")).unwrap().trim().to_owned()
    }

    /// Runs the service's script: `stop`, `start`, `kill`.
    pub fn tell(&self, words: &[&str]) {
        let script = self.script();
        let (action, more) = words.split_first().unwrap();
        let mut command = Command::new(&script);
        command.arg(action).arg(self.folder.path()).args(more).stdin(Stdio::null());
        assert!(command.status().unwrap().success(), "{} {words:?} failed", script.display());
    }

    fn script(&self) -> PathBuf {
        script(match self.kind {
            Kind::Kafka => "kafka.sh",
            Kind::Postgres => "postgres.sh",
        })
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

/// Three brokers of a test's own; taken down with the test.
pub struct Cluster {
    folder: TempDir,
}

impl Cluster {
    pub fn up() -> Self {
        let cluster = Self { folder: folder("cluster.") };
        cluster.tell("up", None);
        cluster
    }

    /// Runs the cluster's script: `kill` or `start` of one broker, 1 to 3.
    pub fn tell(&self, word: &str, broker: Option<usize>) {
        let mut command = Command::new(script("cluster.sh"));
        command.arg(word).arg(self.folder.path()).args(broker.map(|broker| broker.to_string()));
        run(&mut command);
    }

    pub fn brokers(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("brokers")).unwrap().trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        Command::new(script("cluster.sh")).arg("down").arg(self.folder.path()).stdin(Stdio::null()).status().ok();
    }
}

pub(super) fn run(command: &mut Command) {
    assert!(command.stdin(Stdio::null()).status().unwrap().success(), "{command:?} failed");
}

pub(super) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(name)
}
