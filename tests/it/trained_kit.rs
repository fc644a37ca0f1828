//! What tests of `millrace train` have in common: the program, a network to be drawn, rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, within `folder`.
pub fn millrace(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).current_dir(folder).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a run printed; a run that fails, fails the test.
pub fn said(folder: &Path, args: &str) -> String {
    let done = millrace(folder, &args.split_whitespace().collect::<Vec<_>>());
    let said = text(&done.stdout);
    assert!(done.status.success(), "{args}: {said}{}", text(&done.stderr));
    said
}

/// The error of a run that must fail.
pub fn refused(folder: &Path, args: &str) -> String {
    let done = millrace(folder, &args.split_whitespace().collect::<Vec<_>>());
    assert!(!done.status.success(), "{args}: {}", text(&done.stdout));
    text(&done.stderr)
}

/// The number behind `word` in the last line that begins with `begin`.
pub fn figure(said: &str, begin: &str, word: &str) -> f64 {
    let line = said.lines().rfind(|line| line.starts_with(begin)).unwrap_or_default();
    let rest = line.split(word).nth(1).unwrap_or_default().trim_start();
    let number = rest.split([',', ' ']).next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no {word} in a line that begins with {begin}: {said}"))
}

/// A folder `base` with a network to be drawn: two layers of 32, and the tokenizer of the shipped encoder.
pub fn base(folder: &Path) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/minilm-en");
    let base = folder.join("base");
    fs::create_dir_all(&base).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(shipped.join("config.json")).unwrap()).unwrap();
    for (key, value) in [("hidden_size", 32), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("intermediate_size", 64)] {
        config[key] = value.into();
    }
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    fs::copy(shipped.join("tokenizer.json"), base.join("tokenizer.json")).unwrap();
    base
}

/// Names of what lies in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
