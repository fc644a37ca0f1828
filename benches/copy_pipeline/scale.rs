//! One topic and 1, 2 and 4 workers: how fast a backlog is worked off, and how long partitions stand still when one more worker joins.

use crate::load::{self, Load};
use crate::stage::{PARTITIONS, Stage, Worker, cpu_seconds, machine_seconds};
use crate::{Anyhow, Options, quantile, sorted};
use anyhow::ensure;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WORKERS: [usize; 3] = [1, 2, 4];
/// Events a second while a worker joins.
const JOIN_RATE: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(600);
/// How long partitions are looked at after the new worker owns one.
const OBSERVED: Duration = Duration::from_secs(12);

pub async fn run(options: &Options) -> Anyhow<Value> {
    let mut lines = Vec::new();
    for count in WORKERS {
        let line = backlog(options, count).await?;
        let join = join(options, count).await?;
        eprintln!("{count} workers: {:.0} events/s", line.rate);
        lines.push((count, line, join));
    }
    println!(
        "\n`{}`, {} events over {} keys, {PARTITIONS} partitions, all on one machine with its services\n",
        options.function.name(),
        options.events,
        options.accounts
    );
    println!(
        "| workers | events/s of the backlog | workers' CPU µs/event | rest of the machine busy | one more joins at {JOIN_RATE} events/s: it decides after s | \
         a partition stands still, p50 and at most, s |\n|---|---|---|---|---|---|"
    );
    for (count, line, join) in &lines {
        println!(
            "| {count} | {:.0} | {:.2} | {:.0} % | {} | {:.1}, {:.1} |",
            line.rate,
            line.cpu_us,
            line.rest_busy * 100.0,
            join.first_s.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1}")),
            quantile(&join.gaps_s, 0.5),
            quantile(&join.gaps_s, 1.0)
        );
    }
    let figure = |(count, line, join): &(usize, Line, Join)| {
        json!({
            "workers": count, "rate": line.rate, "cpu_us": line.cpu_us, "rest_busy": line.rest_busy, "joined_s": join.first_s,
            "gaps_s": join.gaps_s,
        })
    };
    Ok(
        json!({ "mode": "scale", "function": options.function.name(), "accounts": options.accounts, "lines": lines.iter().map(figure).collect::<Vec<_>>() }),
    )
}

struct Line {
    rate: f64,
    cpu_us: f64,
    rest_busy: f64,
}

/// From the moment when a paused pipeline goes on, its workers in balance, to the last committed row.
async fn backlog(options: &Options, count: usize) -> Anyhow<Line> {
    let stage = Stage::new(&|folder| options.config(folder), &options.property).await?;
    stage.pause("pause").await?;
    let mut load = Load::new(&stage, 50, options.spread())?;
    load.send(options.events)?;
    load.flush()?;
    let mut connection = stage.connect().await?;
    let mut workers: Vec<Worker> = (0..count).map(|_| stage.worker()).collect::<Anyhow<_>>()?;
    balanced(&stage, &mut connection, &mut workers).await?;
    let cpu_of = |workers: &[Worker]| workers.iter().map(|worker| cpu_seconds(worker.pid())).sum::<Anyhow<f64>>();
    stage.pause("resume").await?;
    let started = Instant::now();
    let (from, at, cpu_before, before) = loop {
        let events = load::decided(&mut connection).await?;
        if events > 0 {
            break (events, Instant::now(), cpu_of(&workers)?, machine_seconds()?);
        }
        ensure!(started.elapsed() < PATIENCE, "nothing was decided; the log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    while load::decided(&mut connection).await? < options.events {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for worker in &mut workers {
            worker.ensure_up(&stage)?;
        }
        ensure!(started.elapsed() < PATIENCE, "not done after {PATIENCE:?}; the log:\n{}", stage.log());
    }
    let (seconds, events) = (at.elapsed().as_secs_f64(), (options.events - from) as f64);
    let (cpu_s, after) = (cpu_of(&workers)? - cpu_before, machine_seconds()?);
    for worker in &mut workers {
        let code = worker.drain()?;
        ensure!(code == Some(0), "a worker ended with {code:?}; the log:\n{}", stage.log());
    }
    Ok(Line {
        rate: events / seconds,
        cpu_us: cpu_s / events * 1e6,
        rest_busy: (after.0 - before.0 - cpu_s) / (after.1 - before.1),
    })
}

