//! The binary, as a process.

use super::stage::SOON;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A worker process, ended with the test at the latest.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    pub fn start(config: &Path, log: PathBuf, environment: &[(&str, String)]) -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_millrace")), config, log, environment)
    }

    /// Another program than `millrace` itself.
    pub fn of(program: &Path, config: &Path, log: PathBuf, environment: &[(&str, String)]) -> Self {
        Self::by(Command::new(program), config, log, environment)
    }

    /// Whatever the command runs the program in; it must become the program's own process.
    pub fn by(mut program: Command, config: &Path, log: PathBuf, environment: &[(&str, String)]) -> Self {
        let child = program
            .arg("run")
            .arg("--config")
            .arg(config)
            .env_remove("DATABASE_URL")
            .env_remove("MILLRACE_KAFKA__BROKERS")
            .env("NO_COLOR", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(name).arg(self.pid().to_string()).status().unwrap().success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Drains it, and expects that it ends well.
    pub fn drain(&mut self) {
        self.signal("-TERM");
        let status = self.end();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Address of its admin server.
    pub fn admin(&self) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let log = self.log();
            let address =
                log.lines().find(|line| line.contains("The admin server listens")).and_then(|line| line.split("address=").nth(1));
            if let Some(address) = address.and_then(|rest| rest.split_whitespace().next()) {
                return address.to_owned();
            }
            assert!(Instant::now() < deadline, "no admin server; log:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Memory that it holds, bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
