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
    for line in ["Loading the models", "decided "] {
        let mut child = demo(temporary.path()).args(["--seconds", "60"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|said| said.unwrap().contains(line)), "the demo does not come to {line:?}");
        let data = left(temporary.path()).pop().expect("the private Postgres has a folder").join("data/postmaster.pid");
        let server = std::fs::read_to_string(data).unwrap().lines().next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        // Read on, or its last words would find a closed pipe.
        let last: Vec<String> = lines.map(Result::unwrap).collect();
        let (code, said) = end(child);
        // A slow machine may not drain in time, and says so.
        assert!(matches!(code, Some(0 | 4)), "{code:?} {last:?} {said}");
        assert_eq!(code == Some(4), last.iter().any(|said| said.contains("not all that was in work")), "{code:?} {last:?}");
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

/// The numbers of a line, after so many words.
fn numbers(line: &str, words: usize) -> Vec<u64> {
    line.split_whitespace().skip(words).map_while(|word| word.trim_end_matches(',').parse().ok()).collect()
}

/// The summary, as both ways of showing end with it.
fn assert_summary(lines: &[String]) {
    let find = |text: &str| {
        let found: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
        assert_eq!(found.len(), 1, "{text:?} stands {} times in {lines:#?}", found.len());
        found[0].clone()
    };
    for text in ["Summary, read from Postgres", "bad on purpose          ", "What this cannot show", "fraud not approved"] {
        find(text);
    }
    assert!(find("every event has exactly one ending").ends_with("yes"), "{lines:#?}");
    let table = lines.iter().position(|line| line.contains("Summary, read")).unwrap() + 2;
    let mut predictions = Vec::new();
    for (line, function) in lines[table..].iter().zip(["risk", "sentiment", "recommend"]) {
        let [events, predicted, skipped, dead, published, p50, p99] = numbers(line, 1)[..] else { panic!("{line}") };
        assert!(line.trim_start().starts_with(function) && dead > 0 && p50 <= p99, "{line}");
        assert_eq!((events, published), (predicted + skipped + dead, predicted + dead), "{line}");
        predictions.push(predicted);
    }
    for (function, what, code) in [
        ("risk", "half a JSON document", "invalid_json"),
        ("risk", "no account", "missing_field"),
        ("risk", "an amount below 0", "negative"),
        ("risk", "an amount in words", "wrong_type"),
        ("risk", "a label of no event", "unknown_event"),
        ("sentiment", "half a JSON document", "invalid_json"),
        ("sentiment", "no text", "missing_field"),
        ("sentiment", "a number as text", "wrong_type"),
        ("sentiment", "lists 40 deep", "too_deep"),
        ("recommend", "half a JSON document", "invalid_json"),
        ("recommend", "no user", "missing_field"),
        ("recommend", "an unknown kind", "unknown_kind"),
        ("recommend", "no time", "missing_field"),
    ] {
        let line = find(&format!("    {function:<10}{what}  "));
        let words: Vec<&str> = line[what.len() + 14..].split_whitespace().collect();
        let [sent, "dead", "letter", reason, ended] = words[..] else { panic!("{line}") };
        assert_eq!((sent, reason), (ended, format!("`{code}`").as_str()), "{line}");
    }
    let of = |function: &str, rows: usize| {
        let heading = |line: &String| {
            line.starts_with(&format!("  {function}")) && line.contains("  ") && !line.ends_with(|c: char| c.is_ascii_digit())
        };
        let at = lines.iter().rposition(heading).unwrap();
        lines[at + 1..][..rows].to_vec()
    };
    let decided: Vec<Vec<u64>> = of("risk", 4).iter().map(|line| numbers(line, 1)).collect();
    let live: u64 = decided.iter().map(|row| row[0]).sum();
    assert!(live > 0 && live < predictions[0], "payments of the show alone: {decided:?} of {predictions:?}");
    assert!(decided.iter().all(|row| row[1] <= row[0]) && decided.iter().any(|row| row[1] > 0), "{decided:?}");
    let shares: Vec<u64> = of("sentiment", 2).iter().map(|line| numbers(line, 1)[1]).collect();
    assert!((99..=101).contains(&shares.iter().sum::<u64>()), "{lines:#?}");
    let lists = of("recommend", 5).into_iter().find(|line| line.starts_with("    all ")).map(|line| numbers(&line, 1)[0]);
    assert_eq!(lists, Some(predictions[2]), "every list is held against the rating that followed it: {lines:#?}");
    for line in lines {
        assert!(line.chars().count() <= 80, "wider than 80 columns: {line}");
    }
}

/// Would catch: a line told twice, a summary that leaves out a latency, the shares or how a bad event ended, a line too wide.
#[test]
fn the_summary_tells_how_everything_ended() {
    let temporary = folder();
    let mut child = demo(temporary.path()).args(["--seconds", "8", "--rate", "100"]).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    let (code, said) = end(child);
    assert_eq!(code, Some(0), "{lines:#?} {said}");
    assert_summary(&lines);
    for function in ["risk", "sentiment", "recommend"] {
        assert!(lines.iter().any(|line| line.contains(&format!(" s  {function}")) && line.contains("p99")), "{lines:#?}");
    }
    let at = |line: &String| line.split_once(" s  risk ").map(|(at, _)| at.trim().parse::<u64>().unwrap());
    let told: Vec<u64> = lines.iter().filter_map(at).collect();
    assert!(told[0] >= 5 && told.windows(2).all(|pair| pair[1] - pair[0] >= 5), "the last line is told twice: {lines:#?}");
}

/// Would catch: a screen that creeps up and eats what stands above it, a stream that is not shown, one that does not fit 24 lines.
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
    for once in ["Joining the groups", "-> risk", "-> sentiment", "-> recommend", "payments: ", "lists: "] {
        assert_eq!(lines.iter().filter(|line| line.contains(once)).count(), 1, "{once:?} in {lines:#?}");
    }
    assert_eq!(lines.iter().filter(|line| line.contains("    dead letters: ")).count(), 3, "{lines:#?}");
    let first = lines.iter().position(|line| line.contains('█')).unwrap();
    let last = lines.iter().rposition(|line| line.contains("    dead letters: ")).unwrap();
    assert!(last - first < 23, "the screen has {} lines: {lines:#?}", last - first + 1);
}
