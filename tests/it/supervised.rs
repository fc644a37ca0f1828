//! What systemd hears of a real worker.

use crate::process::{Process, config};
use crate::support::{brokers, create_topic, database, produce, unique};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EVENT: &[u8] = b"{\"id\":\"t\",\"account\":\"a\",\"amount\":1,\"currency\":\"EUR\",\"time\":1760000000000}";

/// Reads all that is sent to a socket, in a thread of its own: a queue that is full would lose what the worker says last.
struct Manager(Arc<Mutex<Vec<String>>>);

impl Manager {
    fn listen(socket: UnixDatagram) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        std::thread::spawn({
            let lines = lines.clone();
            move || {
                let mut buffer = [0; 4096];
                while let Ok(length) = socket.recv(&mut buffer) {
                    lines.lock().unwrap().extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
                }
            }
        });
        Self(lines)
    }

    /// Waits until a line has come so many times, and returns all lines.
    fn hears(&self, line: &str, times: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let lines = self.0.lock().unwrap().clone();
            if lines.iter().filter(|heard| *heard == line).count() >= times {
                return lines;
            }
            assert!(Instant::now() < deadline, "{line} was not heard {times} times, but {lines:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Would catch: a unit that systemd ends since it never hears that the worker is ready, or that it is alive; one that is ready before a
/// partition is claimed.
#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_ready_alive_and_stopping() {
    let (name, url) = (unique("notified"), database().await);
    for topic in [name.clone(), format!("{name}.out"), format!("{name}.dead")] {
        create_topic(&topic, 1).await;
    }
    produce(&name, 0, None, EVENT);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = Manager::listen(UnixDatagram::bind(&path).unwrap());
    let config = config(&format!("brokers = \"{}\"", brokers()), "", &name);
    let env = [("DATABASE_URL", url.as_str()), ("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let mut worker = Process::start(&config, &env);

    let starting = manager.hears("READY=1", 1);
    assert!(starting[0].starts_with("STATUS=Starting: waiting for "), "{starting:?}");
    worker.finished(&url, 1).await;
    manager.hears("STATUS=Ready", 1);
    let signs = |lines: Vec<String>| lines.iter().filter(|line| *line == "WATCHDOG=1").count();
    let so_far = signs(manager.hears("WATCHDOG=1", 1));
    let from = Instant::now();
    manager.hears("WATCHDOG=1", so_far + 5);
    assert!(from.elapsed() < Duration::from_secs(10), "five signs of life took {:?}", from.elapsed());

    assert_eq!(worker.stop(), Some(0), "{}", worker.log());
    let all = manager.hears("STOPPING=1", 1);
    let one_of = |line: &str| all.iter().filter(|heard| *heard == line).count();
    assert_eq!((one_of("READY=1"), one_of("STOPPING=1")), (1, 1), "{all:?}");
}
