//! A worker as a process, with a config of its own.

use sqlx::{Connection, PgConnection};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// The config of a pipeline `copy` that reads the topic of its name; the database comes from the environment.
pub fn config(kafka: &str, telemetry: &str, name: &str) -> String {
    format!(
        r#"
        [kafka]
        {kafka}
        [admin]
        listen = "127.0.0.1:0"
        halted_stay_ms = 0
        [telemetry]
        {telemetry}
        [[pipeline]]
        name = "{name}"
        topic = "{name}"
        event = "transaction"
        function = "copy"
        output_topic = "{name}.out"
        dead_letter_topic = "{name}.dead"
        options = {{ fields = ["amount"], score = "amount / 100" }}
        "#
    )
}

/// Ends with the test at the latest.
pub struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// Starts `millrace run` with nothing of the environment that names services, but what `env` names.
    pub fn start(config: &str, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("millrace.toml"), config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .arg("run")
            .arg("--config")
            .arg(folder.path().join("millrace.toml"))
            .env_remove("DATABASE_URL")
            .env_remove("MILLRACE_KAFKA__BROKERS")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// What it has written to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends SIGTERM, and returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success(), "{}", self.log());
        self.end()
    }

    /// Waits for the end, and returns the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the worker did not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many events are decided in a database, all of them published.
    pub async fn finished(&mut self, url: &str, events: i64) {
        let deadline = Instant::now() + SOON;
        let mut connection = PgConnection::connect(url).await.unwrap();
        loop {
            let (decided, open): (i64, i64) = sqlx::query_as(
                "SELECT coalesce(sum(events), 0)::bigint, count(*) FILTER (WHERE published_offset <> next_offset) \
                 FROM millrace.stream_partition",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap();
            if (decided, open) == (events, 0) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the worker has ended; log:\n{}", self.log());
            assert!(Instant::now() < deadline, "{decided} of {events} are decided, {open} open; log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
