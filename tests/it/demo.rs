//! `millrace demo` as a process: whatever ends it, its Postgres and its folder go with it.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder that the user of the private Postgres can reach, too.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

fn demo(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.arg("demo").current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("DATABASE_URL").env("TMPDIR", temporary);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The code with which it ends, and what it wrote to stderr.
fn end(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            return (status.code(), said);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the demo did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn left(temporary: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Would catch: a Ctrl-C that ends the process and leaves a server and its folder behind.
#[test]
fn an_interrupt_leaves_nothing_running() {
    let temporary = folder();
    for line in ["Loading the model", "sent "] {
        let mut child = demo(temporary.path()).args(["--seconds", "60"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|said| said.unwrap().contains(line)), "the demo does not come to {line:?}");
        let data = left(temporary.path()).pop().expect("the private Postgres has a folder").join("data/postmaster.pid");
        let server = std::fs::read_to_string(data).unwrap().lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        // Read on, or its last words would find a closed pipe.
        let last: Vec<String> = lines.map(Result::unwrap).collect();
        let (code, said) = end(child);
        assert_eq!(code, Some(0), "{last:?} {said}");
        assert!(last.iter().any(|said| said.contains("What this cannot show")), "{last:?}");
        assert!(left(temporary.path()).is_empty(), "{:?} is left", left(temporary.path()));
        // pg_ctl waits for the server's file, which goes a moment before the server itself.
        let deadline = Instant::now() + Duration::from_secs(10);
        while Path::new("/proc").join(&server).exists() {
            assert!(Instant::now() < deadline, "the server {server} still runs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Would catch: an error on the way that leaves a server or its folder behind.
#[test]
fn a_demo_that_fails_leaves_nothing_either() {
    let temporary = folder();
    let (code, said) = end(demo(temporary.path()).args(["--model", "there/is/no/model"]).spawn().unwrap());
    assert!(code == Some(1) && said.contains("there/is/no/model"), "{code:?} {said}");
    assert!(left(temporary.path()).is_empty(), "{:?} is left", left(temporary.path()));

    let (bin, log) = (folder(), "echo no room >&2; exit 1");
    for (name, script) in [("initdb", "mkdir data"), ("pg_ctl", log)] {
        std::fs::write(bin.path().join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(bin.path().join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let (code, said) = end(demo(temporary.path()).env("MILLRACE_POSTGRES_BIN", bin.path()).spawn().unwrap());
    assert!(code == Some(1) && said.contains("no room"), "{code:?} {said}");
    assert!(left(temporary.path()).is_empty(), "{:?} is left", left(temporary.path()));
}
