//! What lies beside the weights of a language model: its tokenizer, template and settings. They are held while a network learns, and written
//! together with it: of a run that ends without a model nothing may be left that another model's weights would be read with.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// What a folder has besides config and weights, and a model trained from it needs.
const NAMES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

/// Files by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside(Vec<(&'static str, Vec<u8>)>);

impl Beside {
    /// Of files that are made; their names are some of those that a folder has.
    pub fn of(files: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self(files)
    }

    /// Those of a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let there = NAMES.into_iter().map(|name| (name, folder.join(name))).filter(|(_, path)| path.exists());
        let read = |(name, path): (&'static str, PathBuf)| {
            Ok((name, std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
        };
        there.map(read).collect::<Result<_>>().map(Self)
    }

    /// Writes them into a folder, and removes those that another model has left there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let own = |name: &&str| self.0.iter().any(|(own, _)| own == name);
        for path in NAMES.into_iter().filter(|name| !own(name)).map(|name| folder.join(name)).filter(|path| path.exists()) {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// What `then` makes of them, from a folder within `out` that is there only meanwhile.
    pub fn opened<R>(&self, out: &Path, then: impl FnOnce(&Path) -> Result<R>) -> Result<R> {
        let meanwhile = Meanwhile(out.join(".tokenizer"));
        self.write(&meanwhile.0)?;
        then(&meanwhile.0)
    }
}

/// A folder that goes with this.
struct Meanwhile(PathBuf);

impl Drop for Meanwhile {
    fn drop(&mut self) {
        // It holds copies, and the next run writes over it.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: files of a model that is written over, a folder that stays behind an error.
    #[test]
    fn what_is_held_is_written_alone_and_opened_without_a_trace() {
        let (from, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, name) in [(&from, "tokenizer.json"), (&out, "tokenizer.json"), (&out, "merges.txt"), (&out, "config.json")] {
            std::fs::write(folder.path().join(name), format!("{name} of {}", folder.path().display())).unwrap();
        }
        let beside = Beside::read(from.path()).unwrap();
        let names = |folder: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names(out.path());
        let seen = beside.opened(out.path(), |folder| Ok(names(folder))).unwrap();
        assert_eq!(seen, ["tokenizer.json"]);
        assert!(beside.opened(out.path(), |_| -> Result<()> { anyhow::bail!("no") }).is_err());
        assert_eq!(names(out.path()), before);
        beside.write(out.path()).unwrap();
        assert_eq!(names(out.path()), ["config.json", "tokenizer.json"]);
        assert_eq!(Beside::read(out.path()).unwrap(), beside);
    }
}
