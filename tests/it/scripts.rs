//! The scripts of `deploy/local` and `.ci`, where they could do harm.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Would catch: a stored number of a process that has ended, and is somebody else's by now, which is sent a signal.
#[test]
fn a_number_that_is_somebody_elses_gets_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(folder.path().join("kafka.pid"), other.id().to_string()).unwrap();
    for (action, good) in [("freeze", false), ("stop", true)] {
        let mut command = Command::new(script("deploy/local/kafka.sh"));
        let status = command.arg(action).arg(folder.path()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.success(), good, "{action}");
    }
    let state = std::fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap();
    assert!(other.try_wait().unwrap().is_none() && state.contains("(sleep) S"), "{state}");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Would catch: a start that is interrupted halfway and leaves a server or its data.
#[test]
fn a_start_that_is_interrupted_leaves_nothing() {
    // On a machine that stands still at the wrong moment the start is over before the interrupt comes.
    assert!((0..3).any(|_| interrupted_in_time()), "no start was interrupted");
}

/// Interrupts a start; false when it had come to its end before.
fn interrupted_in_time() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    // A run of tests in a shell's background ignores interrupts, and so would all that it starts.
    let mut up = Command::new("env");
    let mut up = up
        .arg("--default-signal=INT")
        .arg(script("deploy/local/up.sh"))
        .arg(&services)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !services.join("kafka.pid").exists() {
        assert!(Instant::now() < deadline && up.try_wait().unwrap().is_none(), "the services do not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    let data = std::fs::read_to_string(services.join("postgres.dir")).unwrap();
    let servers = [
        std::fs::read_to_string(services.join("kafka.pid")).unwrap(),
        std::fs::read_to_string(Path::new(data.trim()).join("data/postmaster.pid")).unwrap().lines().next().unwrap().to_owned(),
    ];
    // As Ctrl-C does: the whole group.
    assert!(Command::new("kill").args(["-INT", "--", &format!("-{}", up.id())]).status().unwrap().success());
    if up.wait().unwrap().success() {
        assert!(Command::new(script("deploy/local/down.sh")).arg(&services).status().unwrap().success());
        return false;
    }
    assert!(!services.exists() && !Path::new(data.trim()).exists(), "{services:?} or {data} is left");
    for server in servers {
        while Path::new("/proc").join(server.trim()).exists() {
            assert!(Instant::now() < deadline, "the server {server} still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    true
}

/// Would catch: CI of one branch that throws away what another one built, and a cache without a bound.
#[test]
fn ci_keeps_what_other_branches_use() {
    let folder = tempfile::tempdir().unwrap();
    let (bin, cache) = (folder.path().join("bin"), folder.path().join("cache"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("make"), "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(bin.join("make"), Permissions::from_mode(0o755)).unwrap();
    let used = |name: &str, days: u64| {
        std::fs::create_dir_all(cache.join(name)).unwrap();
        let mark = std::fs::File::create(cache.join(name).join(".used")).unwrap();
        mark.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        std::fs::write(cache.join(name).join("built"), vec![1; 1 << 20]).unwrap();
    };
    for (name, days) in [("yesterday", 1), ("last-week", 8), ("three-days", 3)] {
        used(name, days);
    }
    let run = |limit_kib: &str| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(script(".ci/run"));
        command.env("PATH", path).env("MILLRACE_CI_CACHE", &cache).env("MILLRACE_CI_CACHE_KIB", limit_kib);
        assert!(command.status().unwrap().success());
        ["yesterday", "last-week", "three-days"].map(|name| cache.join(name).exists())
    };
    assert_eq!(run("100000"), [true, false, true]);
    assert_eq!(run("1500"), [true, false, false], "the one used longest ago goes first");
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2, "the one in use stays");
}
