//! Somebody who follows a page: a copy of the working folder, a shell in it, and a database.

use super::page::{Block, Kind, Page, fits, root};
use crate::support::empty_database;
use futures_util::TryStreamExt;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a block may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a shell says when a block is over.
const OVER: &str = "@@over";

/// The services are up already and the program is built: `make` and `cargo` look whether there is such a thing, and do nothing, or
/// run an example that is built.
const MAKE: &str = r#"#!/bin/sh
for target in "$@"; do grep -q "^$target:" Makefile || { echo "make: no target $target" >&2; exit 2; }; done
"#;
const CARGO: &str = r#"#!/bin/sh
while [ "$1" != --example ]; do [ $# -gt 0 ] || { echo "cargo: only run --example" >&2; exit 2; }; shift; done
name=$2; shift 2; [ "$1" = -- ] && shift
exec "$EXAMPLES/$name" "$@"
"#;

pub struct Reader {
    folder: tempfile::TempDir,
    url: String,
    port: u16,
    shell: Child,
    said: Receiver<String>,
}

impl Reader {
    pub async fn new(brokers: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = empty_database().await;
        copy_of_the_working_folder(folder.path());
        let services = format!("export MILLRACE_KAFKA__BROKERS={brokers}\nexport DATABASE_URL='{url}'\n");
        fs::create_dir(folder.path().join(".services")).unwrap();
        fs::write(folder.path().join(".services/env"), services).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (shell, said) = shell(folder.path(), port);
        Self { folder, url, port, shell, said }
    }

    /// Does what the page says, from the top to the bottom.
    pub async fn follow(&mut self, page: &Page) {
        let mut said = None;
        for block in &page.blocks {
            match &block.kind {
                Kind::Sh => said = Some(self.run(page, block)),
                Kind::Sql => said = Some(ask(&self.url, &block.text).await),
                Kind::Text => {
                    if let Some(said) = said.take() {
                        let at = format!("{}:{}", page.name, block.line);
                        assert!(fits(&block.text, &said), "{at} expects\n{}\nand found\n{said}\n{}", block.text, self.errors());
                    }
                }
                Kind::NoRun(_) | Kind::Other(_) => said = None,
            }
        }
    }

    fn run(&mut self, page: &Page, block: &Block) -> String {
        let at = format!("{}:{}", page.name, block.line);
        fs::write(self.folder.path().join(".block"), block.text.replace(":9464", &format!(":{}", self.port))).unwrap();
        writeln!(self.shell.stdin.as_mut().unwrap(), ". ./.block </dev/null; echo; echo {OVER}").unwrap();
        let (mut said, deadline) = (String::new(), Instant::now() + PATIENCE);
        loop {
            match self.said.recv_timeout(Duration::from_millis(200)) {
                Ok(line) if line == OVER => return said,
                Ok(line) => said += &format!("{line}\n"),
                // What it started in the background may hold its output open.
                Err(_) => {
                    let running = self.shell.try_wait().unwrap().is_none() && Instant::now() < deadline;
                    assert!(running, "{at} fails:\n{}\nit said\n{said}\n{}", block.text, self.errors());
                }
            }
        }
    }

    /// The end of what the commands wrote to stderr.
    fn errors(&self) -> String {
        let all = fs::read_to_string(self.folder.path().join(".errors")).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Reader {
    /// Ends the shell and what it has left in its group, and the services that the page has started for itself.
    fn drop(&mut self) {
        let group = format!("-{}", self.shell.id());
        for signal in ["-TERM", "-KILL"] {
            Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status().ok();
            std::thread::sleep(Duration::from_millis(300));
        }
        self.shell.wait().ok();
        let down = self.folder.path().join("deploy/local/down.sh");
        for own in
            fs::read_dir(self.folder.path().join(".services")).into_iter().flatten().flatten().filter(|own| own.path().is_dir())
        {
            Command::new(&down).arg(own.path()).stdin(Stdio::null()).status().ok();
        }
    }
}

/// As `psql --csv` shows it.
async fn ask(url: &str, sql: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows = format!("COPY ({}) TO STDOUT WITH (FORMAT csv, HEADER)", sql.trim().trim_end_matches(';'));
    let mut stream = connection.copy_out_raw(&rows).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut out = Vec::new();
    while let Some(bytes) = stream.try_next().await.unwrap() {
        out.extend_from_slice(&bytes);
    }
    String::from_utf8(out).unwrap()
}

fn copy_of_the_working_folder(to: &Path) {
    for name in ["Makefile", "README.md", "docs", "examples", "migrations", "src", "tests"] {
        symlink(root().join(name), to.join(name)).unwrap();
    }
    // Samples name models by relative paths, and pages write models of their own.
    assert!(Command::new("cp").arg("-r").arg(root().join("deploy")).arg(to).status().unwrap().success());
    fs::create_dir(to.join("models")).unwrap();
    for model in fs::read_dir(root().join("models")).unwrap() {
        let model = model.unwrap();
        symlink(model.path(), to.join("models").join(model.file_name())).unwrap();
    }
    fs::create_dir_all(to.join("target/release")).unwrap();
    symlink(env!("CARGO_BIN_EXE_millrace"), to.join("target/release/millrace")).unwrap();
    fs::create_dir(to.join(".bin")).unwrap();
    for (name, text) in [("make", MAKE), ("cargo", CARGO)] {
        let file = to.join(".bin").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
}

/// A shell that ends at the first command that fails, in a process group of its own.
fn shell(folder: &Path, port: u16) -> (Child, Receiver<String>) {
    let path = format!("{}:{}", folder.join(".bin").display(), std::env::var("PATH").unwrap());
    let examples = Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("examples");
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-e"]).current_dir(folder).env("PATH", path).env("EXAMPLES", examples);
    command.env("MILLRACE_ADMIN__LISTEN", format!("127.0.0.1:{port}")).env("NO_COLOR", "1");
    for name in ["DATABASE_URL", "MILLRACE_KAFKA__BROKERS"] {
        command.env_remove(name);
    }
    let errors = fs::File::create(folder.join(".errors")).unwrap();
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
    let mut shell = command.spawn().unwrap();
    let out = BufReader::new(shell.stdout.take().unwrap());
    let (send, said) = channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line).map_err(drop)));
    (shell, said)
}