/// Waits until the workers hold all partitions, each at least one, and the pause is known to all of them.
async fn balanced(stage: &Stage, connection: &mut PgConnection, workers: &mut [Worker]) -> Anyhow<()> {
    let started = Instant::now();
    let mut stable = 0;
    while stable < 10 {
        let found = places(connection).await?;
        let is_of = |owner: &Option<String>, worker: &Worker| {
            owner.as_ref().is_some_and(|owner| owner.contains(&format!("/{}/", worker.pid())))
        };
        let good = found.len() == PARTITIONS as usize
            && workers.iter().all(|worker| found.iter().any(|(.., owner)| is_of(owner, worker)))
            && found.iter().all(|(.., owner)| workers.iter().any(|worker| is_of(owner, worker)));
        stable = if good { stable + 1 } else { 0 };
        for worker in workers.iter_mut() {
            worker.ensure_up(stage)?;
        }
        ensure!(started.elapsed() < PATIENCE, "the group found no balance: {found:?}; the log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

struct Join {
    /// From the start of the process to its first decided event, seconds; `None` where its partitions had none.
    first_s: Option<f64>,
    /// The longest time that P of each partition with events did not move meanwhile, seconds, sorted.
    gaps_s: Vec<f64>,
}

/// P and owner of each partition.
async fn places(connection: &mut PgConnection) -> Anyhow<Vec<(i32, i64, Option<String>)>> {
    let text = "SELECT partition, next_offset, owner FROM millrace.stream_partition";
    Ok(sqlx::query_as(text).fetch_all(connection).await?)
}

/// A steady load on `count` workers, and one more that joins.
async fn join(options: &Options, count: usize) -> Anyhow<Join> {
    let stage = Arc::new(Stage::new(&|folder| options.config(folder), &options.property).await?);
    let mut connection = stage.connect().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers: Vec<Worker> = (0..count).map(|_| stage.worker()).collect::<Anyhow<_>>()?;
    stage.claimed(&mut workers[0]).await?;
    let sending = {
        let (stage, stop, spread) = (stage.clone(), stop.clone(), options.spread());
        std::thread::spawn(move || Load::new(&stage, 1, spread)?.steadily(JOIN_RATE, &stop))
    };
    // Until all members have their share, and nothing moves between them.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let started = Instant::now();
    let mut joining = stage.worker()?;
    let mine = format!("/{}/", joining.pid());
    let (mut first_s, mut taken_at, mut moved, mut gaps) = (None, HashMap::new(), HashMap::new(), HashMap::new());
    // Some seconds longer: the others' partitions may move after its first one.
    let mut until = started + PATIENCE;
    while Instant::now() < until {
        joining.ensure_up(&stage)?;
        for (partition, next, owner) in places(&mut connection).await? {
            let now = Instant::now();
            let (last, at) = *moved.entry(partition).or_insert((next, now));
            if next > last {
                // Of a partition without events nothing is told.
                let gap: &mut f64 = gaps.entry(partition).or_insert(0.0);
                *gap = gap.max((now - at).as_secs_f64());
                moved.insert(partition, (next, now));
            }
            if owner.is_some_and(|owner| owner.contains(&mine)) {
                until = until.min(now + OBSERVED);
                let from = *taken_at.entry(partition).or_insert(next);
                if next > from && first_s.is_none() {
                    first_s = Some(started.elapsed().as_secs_f64());
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    sending.join().map_err(|_| anyhow::anyhow!("the load ended badly"))??;
    workers.push(joining);
    for worker in &mut workers {
        worker.drain()?;
    }
    Ok(Join { first_s, gaps_s: sorted(gaps.into_values().collect()) })
}
