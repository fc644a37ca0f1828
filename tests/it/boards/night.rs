//! What the pages tell people to do: commands that there are, and a page for each halt.

use super::files::{blocks, folder, pages, root, text};
use std::collections::BTreeSet;
use std::process::Command;

/// What the code says when it halts a partition stands behind one of these.
const HALTS: [&str; 4] = ["Halt(format!(", "self.halt(&partition, format!(", "let reason = format!(", "let reason =\nformat!("];

/// Would catch: a halt that nobody has written a page for, a page that quotes a sentence which nobody says any more.
#[test]
fn every_halt_has_its_page_and_every_page_its_halt() {
    let sentences = sentences();
    assert!(sentences.len() >= 19, "only {} halts were found", sentences.len());
    let (list, mut met) = (text("docs/runbooks/halts/README.md"), BTreeSet::new());
    for (page, text) in pages().iter().filter(|(page, _)| page.starts_with("halts/")) {
        let quotes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        assert!(!quotes.is_empty(), "{page} quotes no halt");
        for quote in quotes {
            let said: Vec<usize> = (0..sentences.len()).filter(|at| sentences[*at].contains(quote)).collect();
            assert!(!said.is_empty(), "{page}: no halt says {quote:?}");
            for at in said {
                assert!(met.insert(at), "{:?} is quoted by two pages", sentences[at]);
            }
        }
        for part in ["What happened", "What to do", "What not to do"] {
            assert!(text.contains(&format!("\n## {part}\n")), "{page} has no part `{part}`");
        }
        let file = page.strip_prefix("halts/").unwrap();
        assert!(list.contains(&format!("({file}.md)")), "the list of halts lacks {page}");
    }
    let unmet: Vec<&String> =
        sentences.iter().enumerate().filter(|(at, _)| !met.contains(at)).map(|(_, sentence)| sentence).collect();
    assert!(unmet.is_empty(), "no page for: {unmet:#?}");
}

/// The sentences with which the pipeline halts, as they stand in the code.
fn sentences() -> Vec<String> {
    let mut found = Vec::new();
    let folders = ["src/pipeline", "src/pipeline/driver", "src/pipeline/driver/decide", "src/pipeline/memory"];
    let files = folders.map(|name| folder(name, ".rs"));
    for (name, code) in files.iter().flatten().filter(|(name, _)| *name != "simulation") {
        // Strings go on in the next line behind a backslash.
        let lines: Vec<&str> = code.lines().map(str::trim).collect();
        let code = lines.join("\n").replace("\\\n", "");
        let code = code.split("#[cfg(test)]").next().unwrap();
        // What a claim finds is told there: every error of it is a halt.
        let marks: &[&str] = if name == "verdict" { &["Err(format!("] } else { &HALTS };
        for mark in marks {
            for rest in code.split(*mark).skip(1) {
                let literal = rest.trim_start().strip_prefix('"').unwrap_or_else(|| panic!("{name}: {mark} without a sentence"));
                let mut end = 0;
                while !literal[end..].starts_with('"') {
                    end += if literal[end..].starts_with('\\') { 2 } else { literal[end..].chars().next().unwrap().len_utf8() };
                }
                found.push(literal[..end].replace("\\\"", "\""));
            }
        }
    }
    found
}

/// Would catch: a command or an option that somebody types at night and that is not there.
#[test]
fn commands_of_the_pages_are_there() {
    let mut tried = BTreeSet::new();
    let mut all = pages();
    for list in ["README", "halts/README"] {
        all.insert(list.to_owned(), text(&format!("docs/runbooks/{list}.md")));
    }
    for (page, text) in &all {
        let fenced = blocks(text, "sh").join("\n");
        let inline = text.split('`').skip(1).step_by(2);
        for line in fenced.lines().chain(inline).filter_map(|line| line.trim().strip_prefix("millrace ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let depth = if ["dead-letters", "models", "bench"].contains(&words[0]) { 2 } else { 1 };
            let command: Vec<&str> = words.iter().copied().take(depth).take_while(|word| !word.starts_with('-')).collect();
            let help = Command::new(env!("CARGO_BIN_EXE_millrace")).args(&command).arg("--help").output().unwrap();
            assert!(help.status.success(), "{page}: there is no `millrace {}`", command.join(" "));
            let help = String::from_utf8(help.stdout).unwrap();
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let there = help.split(|of: char| !of.is_ascii_alphanumeric() && of != '-').any(|word| word == *option);
                assert!(there, "{page}: `millrace {}` has no {option}", command.join(" "));
            }
            tried.insert(command.join(" "));
        }
    }
    assert!(tried.len() >= 8, "{tried:?}");
}

/// Would catch: a page that leads to another one which is not there.
#[test]
fn pages_lead_to_pages() {
    let mut all = pages();
    for list in ["README", "halts/README"] {
        all.insert(list.to_owned(), text(&format!("docs/runbooks/{list}.md")));
    }
    for (page, text) in &all {
        let folder = root().join("docs/runbooks").join(page);
        for link in text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            assert!(folder.parent().unwrap().join(link).exists(), "{page} leads to {link}");
        }
    }
}

/// Would catch: a way out that wants the workers stopped and does not say how, nor where its command runs then.
#[test]
fn pages_that_stop_the_workers_say_how() {
    let mut told = 0;
    for (page, text) in pages() {
        let lower = text.to_lowercase();
        if ["stop the workers", "stop all workers"].iter().any(|words| lower.contains(words)) {
            // Not to stop them is something else.
            assert!(page == "worker-down", "{page} does not lead to docs/stopped.md");
        }
        told += usize::from(lower.contains("/stopped.md)"));
    }
    assert!(told >= 10, "{told}");
}
