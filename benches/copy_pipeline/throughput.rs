//! A backlog: from the start of the process to the last committed row, and to the last readable record.

use crate::load::{self, Load};
use crate::stage::{Stage, cpu_seconds, machine_seconds, peak_rss_mb};
use crate::{Anyhow, Options, ceilings, quantile, sorted};
use anyhow::ensure;
use rdkafka::consumer::BaseConsumer;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);

pub async fn run(options: &Options) -> Anyhow<Value> {
    let (mut lines, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..options.runs.max(1) {
        let (line, figure) = once(options, options.no_ceilings).await?;
        lines.push(line);
        figures.push(figure);
    }
    println!(
        "\n`{}`, mode both, exactly_once, {} events, 8 partitions, {} run(s); CPU is the worker's alone\n",
        options.function.name(),
        options.events,
        lines.len()
    );
    println!(
        "| run | events/s to the last row | to the last record | worker CPU µs/event | peak RSS MB | rest of the machine busy | ready after s |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (number, line) in lines.iter().enumerate() {
        let rate = options.events as f64;
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} % | {:.2} |",
            number + 1,
            rate / line.rows_s,
            rate / line.records_s,
            line.cpu_s / rate * 1e6,
            line.rss_mb,
            line.rest_busy * 100.0,
            line.first_s,
        );
    }
    let median = |of: fn(&Line) -> f64| quantile(&sorted(lines.iter().map(of).collect()), 0.5);
    if !options.no_ceilings {
        println!("\n| ceiling, alone on the same services | events/s | CPU µs/event here | the pipeline reaches |");
        println!("|---|---|---|---|");
        for kind in 0..ceilings::NAMES.len() {
            let of = |line: &Line| line.ceilings.get(kind).map_or(f64::NAN, |ceiling| ceiling.rate);
            let rate = quantile(&sorted(lines.iter().map(of).collect()), 0.5);
            let cpu = |line: &Line| line.ceilings.get(kind).map_or(f64::NAN, |ceiling| ceiling.cpu_us);
            let cpu = quantile(&sorted(lines.iter().map(cpu).collect()), 0.5);
            let share = options.events as f64 / median(|line| line.records_s) / rate;
            println!("| {} | {rate:.0} | {cpu:.2} | {share:.2} |", ceilings::NAMES[kind]);
        }
    }
    Ok(json!({ "mode": "throughput", "function": options.function.name(), "events": options.events, "runs": figures }))
}

/// How fast a backlog is worked off, to the last readable record, in events a second.
pub async fn rate(options: &Options) -> Anyhow<f64> {
    let (line, _) = once(options, true).await?;
    Ok(options.events as f64 / (line.records_s - line.first_s))
}

struct Line {
    /// From the start of the process, seconds, each.
    first_s: f64,
    rows_s: f64,
    records_s: f64,
    cpu_s: f64,
    rss_mb: f64,
    /// Share of the machine that others had: services, this bench, strangers.
    rest_busy: f64,
    ceilings: Vec<ceilings::Ceiling>,
}

async fn once(options: &Options, no_ceilings: bool) -> Anyhow<(Line, Value)> {
    let stage = Stage::new(&|folder| options.config(folder), &options.property).await?;
    let mut load = Load::new(&stage, 50, options.spread())?;
    load.send(options.events)?;
    load.flush()?;
    let mut connection = stage.connect().await?;
    let group: BaseConsumer = stage.client().set("group.id", &stage.name).create()?;
    let before = machine_seconds()?;
    let started = Instant::now();
    let mut worker = stage.worker()?;
    let seconds = |since: Instant| since.elapsed().as_secs_f64();
    let (mut first_s, mut rows_s) = (None, None);
    let records_s = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        worker.ensure_up(&stage)?;
        ensure!(started.elapsed() < PATIENCE, "not done after {PATIENCE:?}; the worker's log:\n{}", stage.log());
        if rows_s.is_none() {
            let events = load::decided(&mut connection).await?;
            ensure!(events <= options.events, "{events} events were decided, {} were sent", options.events);
            first_s = first_s.or_else(|| (events > 0).then(|| seconds(started)));
            rows_s = (events == options.events).then(|| seconds(started));
        } else if load::published(&group, &stage.name)? >= options.events {
            break seconds(started);
        }
    };
    let cpu_s = cpu_seconds(worker.pid())?;
    let after = machine_seconds()?;
    // The clock stopped at the commit of the last transaction; this proves that a reader can see all of it, once.
    let records = load::read_all(&load::reader(&stage, &stage.output())?, |_| ())?;
    ensure!(records == options.events, "{records} records are readable, {} events were sent", options.events);
    let rss_mb = peak_rss_mb(worker.pid())?;
    let code = worker.drain()?;
    ensure!(code == Some(0), "the worker ended with {code:?}; its log:\n{}", stage.log());
    let ceilings = if no_ceilings { Vec::new() } else { ceilings::measure(&stage).await? };
    let (first_s, rows_s) = (first_s.unwrap_or(f64::NAN), rows_s.unwrap_or(f64::NAN));
    let rest_busy = (after.0 - before.0 - cpu_s) / (after.1 - before.1);
    let figure = json!({
        "first_row_s": first_s, "rows_s": rows_s, "records_s": records_s, "worker_cpu_s": cpu_s, "peak_rss_mb": rss_mb,
        "rest_busy": rest_busy,
        "ceilings": ceilings.iter().zip(ceilings::NAMES).map(|(c, name)| json!({ "name": name, "rate": c.rate, "cpu_us": c.cpu_us })).collect::<Vec<_>>(),
    });
    Ok((Line { first_s, rows_s, records_s, cpu_s, rss_mb, rest_busy, ceilings }, figure))
}
