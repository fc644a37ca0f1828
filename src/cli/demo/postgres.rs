//! A private PostgreSQL for the demo: its own folder, a free port on loopback, stopped and removed at the end.

use anyhow::{Context, bail};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// A running private server.
pub struct PrivatePostgres {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    as_nobody: bool,
}

impl PrivatePostgres {
    /// Finds the programs, makes a cluster and starts it. As root the server runs as `nobody`, since PostgreSQL refuses root.
    pub async fn start() -> anyhow::Result<Self> {
        let bin = find_programs()?;
        let as_nobody = effective_root();
        let folder = std::env::temp_dir().join(format!("millrace-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let server = Self { bin, folder, port: free_port()?, as_nobody };
        if as_nobody {
            run(Command::new("chown").arg("nobody:nogroup").arg(&server.folder)).await?;
        }
        let data = server.data();
        run(server.program("initdb").arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-instructions",
        ]))
        .await?;
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''", server.port);
        let log = server.folder.join("server.log");
        run(server
            .program("pg_ctl")
            .arg("-D")
            .arg(&data)
            .args(["-w", "-t", "30", "-l"])
            .arg(&log)
            .arg("-o")
            .arg(&options)
            .arg("start"))
        .await
        .with_context(|| format!("PostgreSQL did not start; its log is {}", log.display()))?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// How to stop a server that was kept.
    pub fn stop_line(&self) -> String {
        let user = if self.as_nobody { "setpriv --reuid=nobody --regid=nogroup --clear-groups " } else { "" };
        format!(
            "{user}{} -D {} -m fast stop && rm -r {}",
            self.bin.join("pg_ctl").display(),
            self.data().display(),
            self.folder.display()
        )
    }

    /// Stops the server and removes its folder.
    pub async fn stop(self) -> anyhow::Result<()> {
        run(self.program("pg_ctl").arg("-D").arg(self.data()).args(["-w", "-m", "fast", "stop"])).await?;
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
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
}

/// Runs a command to its end; its output is part of the error. The server keeps no pipe of ours: its output goes to its log.
async fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = format!("{:?}", command.as_std().get_program());
    let stderr = tempfile_for_stderr()?;
    let reader = stderr.1.clone();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.0)
        .status()
        .await
        .with_context(|| format!("cannot run {name}"))?;
    let text = std::fs::read_to_string(&reader).unwrap_or_default();
    std::fs::remove_file(&reader).ok();
    if !status.success() {
        bail!("{name} failed ({status}): {}", text.trim());
    }
    Ok(())
}

fn tempfile_for_stderr() -> anyhow::Result<(std::fs::File, PathBuf)> {
    let path = std::env::temp_dir().join(format!("millrace-stderr-{}", uuid::Uuid::new_v4().simple()));
    let file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok((file, path))
}

/// `pg_ctl` beside `initdb`: the newest under /usr/lib/postgresql, else on the PATH.
fn find_programs() -> anyhow::Result<PathBuf> {
    let has = |folder: &Path| folder.join("pg_ctl").is_file() && folder.join("initdb").is_file();
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| has(folder))
        .collect();
    installed.sort();
    if let Some((_, folder)) = installed.pop() {
        return Ok(folder);
    }
    let path = std::env::var_os("MILLRACE_POSTGRES_BIN").into_iter().chain(std::env::var_os("PATH"));
    path.flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).find(|folder| has(folder)).context(
        "PostgreSQL is not installed (no `pg_ctl` and `initdb` under /usr/lib/postgresql or on the PATH). Install it, for example with \
         `apt-get install postgresql`, or give the demo a database: DATABASE_URL=postgres://user@host/db millrace demo",
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
