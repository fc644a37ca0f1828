//! A steady rate: from the broker's append time of an event to its committed row, and to its record in a `read_committed` reader.
//!
//! Append times are whole milliseconds, rounded down, and P is looked at every 2 ms: both make the figures a little too high.

use crate::load::{self, Load};
use crate::stage::{PARTITIONS, Stage, cpu_seconds, machine_seconds, peak_rss_mb};
use crate::{Anyhow, Options, quantile, sorted};
use anyhow::{Context, ensure};
use rdkafka::message::Message;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const DEFAULT_RATE: u64 = 20_000;
const POLL: Duration = Duration::from_millis(2);
/// Claims and first fetches are not what is measured.
const WARM_UP_S: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(f64::NAN, |since| since.as_secs_f64() * 1e3)
}

/// When P of a partition was first seen at or above an offset.
type Seen = Vec<(i64, f64)>;

async fn watch(connection: &mut PgConnection, stop: &AtomicBool) -> Anyhow<Vec<Seen>> {
    let mut seen: Vec<Seen> = vec![Vec::new(); PARTITIONS as usize];
    while !stop.load(Ordering::Relaxed) {
        let rows: Vec<(i32, i64)> =
            sqlx::query_as("SELECT partition, next_offset FROM millrace.stream_partition").fetch_all(&mut *connection).await?;
        let now = now_ms();
        for (partition, next) in rows {
            let seen = &mut seen[partition as usize];
            if seen.last().is_none_or(|(last, _)| next > *last) {
                seen.push((next, now));
            }
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(seen)
}

/// The offset after `"offset":` in a record's source, and the partition after `"partition":`.
pub fn source(value: &[u8]) -> Option<(usize, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let number = |name: &str| {
        let rest = &text[text.find(name)? + name.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse::<i64>().ok()
    };
    Some((number("\"partition\":")? as usize, number("\"offset\":")?))
}

pub async fn run(options: &Options) -> Anyhow<Value> {
    let rate = options.rate.unwrap_or(DEFAULT_RATE);
    let stage = Arc::new(Stage::new(&|folder| options.config(folder), &options.property).await?);
    let mut connection = stage.connect().await?;
    let mut worker = stage.worker()?;
    stage.claimed(&mut worker).await?;
    let (stop_load, stop_watch) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let reading = {
        let (stage, stop) = (stage.clone(), stop_watch.clone());
        std::thread::spawn(move || -> Anyhow<Vec<(usize, i64, f64)>> {
            let consumer = load::reader(&stage, &stage.output())?;
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
                    let (partition, offset) = source(message.payload().unwrap_or_default()).context("a record without source")?;
                    seen.push((partition, offset, now_ms()));
                }
            }
            Ok(seen)
        })
    };
    let sending = {
        let (stage, stop, spread) = (stage.clone(), stop_load.clone(), options.spread());
        std::thread::spawn(move || Load::new(&stage, 1, spread)?.steadily(rate, &stop))
    };
    let watching = {
        let (mut connection, stop) = (stage.connect().await?, stop_watch.clone());
        tokio::spawn(async move { watch(&mut connection, &stop).await })
    };
    let (cpu, busy) = (cpu_seconds(worker.pid())?, machine_seconds()?);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let (cpu, busy_after) = (cpu_seconds(worker.pid())? - cpu, machine_seconds()?);
    stop_load.store(true, Ordering::Relaxed);
    let sent = sending.join().map_err(|_| anyhow::anyhow!("the load ended badly"))??;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while load::decided(&mut connection).await? < sent {
        worker.ensure_up(&stage)?;
        ensure!(tokio::time::Instant::now() < deadline, "not all were decided; the log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop_watch.store(true, Ordering::Relaxed);
    let rows = watching.await??;
    let records = reading.join().map_err(|_| anyhow::anyhow!("the reader ended badly"))??;
    ensure!(records.len() as u64 == sent, "{} records were read, {sent} events were sent", records.len());
    let rss_mb = peak_rss_mb(worker.pid())?;
    worker.drain()?;

    let mut appended: Vec<Vec<f64>> = vec![Vec::new(); PARTITIONS as usize];
    load::read_all(&load::reader(&stage, &stage.name)?, |message| {
        appended[message.partition() as usize].push(message.timestamp().to_millis().unwrap_or_default() as f64);
    })?;
    let start = appended.iter().filter_map(|times| times.first().copied()).fold(f64::INFINITY, f64::min) + WARM_UP_S * 1e3;
    let mut to_row = Vec::new();
    for (times, seen) in appended.iter().zip(&rows) {
        let mut at = 0;
        for (offset, time) in times.iter().enumerate() {
            while seen.get(at).is_some_and(|(next, _)| *next <= offset as i64) {
                at += 1;
            }
            let (_, when) = seen.get(at).context("a row was never seen")?;
            if *time >= start {
                to_row.push(when - time);
            }
        }
    }
    let to_record = records.iter().filter_map(|(partition, offset, when)| {
        let time = appended[*partition].get(*offset as usize)?;
        (*time >= start).then_some(when - time)
    });
    let (to_row, to_record) = (sorted(to_row), sorted(to_record.collect()));
    let per_s = sent as f64 / options.seconds as f64;
    let rest = (busy_after.0 - busy.0 - cpu) / (busy_after.1 - busy.1);
    println!(
        "\n`{}`, {} keys, mode both, exactly_once, {rate} events/s wanted, {per_s:.0} sent, {} s\n",
        options.function.name(),
        options.accounts,
        options.seconds
    );
    println!("| ms from the broker's append time | p50 | p90 | p99 | max |\n|---|---|---|---|---|");
    for (name, all) in [("to the committed row", &to_row), ("to the readable record", &to_record)] {
        let q = |share| quantile(all, share);
        println!("| {name} | {:.1} | {:.1} | {:.1} | {:.1} |", q(0.5), q(0.9), q(0.99), q(1.0));
    }
    println!(
        "\nworker: {:.2} µs CPU an event, {rss_mb:.0} MB peak RSS; rest of the machine busy: {:.0} %",
        cpu / sent as f64 * 1e6,
        rest * 100.0
    );
    let of = |all: &[f64]| json!({ "p50": quantile(all, 0.5), "p90": quantile(all, 0.9), "p99": quantile(all, 0.99), "max": quantile(all, 1.0) });
    Ok(json!({
        "mode": "latency", "rate": rate, "sent_a_second": per_s, "row_ms": of(&to_row), "record_ms": of(&to_record),
        "worker_cpu_us": cpu / sent as f64 * 1e6, "peak_rss_mb": rss_mb, "rest_busy": rest,
    }))
}
