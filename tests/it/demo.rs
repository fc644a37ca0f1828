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

/// What stands on an 80-column terminal after `bytes`: plain text, line ends, cursor up, erase to the end.
fn screen(bytes: &str) -> Vec<String> {
    let (mut lines, mut row) = (vec![String::new()], 0usize);
    let mut rest = bytes;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\r' => {}
            '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), String::new());
            }
            '\u{1b}' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match rest.as_bytes()[end] {
                    b'A' => row = row.saturating_sub(rest[1..end].parse().unwrap()),
                    b'J' => lines.drain(row + 1..).for_each(drop),
                    _ => {}
                }
                if rest.as_bytes()[end] == b'J' {
                    lines[row].clear();
                }
                rest = &rest[end + 1..];
            }
            other => lines[row].push(other),
        }
    }
    lines
}

/// The summary, as both ways of showing end with it.
fn assert_summary(lines: &[String]) {
    let find = |text: &str| {
        let found: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
        assert_eq!(found.len(), 1, "{text:?} stands {} times in {lines:#?}", found.len());
        found[0].clone()
    };
    for text in ["are played again and again", "sentiment               ", "bad on purpose          ", "What this cannot show"] {
        find(text);
    }
    assert!(find("from append to committed row").contains("p99"), "{lines:#?}");
    assert!(find("every event has exactly one ending").ends_with("yes"), "{lines:#?}");
    for (what, code) in [
        ("half a JSON document", "invalid_json"),
        ("no text", "missing_field"),
        ("a number as text", "wrong_type"),
        ("lists 40 deep", "too_deep"),
    ] {
        let line = find(what);
        let words: Vec<&str> = line[what.len() + 4..].split_whitespace().collect();
        let [sent, "dead", "letter", reason, ended] = words[..] else { panic!("{line}") };
        assert_eq!((sent, reason), (ended, format!("`{code}`").as_str()), "{line}");
    }
    let shares: Vec<u32> = lines
        .iter()
        .filter(|line| line.starts_with("    ") && line.ends_with(" %"))
        .map(|line| line.split_whitespace().rev().nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(!shares.is_empty() && (99..=101).contains(&shares.iter().sum::<u32>()), "{lines:#?}");
    for line in lines {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
}

/// Would catch: a line told twice, a summary that leaves out a latency, the shares or how a bad event ended, a line too wide.
#[test]
fn the_summary_tells_how_everything_ended() {
    let temporary = folder();
    let mut child = demo(temporary.path()).args(["--seconds", "6", "--rate", "100"]).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{lines:#?} {said}");
    assert_summary(&lines);
    let at = |line: &String| line.split_once(" s  sent ").map(|(at, _)| at.trim().parse::<u64>().unwrap());
    let told: Vec<u64> = lines.iter().filter_map(at).collect();
    assert!(told[0] >= 5 && told.windows(2).all(|pair| pair[1] - pair[0] >= 5), "the last line is told twice: {lines:#?}");
}

/// Would catch: a screen that creeps up and eats what stands above it, labels without a heading.
#[test]
fn a_terminal_shows_one_screen_and_keeps_what_stands_above() {
    let temporary = folder();
    let mut command = Command::new("script");
    command.arg("-qec").arg(format!("{} demo --seconds 5 --rate 100", env!("CARGO_BIN_EXE_millrace"))).arg("/dev/null");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("DATABASE_URL").env("TMPDIR", temporary.path());
    let output = command.stdin(Stdio::null()).output().expect("`script` of util-linux gives the demo a terminal");
    let lines = screen(&String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{lines:#?}");
    assert!(lines[0].starts_with("Millrace demo"), "{lines:#?}");
    for once in ["Joining the group", "share of", "dead letters:", "last messages"] {
        assert_eq!(lines.iter().filter(|line| line.contains(once)).count(), 1, "{once:?} in {lines:#?}");
    }
}
