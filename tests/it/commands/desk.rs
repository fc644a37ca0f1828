//! A folder to work in, and a hub on this machine, for commands that know models by their names.

#[path = "../../../src/hub/tests/twin.rs"]
pub mod twin;

use crate::support::command::Ended;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use twin::{Twin, sha};

pub const WEIGHTS: &str = "model.safetensors";
/// Variables that say where models are.
const PLACES: [&str; 8] = [
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MILLRACE_MODELS",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
];

pub fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions/one").join(file)).unwrap()
}

/// A folder to work in, with a cache of its own, and a hub that has `acme/tiny`.
pub struct Desk {
    pub folder: tempfile::TempDir,
    pub twin: Twin,
}

impl Desk {
    pub fn new() -> Self {
        let twin = Twin::start();
        let files = ["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS].map(|name| (name, fixture(name)));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        twin.add("acme/tiny", &files);
        twin.state.lock().unwrap().large.push(WEIGHTS.into());
        Self { folder: tempfile::tempdir().unwrap(), twin }
    }

    pub fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        for name in PLACES {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.twin.endpoint()).env("HF_HOME", self.folder.path().join("hf"));
        command.args(arguments).envs(variables.iter().copied()).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub fn millrace(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.command(arguments, variables).output().unwrap().into()
    }

    pub fn fetch(&self) -> Ended {
        self.millrace(&["models", "fetch", "acme/tiny"], &[])
    }

    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("hf/hub/models--acme--tiny")
    }

    /// How the bytes of the weights were asked for.
    pub fn ranges(&self) -> Vec<Option<String>> {
        let asked = self.twin.asked("GET", &sha(&fixture(WEIGHTS)));
        asked.iter().map(|headers| headers.get("range").cloned()).collect()
    }
}
