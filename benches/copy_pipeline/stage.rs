//! Topics, a database, a config, workers as processes, and what the kernel says about them.

use crate::Anyhow;
use anyhow::{Context, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

pub const PARTITIONS: i32 = 8;
const TICKS_A_SECOND: f64 = 100.0;

/// A pipeline of its own.
pub struct Stage {
    pub brokers: String,
    pub name: String,
    pub url: String,
    folder: tempfile::TempDir,
}

impl Stage {
    /// `function` gives the rest of the pipeline's section, and writes its files into the folder; `properties` are those of
    /// `[kafka.properties]`, `name=value`.
    pub async fn new(function: &dyn Fn(&Path) -> Anyhow<String>, properties: &[String]) -> Anyhow<Self> {
        let stage = Self::bare().await?;
        stage.topics(&[stage.name.clone(), stage.output(), format!("{}.dead", stage.name)], PARTITIONS).await?;
        let mut text = format!("[kafka]\nbrokers = \"{}\"\n[kafka.properties]\n", stage.brokers);
        for property in properties {
            let (name, value) = property.split_once('=').context("--property takes name=value")?;
            text.push_str(&format!("\"{name}\" = \"{value}\"\n"));
        }
        text.push_str(&format!(
            "[postgres]\nurl = \"{url}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[pipeline]]\nname = \"{name}\"\ntopic = \"{name}\"\n\
             event = \"transaction\"\noutput_topic = \"{name}.out\"\ndead_letter_topic = \"{name}.dead\"\n{function}",
            function = function(stage.folder.path())?,
            url = stage.url,
            name = stage.name,
        ));
        std::fs::write(stage.config(), text)?;
        Ok(stage)
    }

    /// A database and a name, without topics and config.
    pub async fn bare() -> Anyhow<Self> {
        let brokers = std::env::var("MILLRACE_KAFKA__BROKERS").context("MILLRACE_KAFKA__BROKERS")?;
        let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
        Ok(Self { url: database().await?, folder: tempfile::tempdir()?, brokers, name })
    }

    /// Makes topics of so many partitions.
    pub async fn topics(&self, names: &[String], partitions: i32) -> Anyhow<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        for topic in names {
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
            for result in admin.create_topics([&new], &AdminOptions::new()).await? {
                result.map_err(|(topic, code)| anyhow::anyhow!("topic {topic}: {code}"))?;
            }
            self.wait_for(topic, partitions)?;
        }
        Ok(())
    }

    /// A broker may answer for a new topic a moment after it was made; a worker that asks before would refuse to start.
    fn wait_for(&self, topic: &str, partitions: i32) -> Anyhow<()> {
        let asking: BaseConsumer = self.client().create()?;
        for _ in 0..200 {
            let metadata = asking.fetch_metadata(Some(topic), Duration::from_secs(10))?;
            let found = metadata.topics().first().map_or(&[][..], |found| found.partitions());
            if found.len() == partitions as usize && found.iter().all(|partition| partition.leader() >= 0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the topic {topic} did not come up")
    }

    pub fn output(&self) -> String {
        format!("{}.out", self.name)
    }

    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        client
    }

    pub async fn connect(&self) -> Anyhow<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// Starts `millrace run`.
    pub fn worker(&self) -> Anyhow<Worker> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .arg("run")
            .arg("--config")
            .arg(self.config())
            .env_remove("DATABASE_URL")
            .env_remove("MILLRACE_KAFKA__BROKERS")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Worker(child))
    }

    /// Waits until all partitions are claimed.
    pub async fn claimed(&self, worker: &mut Worker) -> Anyhow<()> {
        let mut connection = self.connect().await?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let query = "SELECT count(*) FROM millrace.stream_partition WHERE claim IS NOT NULL";
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&mut connection).await? < i64::from(PARTITIONS) {
            worker.ensure_up(self)?;
            ensure!(Instant::now() < deadline, "the partitions were not claimed; the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Pauses the pipeline, or lets it go on.
    pub async fn pause(&self, action: &str) -> Anyhow<()> {
        let status = tokio::process::Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args([action, "--reason", "a bench", "--config"])
            .arg(self.config())
            .stdout(Stdio::null())
            .status()
            .await?;
        ensure!(status.success(), "millrace {action}: {status}");
        Ok(())
    }

    /// The last lines of the workers' log, for an error.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A fresh database with the schema in it; returns its URL.
pub async fn database() -> Anyhow<String> {
    let options = PgConnectOptions::from_str(&std::env::var("DATABASE_URL").context("DATABASE_URL")?)?;
    let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut connection).await?;
    connection.close().await?;
    let url = options.database(&name).to_url_lossy().to_string();
    millrace::store::postgres::migrate(&url).await?;
    Ok(url)
}

/// A worker process, ended with the bench at the latest.
pub struct Worker(Child);

impl Worker {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn ensure_up(&mut self, stage: &Stage) -> Anyhow<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "the worker ended: {ended:?}; its log:\n{}", stage.log());
        Ok(())
    }

    pub fn kill(&mut self) -> Anyhow<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// SIGTERM, then the exit code.
    pub fn drain(&mut self) -> Anyhow<Option<i32>> {
        Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status()?;
        let deadline = Instant::now() + Duration::from_secs(40);
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}

/// User and system time of a process, seconds.
pub fn cpu_seconds(pid: u32) -> Anyhow<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("/proc/PID/stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

/// Largest resident size of a process so far, MB of 10^6 bytes.
pub fn peak_rss_mb(pid: u32) -> Anyhow<f64> {
    memory_mb(pid, "VmHWM:")
}

/// Resident size of a process now, MB of 10^6 bytes.
pub fn rss_mb(pid: u32) -> Anyhow<f64> {
    memory_mb(pid, "VmRSS:")
}

fn memory_mb(pid: u32, name: &str) -> Anyhow<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("/proc/PID/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Busy and all processor seconds so far, of the processors that this process may run on (`taskset`): the whole machine mostly.
pub fn machine_seconds() -> Anyhow<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).context("/proc/self/status")?;
    let mine = processors(allowed.trim())?;
    let (mut busy, mut all) = (0.0, 0.0);
    for line in std::fs::read_to_string("/proc/stat")?.lines() {
        let mut fields = line.split_whitespace();
        let number = fields.next().and_then(|name| name.strip_prefix("cpu")).and_then(|number| number.parse::<usize>().ok());
        if !number.is_some_and(|number| mine.contains(&number)) {
            continue;
        }
        let ticks: Vec<f64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
        let total: f64 = ticks.iter().sum();
        all += total / TICKS_A_SECOND;
        busy += (total - ticks.get(3..5).map_or(0.0, |idle| idle.iter().sum())) / TICKS_A_SECOND;
    }
    Ok((busy, all))
}

/// A list like `0-3,8`.
fn processors(list: &str) -> Anyhow<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(all)
}
