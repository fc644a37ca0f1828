//! A private PostgreSQL for the demo: its own folder, a free port on loopback; stopped and removed at the end, however that comes.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A private server. Its drop stops it and removes its folder, unless it is kept.
pub struct PrivatePostgres {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    as_nobody: bool,
    /// Nothing is left to be done at the drop.
    released: bool,
}

impl PrivatePostgres {
    /// Finds the programs, makes a cluster and starts it. As root the server runs as `nobody`, since PostgreSQL refuses root.
    pub fn start(env: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let bin = find_programs(env)?;
        let (as_nobody, port) = (effective_root(), free_port()?);
        let folder = std::env::temp_dir().join(format!("millrace-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let server = Self { bin, folder, port, as_nobody, released: false };
        if as_nobody {
            server.run(Command::new("chown").arg("nobody:nogroup").arg(&server.folder))?;
        }
        let initdb = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-instructions"];
        server.run(server.program("initdb").arg("-D").arg(server.data()).args(initdb))?;
        let options = format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''");
        let log = server.folder.join("server.log");
        let mut start = server.pg_ctl();
        start.args(["-w", "-t", "30", "-l"]).arg(&log).arg("-o").arg(&options).arg("start");
        server.run(&mut start).with_context(|| {
            // The folder goes with this error, so the log's last words come along.
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = text.lines().rev().take(5).collect();
            format!("PostgreSQL did not start: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
        })?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Leaves the server up, and says how to look at it and how to stop it.
    pub fn keep(mut self) -> String {
        self.released = true;
        let (bin, url, data, folder) = (self.bin.display(), self.url(), self.data(), self.folder.display());
        let user = if self.as_nobody { "setpriv --reuid=nobody --regid=nogroup --clear-groups " } else { "" };
        let psql = if self.bin.join("psql").is_file() { self.bin.join("psql").display().to_string() } else { "psql".into() };
        format!(
            "Postgres stays up. Look around:\n  {psql} '{url}'\n  \
             SELECT decision, count(*) FROM millrace.risk_scores GROUP BY 1;\n  \
             SELECT label, count(*) FROM millrace.sentiments GROUP BY 1;\n  \
             SELECT user_key, label, items FROM millrace.recommendations LIMIT 3;\n  \
             SELECT reason, field, count(*) FROM millrace.dead_letters GROUP BY 1, 2;\n\
             Stop it with:\n  {user}{bin}/pg_ctl -D {} -m fast stop && rm -r {folder}",
            data.display()
        )
    }

    /// Stops the server and removes its folder.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.shut()
    }

    fn shut(&mut self) -> anyhow::Result<()> {
        self.released = true;
        if self.data().join("postmaster.pid").exists() {
            self.run(self.pg_ctl().args(["-w", "-m", "fast", "stop"]))?;
        }
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn pg_ctl(&self) -> Command {
        let mut command = self.program("pg_ctl");
        command.arg("-D").arg(self.data());
        command
    }

    fn program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = if self.as_nobody {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder).env("HOME", &self.folder).env("LC_ALL", "C");
        command
    }

    /// Runs a command to its end; what it says is part of the error. It gets no signal of the terminal: the demo sees to it.
    fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let name = format!("{:?}", command.get_program());
        // A file, not a pipe: the server that `pg_ctl` starts would keep a pipe open.
        let said = self.folder.with_extension("log");
        let file = std::fs::File::create(&said).with_context(|| format!("cannot make {}", said.display()))?;
        let status = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).status();
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        std::fs::remove_file(&said).with_context(|| format!("cannot remove {}", said.display()))?;
        let status = status.with_context(|| format!("cannot run {name}"))?;
        if !status.success() {
            bail!("{name} failed ({status}): {}", text.trim());
        }
        Ok(())
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if !self.released
            && let Err(error) = self.shut()
        {
            eprintln!("millrace: the private PostgreSQL may still be there: {error:#}");
        }
    }
}

/// The folder with `pg_ctl` and `initdb`: MILLRACE_POSTGRES_BIN; the newest installed one; on the PATH; what
/// `deploy/local/setup.sh` has fetched.
fn find_programs(env: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let has = |folder: &PathBuf| folder.join("pg_ctl").is_file() && folder.join("initdb").is_file();
    if let Some(named) = env.get("MILLRACE_POSTGRES_BIN").map(PathBuf::from) {
        return Some(named).filter(has).context("MILLRACE_POSTGRES_BIN names a folder without `pg_ctl` and `initdb`");
    }
    let bins = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let version = |path: &Path| {
            path.file_name()?.to_str()?.trim_start_matches("postgres-").split(['.', '-']).next()?.parse::<u32>().ok()
        };
        let found = entries.map(|entry| entry.path()).filter_map(|path| Some((version(&path)?, path.join("bin"))));
        found.filter(|(_, folder)| has(folder)).max().map(|(_, folder)| folder)
    };
    let installed = env.get("MILLRACE_POSTGRES_INSTALLED").map_or("/usr/lib/postgresql", String::as_str);
    let on_path = || std::env::split_paths(env.get("PATH")?).find(has);
    let cache = env.get("MILLRACE_CACHE").map(PathBuf::from);
    // Root's home is closed to the user nobody, as whom the server runs then.
    let shared = effective_root().then(|| PathBuf::from("/var/cache/millrace"));
    let cache = cache.or(shared).or_else(|| env.get("HOME").map(|home| Path::new(home).join(".cache/millrace")));
    bins(Path::new(installed)).or_else(on_path).or_else(|| bins(&cache?)).context(
        "PostgreSQL is not installed (no `pg_ctl` and `initdb` under /usr/lib/postgresql or on the PATH). Install it, for example with \
         `apt-get install postgresql`, fetch it with `deploy/local/setup.sh --postgres-only`, or give the demo a database: \
         DATABASE_URL=postgres://user@host/db millrace demo",
    )
}

/// Whether this process runs as root, read from the owner of its own entry under /proc.
fn effective_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}
