//! A wall clock that a test moves, for one worker: `clock.c` stands between the process and the C library.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// See the module. Its processes must end before it does.
pub struct Clock {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Clock {
    pub fn true_one() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) =
            (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock.c"), folder.path().join("clock.so"));
        // Rust itself links by it.
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(source).status();
        assert!(built.expect("the C compiler cc is missing").success(), "clock.c does not build");
        std::fs::write(folder.path().join("offset"), 0i64.to_ne_bytes()).unwrap();
        Self { folder, library }
    }

    /// From now on the process sees the true time and so many minutes more.
    pub fn leap(&self, minutes: i64) {
        let mut file = File::options().write(true).open(self.folder.path().join("offset")).unwrap();
        file.write_all(&(minutes * 60).to_ne_bytes()).unwrap();
    }

    /// What a process needs in its environment to go by this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("CLOCK_OFFSET", self.folder.path().join("offset").display().to_string()),
        ]
    }
}
