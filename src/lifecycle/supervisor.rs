//! The service manager that started this process: systemd's protocol, one datagram a message.
//!
//! Plain sockets of the standard library: the environment is handed down here, not read, and the messages are lines of text.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Who is told that this process is ready, alive or stopping. The default is nobody.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    failing: AtomicBool,
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names; `WATCHDOG_USEC` tells how long it waits for a sign of life. Without the first it is nobody.
    pub fn of(env: &BTreeMap<String, String>, pid: u32) -> Result<Self> {
        let Some(name) = env.get("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let address = address_of(name).map_err(|cause| Error::new(cause.kind(), format!("NOTIFY_SOCKET={name}: {cause}")))?;
        let socket = UnixDatagram::unbound()?;
        // A manager that reads nothing must not hold this process up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address)), watchdog: watchdog_of(env, pid), failing: AtomicBool::new(false) })
    }

    /// Whether anybody listens.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// After how long without a sign of life the process is ended.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends lines such as `READY=1`, and says whether they went out. Failures in a row are logged once.
    pub fn tell(&self, lines: &str) -> bool {
        let Some((socket, address)) = &self.socket else { return false };
        match socket.send_to_addr(lines.as_bytes(), address) {
            Ok(_) => {
                self.failing.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "The service manager cannot be told how this worker is (NOTIFY_SOCKET).");
                }
                false
            }
        }
    }
}

/// A path, or `@` and a name in Linux's abstract namespace.
fn address_of(name: &str) -> Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None if name.starts_with('/') => SocketAddr::from_pathname(name),
        None => Err(Error::new(ErrorKind::InvalidInput, "neither a path nor `@` and a name")),
    }
}

/// `WATCHDOG_PID` names the process that is meant; one that inherits the environment is not.
fn watchdog_of(env: &BTreeMap<String, String>, pid: u32) -> Option<Duration> {
    let is_meant = env.get("WATCHDOG_PID").is_none_or(|meant| *meant == pid.to_string());
    let microseconds = env.get("WATCHDOG_USEC").filter(|_| is_meant)?.parse::<u64>().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn heard(by: &UnixDatagram) -> String {
        by.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 256];
        let length = by.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Would catch: a socket in the abstract namespace, as containers have it, that is taken for a path.
    #[test]
    fn both_kinds_of_socket_hear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("millrace-test-{}", uuid::Uuid::new_v4());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, by) in [(path.display().to_string(), by_path), (format!("@{name}"), by_name)] {
            let supervisor = Supervisor::of(&env(&[("NOTIFY_SOCKET", &socket)]), 1).unwrap();
            assert!(supervisor.tell("READY=1"));
            assert_eq!(heard(&by), "READY=1");
        }
    }

    #[test]
    fn without_a_socket_nobody_is_told() {
        for nobody in [env(&[]), env(&[("NOTIFY_SOCKET", "")])] {
            let supervisor = Supervisor::of(&nobody, 1).unwrap();
            assert!(!supervisor.listens() && !supervisor.tell("READY=1"));
        }
        let error = Supervisor::of(&env(&[("NOTIFY_SOCKET", "vsock:2:1")]), 1).unwrap_err().to_string();
        assert!(error.contains("NOTIFY_SOCKET=vsock:2:1"), "{error}");
    }

    /// Would catch: a manager that is gone, or reads nothing, and holds up or ends the process.
    #[test]
    fn a_manager_that_does_not_listen_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::of(&env(&[("NOTIFY_SOCKET", path.to_str().unwrap())]), 1).unwrap();
        let sent = (0..10_000).filter(|_| supervisor.tell("WATCHDOG=1")).count();
        assert!(sent > 0 && sent < 10_000, "{sent} fit into its queue");
        drop(by);
        assert!(!supervisor.tell("WATCHDOG=1"));
    }

    /// Would catch: a child that inherits the environment and answers for its parent.
    #[test]
    fn the_watchdog_is_of_the_process_that_is_meant() {
        let of = |pairs: &[(&str, &str)]| watchdog_of(&env(pairs), 7);
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]), Some(Duration::from_secs(30)));
        assert_eq!(of(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!((of(&[("WATCHDOG_USEC", "0")]), of(&[("WATCHDOG_USEC", "x")]), of(&[])), (None, None, None));
    }
}
