//! Workers on a backlog, and what befalls them until it is decided.

use crate::Anyhow;
use crate::stage::{Stage, Worker, cpu_seconds, peak_rss_mb};
use anyhow::ensure;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(540);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// kill -9 of one of two workers, again and again.
    Kills {
        every: Duration,
    },
    /// One worker, three, one.
    Moves,
}

/// How it went.
pub struct Ran {
    pub seconds: f64,
    pub kills: u32,
    pub moves: u32,
    /// Of the workers that were there at the end: processor time, and the largest resident size.
    pub cpu_s: f64,
    pub rss_mb: f64,
    /// Keys in Postgres, and the bytes of their states.
    pub keys: i64,
    pub state_bytes: i64,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seconds, kills, moves, cpu_s, rss_mb, keys, .. } = self;
        let each = self.state_bytes as f64 / (*keys).max(1) as f64;
        write!(
            f,
            "{seconds:.1} s, {kills} kills, {moves} moves; the last workers took {cpu_s:.0} s of processor and at most {rss_mb:.0} MB; \
             {keys} keys of {each:.0} bytes each"
        )
    }
}

/// Events that the slowest pipeline has decided.
async fn decided(stage: &Stage, pipelines: &[String]) -> Anyhow<i64> {
    let mut connection = stage.connect().await?;
    let mut least = i64::MAX;
    for pipeline in pipelines {
        let text = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE pipeline = $1";
        least = least.min(sqlx::query_scalar(text).bind(pipeline).fetch_one(&mut connection).await?);
    }
    Ok(least)
}

/// Runs workers until each of the pipelines has decided so many events, and drains them.
pub async fn run(stage: &Stage, pipelines: &[String], events: i64, trouble: Trouble) -> Anyhow<Ran> {
    let begun = Instant::now();
    let mut workers = vec![stage.worker()?];
    if matches!(trouble, Trouble::Kills { .. }) {
        workers.push(stage.worker()?);
    }
    let (mut kills, mut moves, mut last_kill) = (0_u32, 0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let done = decided(stage, pipelines).await?;
        if done >= events {
            ensure!(done == events, "{done} events are decided of {events}");
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{done} of {events} after {PATIENCE:?}; the log:\n{}", stage.log());
        for worker in &mut workers {
            worker.ensure_up(stage)?;
        }
        match trouble {
            Trouble::Kills { every } if last_kill.elapsed() >= every && done > 0 => {
                let victim = kills as usize % 2;
                workers[victim].kill()?;
                workers[victim] = stage.worker()?;
                kills += 1;
                last_kill = Instant::now();
            }
            Trouble::Moves if moves == 0 && done > events / 5 => {
                workers.extend([stage.worker()?, stage.worker()?]);
                moves = 1;
            }
            Trouble::Moves if moves == 1 && done > events * 3 / 5 => {
                for mut leaving in workers.drain(..2) {
                    leaving.drain()?;
                }
                moves = 2;
            }
            _ => {}
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (mut cpu_s, mut rss_mb) = (0.0, 0.0_f64);
    for worker in &mut workers {
        cpu_s += cpu_seconds(Worker::pid(worker))?;
        rss_mb = rss_mb.max(peak_rss_mb(Worker::pid(worker))?);
        ensure!(worker.drain()? == Some(0), "a worker did not drain; the log:\n{}", stage.log());
    }
    let text = "SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::bigint FROM millrace.state";
    let (keys, state_bytes) = sqlx::query_as(text).fetch_one(&mut stage.connect().await?).await?;
    Ok(Ran { seconds, kills, moves, cpu_s, rss_mb, keys, state_bytes })
}
