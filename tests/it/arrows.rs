//! The arrows between the rooms of the crate: who may know whom, and which library belongs where.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 21] = [
    "absent",
    "event",
    "record",
    "config",
    "flow",
    "state",
    "scoring",
    "schema",
    "hub",
    "source",
    "store",
    "publisher",
    "inference",
    "function",
    "train",
    "twin",
    "pipeline",
    "telemetry",
    "admin",
    "worker",
    "cli",
];

/// What a room may know, besides itself. Rooms that are not listed may know everything.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        // The four pure rooms may use each other's plain types.
        "event" => &["config"],
        "record" => &["event"],
        "config" => &["event", "record"],
        "flow" => &["event", "record"],
        // For tests alone.
        "absent" | "twin" => &[],
        "state" => &["event", "record", "config"],
        "scoring" => &["config", "absent"],
        "schema" => &["config", "event"],
        "source" => &["event", "twin"],
        "store" => &["event", "record", "config", "state", "twin"],
        "publisher" => &["event", "record", "source", "twin"],
        "inference" => &["config", "absent"],
        "hub" => &[],
        "function" => &["event", "record", "inference", "config", "state", "scoring", "hub"],
        "train" => &["inference"],
        "pipeline" => {
            &["config", "event", "record", "flow", "state", "function", "source", "store", "publisher", "telemetry", "twin"]
        }
        "telemetry" => &["config"],
        "admin" => &["telemetry"],
        _ => return None,
    })
}

/// Libraries that belong to some rooms, by the start of their name.
const LIBRARIES: [(&str, &[&str]); 11] = [
    ("rdkafka", &["source", "publisher", "cli"]),
    ("sqlx", &["store"]),
    ("candle", &["inference", "train"]),
    ("tokenizers", &["inference", "train"]),
    ("gemm", &["inference", "train"]),
    ("axum", &["admin"]),
    ("hyper", &["admin"]),
    ("opentelemetry", &["telemetry"]),
    ("prost_reflect", &["schema"]),
    ("protox", &["schema"]),
    ("reqwest", &["telemetry", "hub", "schema"]),
];

/// The text without `//` comments and string literals, as words and single signs.
fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut word) = (Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let end = |word: &mut String, tokens: &mut Vec<String>| {
        if !word.is_empty() {
            tokens.push(std::mem::take(word));
        }
    };
    while let Some(sign) = chars.next() {
        if sign.is_alphanumeric() || sign == '_' {
            word.push(sign);
            continue;
        }
        let raw = matches!(word.as_str(), "r" | "br") && matches!(sign, '"' | '#');
        end(&mut word, &mut tokens);
        match sign {
            '/' if chars.peek() == Some(&'/') => while chars.next().is_some_and(|next| next != '\n') {},
            '"' if raw => while chars.next().is_some_and(|next| next != '"') {},
            '#' if raw => {
                let mut hashes = 1;
                while chars.next_if_eq(&'#').is_some() {
                    hashes += 1;
                }
                if chars.next_if_eq(&'"').is_some() {
                    let close = format!("\"{}", "#".repeat(hashes));
                    let mut inside = String::new();
                    while !inside.ends_with(&close) {
                        let Some(next) = chars.next() else { break };
                        inside.push(next);
                    }
                }
            }
            '"' => {
                while let Some(next) = chars.next() {
                    match next {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '\'' => {
                // A character such as '"' would open a string; a lifetime has no closing quote.
                let mut ahead = chars.clone();
                match (ahead.next(), ahead.next()) {
                    (Some('\\'), Some(_)) => {
                        chars.next();
                        chars.next();
                        while chars.next().is_some_and(|next| next != '\'') {}
                    }
                    (Some(_), Some('\'')) => {
                        chars.next();
                        chars.next();
                    }
                    _ => {}
                }
            }
            sign if sign.is_whitespace() => {}
            sign => tokens.push(sign.to_string()),
        }
    }
    end(&mut word, &mut tokens);
    tokens
}

/// First names after every `crate::`, nested lists included, and the names of libraries that stand before a `::`.
fn arrows(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let tokens = tokens(text);
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let (mut rooms, mut libraries) = (BTreeSet::new(), BTreeSet::new());
    for i in 0..tokens.len() {
        let path = at(i + 1) == ":" && at(i + 2) == ":";
        // Inside a longer path the name is somebody else's module.
        let inside = i > 1 && at(i - 1) == ":" && at(i - 2) == ":";
        if path && !inside && LIBRARIES.iter().any(|(library, _)| at(i).starts_with(library)) {
            libraries.insert(at(i).to_owned());
        }
        if at(i) != "crate" || !path {
            continue;
        }
        if at(i + 3) != "{" {
            rooms.insert(at(i + 3).to_owned());
            continue;
        }
        let (mut depth, mut first) = (1, true);
        for token in tokens.iter().skip(i + 4) {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "," if depth == 1 => first = true,
                name if depth == 1 && first => {
                    rooms.insert(name.to_owned());
                    first = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    (rooms, libraries)
}

/// What is wrong with a file of a room.
fn violations(room: &str, text: &str) -> Vec<String> {
    let (rooms, libraries) = arrows(text);
    let mut wrong = Vec::new();
    if let Some(allowed) = allowed(room) {
        let others = rooms.iter().filter(|other| *other != room && !allowed.contains(&other.as_str()));
        wrong.extend(others.map(|other| format!("`{room}` may not know `{other}`")));
    }
    for library in libraries {
        for (start, homes) in LIBRARIES {
            if library.starts_with(start) && !homes.contains(&room) {
                wrong.push(format!("`{library}` does not belong in `{room}`"));
            }
        }
    }
    wrong
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn rooms_know_only_what_they_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found.sort();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for file in found {
        let name = file.strip_prefix(&root).unwrap();
        let room = name.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        wrong.extend(violations(&room, &text).into_iter().map(|what| format!("src/{}: {what}", name.display())));
        seen.insert(room);
    }
    for room in ROOMS {
        assert!(seen.contains(room), "the room `{room}` is gone: change the list");
    }
    assert!(wrong.is_empty(), "arrows that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn the_scanner_sees_a_forbidden_arrow() {
    let text = "use crate::{event::{Event, Position}, store::Store};\n// crate::cli\nfn f() { let s = \"crate::worker\"; crate::publisher::go(); rdkafka::x() }\n";
    let wrong = violations("flow", text);
    assert_eq!(wrong, ["`flow` may not know `publisher`", "`flow` may not know `store`", "`rdkafka` does not belong in `flow`"]);
    assert_eq!(violations("source", "use crate::event::Event; use rdkafka::{Message}; pub use crate::source::Lease;"), [""; 0]);
    assert_eq!(violations("event", "let c = '\"'; use crate::record::Record; let d = '\"';"), ["`event` may not know `record`"]);
}

/// Would catch: a function or a fold that reads the bytes as they came, which are no JSON where the pipeline's format is another.
#[test]
fn functions_and_folds_read_events_and_not_their_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in ["function", "state"] {
        let mut found = Vec::new();
        files(&root.join(room), &mut found);
        for file in found.iter().filter(|file| !file.to_string_lossy().contains("/tests")) {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(!text.contains("raw.payload.as_"), "{}: ask Event::payload", file.display());
        }
    }
}
