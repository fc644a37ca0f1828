//! A page of Markdown as the blocks that a reader copies.

use std::path::{Path, PathBuf};

/// What a reader does with a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs it in a shell.
    Sh,
    /// Runs it too, but no test can; why.
    NoRun(String),
    /// Asks the database.
    Sql,
    /// Compares it with what the block before has said.
    Text,
    /// Reads it; its language, which may be none.
    Other(String),
}

#[derive(Debug)]
pub struct Block {
    pub kind: Kind,
    /// Line of the page on which it begins.
    pub line: usize,
    pub text: String,
}

#[derive(Debug)]
pub struct Page {
    /// From the repository's folder.
    pub name: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// README and all pages under `docs`.
pub fn pages() -> Vec<Page> {
    let mut files = vec![root().join("README.md")];
    collect(&root().join("docs"), &mut files);
    files.iter().map(|file| page(file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            collect(&entry, files);
        } else if entry.extension().is_some_and(|end| end == "md") {
            files.push(entry);
        }
    }
}

fn page(file: &Path) -> Page {
    let text = std::fs::read_to_string(file).unwrap();
    let name = file.strip_prefix(root()).unwrap().display().to_string();
    Page { blocks: blocks(&text), name, text }
}

pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                open = true;
                blocks.push(Block { kind: kind(info), line: at + 1, text: String::new() });
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "a block of code is not closed");
    blocks
}

fn kind(info: &str) -> Kind {
    match info.split_once(' ').unwrap_or((info, "")) {
        ("sh", "") => Kind::Sh,
        ("sh", more) => match more.split_once(' ').unwrap_or((more, "")) {
            ("no-run", why) => Kind::NoRun(why.to_owned()),
            _ => panic!("```{info}: write ```sh, or ```sh no-run REASON"),
        },
        ("sql", _) => Kind::Sql,
        ("text", _) => Kind::Text,
        (language, _) => Kind::Other(language.to_owned()),
    }
}

/// Whether a text is the expected one, in which `...` stands for anything.
pub fn fits(expected: &str, found: &str) -> bool {
    let plain = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned();
    let (expected, found) = (plain(expected), plain(found));
    let mut pieces = expected.split("...");
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Would catch: a page whose blocks are overlooked, an output that passes whatever it is.
#[test]
fn blocks_are_found_and_outputs_compared() {
    let found = blocks("a\n```sh\nx\n```\n```text\ny\n```\n```sh no-run it takes hours\nz\n```\n```toml\n```\n");
    let kinds: Vec<&Kind> = found.iter().map(|block| &block.kind).collect();
    assert_eq!(kinds, [&Kind::Sh, &Kind::Text, &Kind::NoRun("it takes hours".into()), &Kind::Other("toml".into())]);
    for (expected, text, same) in [
        ("a ... c\n", "a b c", true),
        ("a ... c", "a b d", false),
        ("a\n...\nz", "a\nb\nc\nz\n", true),
        ("...z", "yz", true),
        ("a", "ab", false),
        ("a...b...c", "a c", false),
        ("", "", true),
    ] {
        assert_eq!(fits(expected, text), same, "{expected:?} {text:?}");
    }
}
