//! Tells the service manager that the worker has started, what is in its way, and that it drains; feeds the watchdog while the poll threads tick.

use crate::admin::{Liveness, Readiness};
use crate::lifecycle::Supervisor;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it looks; more often where the watchdog wants to hear more often.
const PERIOD: Duration = Duration::from_secs(1);
/// Signs of life within the watchdog's time: one that is lost does not end the worker.
const SIGNS: u32 = 3;

/// Goes on until the worker closes.
pub async fn follow(
    supervisor: Supervisor,
    (liveness, readiness): (Arc<Liveness>, Arc<Readiness>),
    (drain, closing): (CancellationToken, CancellationToken),
) {
    if !supervisor.listens() {
        return;
    }
    let period = supervisor.watchdog().map_or(PERIOD, |limit| PERIOD.min(limit / SIGNS));
    let mut told = Told::default();
    loop {
        let seen = Seen {
            started: readiness.started(),
            draining: drain.is_cancelled(),
            missing: readiness.missing(),
            stale: liveness.stale(Instant::now()),
        };
        let (next, lines) = told.next(&seen, supervisor.watchdog().is_some());
        // What could not be sent is said again.
        if lines.is_empty() || supervisor.tell(&lines) {
            told = next;
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = drain.cancelled(), if !seen.draining => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// How the worker is.
struct Seen {
    started: bool,
    draining: bool,
    missing: Vec<String>,
    stale: Vec<String>,
}

/// What the manager has heard.
#[derive(Default, Clone)]
struct Told {
    ready: bool,
    stopping: bool,
    status: String,
}

impl Told {
    /// What is new, and what the manager knows once it has heard it. Ready means started: a database that is away later, or one halted partition, must not have the worker ended.
    fn next(&self, seen: &Seen, watched: bool) -> (Self, String) {
        let next = Self {
            ready: self.ready || (seen.started && !seen.draining),
            stopping: self.stopping || seen.draining,
            status: seen.status(),
        };
        let mut lines = Vec::new();
        if next.ready && !self.ready {
            lines.push("READY=1".to_owned());
        }
        if next.stopping && !self.stopping {
            lines.push("STOPPING=1".to_owned());
        }
        if next.status != self.status {
            lines.push(format!("STATUS={}", next.status));
        }
        if watched && seen.stale.is_empty() {
            lines.push("WATCHDOG=1".to_owned());
        }
        (next, lines.join("\n"))
    }
}

impl Seen {
    /// One line: a line break would begin another variable.
    fn status(&self) -> String {
        let status = match self {
            Self { stale, .. } if !stale.is_empty() => format!("Stuck: no poll for 30 s in {}", stale.join(", ")),
            Self { draining: true, .. } => "Draining".into(),
            Self { missing, .. } if missing.is_empty() => "Ready".into(),
            Self { started: false, missing, .. } => format!("Starting: {}", missing.join("; ")),
            Self { missing, .. } => format!("Not ready: {}", missing.join("; ")),
        };
        status.replace(['\n', '\r'], " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(started: bool, missing: &[&str]) -> Seen {
        let missing = missing.iter().map(|text| text.to_string()).collect();
        Seen { started, draining: false, missing, stale: Vec::new() }
    }

    impl Told {
        /// What is sent, and heard.
        fn lines(&mut self, seen: &Seen, watched: bool) -> String {
            let (next, lines) = self.next(seen, watched);
            *self = next;
            lines
        }
    }

    /// Would catch: a manager with a full queue that never hears that the worker is ready.
    #[test]
    fn what_was_not_heard_is_said_again() {
        let told = Told::default();
        let (_, lines) = told.next(&seen(true, &[]), false);
        assert_eq!(lines, "READY=1\nSTATUS=Ready");
        assert_eq!(told.next(&seen(true, &[]), false).1, lines);
    }

    /// Would catch: a worker that is never ready since one partition is halted, and is started again for ever.
    #[test]
    fn ready_is_told_once_when_it_has_started() {
        let mut told = Told::default();
        assert_eq!(told.lines(&seen(false, &["waiting for models"]), false), "STATUS=Starting: waiting for models");
        assert_eq!(told.lines(&seen(false, &["waiting for models"]), false), "");
        let halted = seen(true, &["risk: 1 partition is halted\nfor safety"]);
        assert_eq!(told.lines(&halted, false), "READY=1\nSTATUS=Not ready: risk: 1 partition is halted for safety");
        assert_eq!(told.lines(&seen(true, &[]), false), "STATUS=Ready");
        let draining = Seen { draining: true, ..seen(true, &["this worker: it drains and will end"]) };
        assert_eq!(told.lines(&draining, false), "STOPPING=1\nSTATUS=Draining");
        assert_eq!(told.lines(&draining, false), "");
    }

    /// Would catch: a watchdog that is fed by a task which lives while the poll thread is stuck.
    #[test]
    fn a_stuck_poll_thread_starves_the_watchdog() {
        let mut told = Told::default();
        assert_eq!(told.lines(&seen(true, &[]), true), "READY=1\nSTATUS=Ready\nWATCHDOG=1");
        assert_eq!(told.lines(&seen(true, &[]), true), "WATCHDOG=1");
        let stuck = Seen { stale: vec!["risk".into()], ..seen(true, &[]) };
        assert_eq!(told.lines(&stuck, true), "STATUS=Stuck: no poll for 30 s in risk");
        assert_eq!(told.lines(&stuck, true), "");
    }

    /// Would catch: a drain that is told only with the next look.
    #[tokio::test(start_paused = true)]
    async fn a_drain_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        by.set_nonblocking(true).unwrap();
        let env = [("NOTIFY_SOCKET".to_owned(), path.display().to_string())].into();
        let (drain, closing) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(follow(
            Supervisor::of(&env, 1).unwrap(),
            (Arc::new(Liveness::default()), Arc::new(Readiness::new([]))),
            (drain.clone(), closing.clone()),
        ));
        tokio::time::sleep(Duration::from_millis(10)).await;
        drain.cancel();
        tokio::time::sleep(Duration::from_millis(10)).await;
        closing.cancel();
        task.await.unwrap();
        let heard = || {
            let mut buffer = [0; 256];
            by.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()).unwrap()
        };
        assert_eq!((heard(), heard()), ("READY=1\nSTATUS=Ready".into(), "STOPPING=1\nSTATUS=Draining".into()));
    }
}
