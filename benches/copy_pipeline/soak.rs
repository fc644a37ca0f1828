//! A steady load for a long time: does memory grow, do latencies drift?
//!
//! Latency is from the broker's append time of an event to its record in a `read_committed` reader. First a backlog tells how fast the path is.

use crate::latency::{now_ms, source};
use crate::load::{self, Load};
use crate::plot::{self, Panel};
use crate::stage::{PARTITIONS, Stage, Worker, cpu_seconds, machine_seconds, rss_mb};
use crate::{Anyhow, Options, quantile, sorted, throughput};
use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// What the reader of both topics has seen.
#[derive(Default)]
pub struct Seen {
    pub records: AtomicU64,
    /// Milliseconds of the running interval.
    latencies: Mutex<Vec<f64>>,
}

impl Seen {
    /// The latencies since it was asked last, in order.
    pub fn latencies(&self) -> Vec<f64> {
        sorted(std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Who reads both topics.
pub struct Reader {
    pub seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Anyhow<(usize, usize)>>,
}

impl Reader {
    pub fn new(stage: &Arc<Stage>) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let thread = {
            let (stage, stop, seen) = (stage.clone(), stop.clone(), seen.clone());
            std::thread::spawn(move || follow(&stage, &stop, &seen))
        };
        Self { seen, stop, thread }
    }

    /// Waits for the records of all events that were sent, ends the worker, and fails unless each event has one record and one row.
    pub async fn each_once(self, stage: &Stage, mut worker: Worker, sent: u64) -> Anyhow<()> {
        let records = || self.seen.records.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while records() < sent {
            worker.ensure_up(stage)?;
            ensure!(Instant::now() < deadline, "{} of {sent} records were read", records());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.stop.store(true, Ordering::Relaxed);
        let alone = self.thread.join().map_err(|_| anyhow::anyhow!("the reader ended badly"))??;
        ensure!(alone == (0, 0), "{} events without a record, {} records without an event that has none yet", alone.0, alone.1);
        let records = self.seen.records.load(Ordering::Relaxed);
        ensure!(records == sent, "{records} records were read, {sent} events were sent");
        let code = worker.drain()?;
        ensure!(code == Some(0), "the worker ended with {code:?}; its log:\n{}", stage.log());
        let mut connection = stage.connect().await?;
        ensure!(load::decided(&mut connection).await? == sent, "events and rows differ");
        Ok(())
    }
}

/// A name, and where it stands in a sample.
type Figure = (&'static str, fn(&Sample) -> f64);

/// One interval.
struct Sample {
    minute: f64,
    rss_mb: f64,
    p50_ms: f64,
    p99_ms: f64,
    events_a_second: f64,
    worker_cpu: f64,
    rest_busy: f64,
}

pub async fn run(options: &Options) -> Anyhow<Value> {
    let (capacity, rate) = match options.rate {
        Some(rate) => (None, rate),
        None => {
            let capacity = throughput::rate(options).await?;
            println!("a backlog was worked off at {capacity:.0} events/s");
            (Some(capacity), (capacity * options.share) as u64)
        }
    };
    let stage = Arc::new(Stage::new(&|folder| options.config(folder), &options.property).await?);
    let mut worker = stage.worker()?;
    stage.claimed(&mut worker).await?;
    let (stop_load, reader) = (Arc::new(AtomicBool::new(false)), Reader::new(&stage));
    let sending = {
        let (stage, stop, spread) = (stage.clone(), stop_load.clone(), options.spread());
        std::thread::spawn(move || Load::new(&stage, 1, spread)?.steadily(rate, &stop))
    };
    let started = Instant::now();
    let going = || !sending.is_finished() && !reader.thread.is_finished();
    let samples = samples(options, &stage, &mut worker, &reader.seen, &going).await?;
    stop_load.store(true, Ordering::Relaxed);
    let sent = sending.join().map_err(|_| anyhow::anyhow!("the load ended badly"))??;
    let sent_rate = sent as f64 / started.elapsed().as_secs_f64();
    reader.each_once(&stage, worker, sent).await?;
    told(options, capacity, (rate, sent_rate), sent, &samples)
}

/// Both topics, from their beginning: an event and its record meet in one table. Returns how many events and records stayed alone; a
/// record that comes a second time is among them.
fn follow(stage: &Stage, stop: &AtomicBool, seen: &Seen) -> Anyhow<(usize, usize)> {
    let consumer: BaseConsumer = stage
        .client()
        .set("group.id", format!("{}-reader", stage.name))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.wait.max.ms", "5")
        .create()?;
    let mut list = TopicPartitionList::new();
    let output = stage.output();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&stage.name, partition, Offset::Beginning)?;
        list.add_partition_offset(&output, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut appended, mut early) = (HashMap::new(), HashMap::new());
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) else { continue };
        let met = if message.topic() == output {
            let place = source(message.payload().unwrap_or_default()).context("a record without source")?;
            let now = now_ms();
            seen.records.fetch_add(1, Ordering::Relaxed);
            match appended.remove(&place) {
                Some(at) => Some(now - at),
                None => {
                    ensure!(early.insert(place, now).is_none(), "the record of {place:?} came twice");
                    None
                }
            }
        } else {
            let place = (message.partition() as usize, message.offset());
            let at = message.timestamp().to_millis().context("an event without a time")? as f64;
            match early.remove(&place) {
                Some(now) => Some(now - at),
                None => {
                    appended.insert(place, at);
                    None
                }
            }
        };
        if let Some(ms) = met {
            seen.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(ms);
        }
    }
    Ok((appended.len(), early.len()))
}

async fn samples(
    options: &Options,
    stage: &Stage,
    worker: &mut Worker,
    seen: &Seen,
    going: &dyn Fn() -> bool,
) -> Anyhow<Vec<Sample>> {
    let started = Instant::now();
    let (mut samples, mut records, mut cpu, mut busy, mut at) =
        (Vec::new(), 0, cpu_seconds(worker.pid())?, machine_seconds()?, started);
    while started.elapsed() < Duration::from_secs(60 * (options.warm_up + options.minutes)) {
        tokio::time::sleep(EVERY).await;
        worker.ensure_up(stage)?;
        if !going() {
            // Its own error is told when it is joined.
            break;
        }
        let latencies = seen.latencies();
        let (now, records_now, cpu_now, busy_now) =
            (Instant::now(), seen.records.load(Ordering::Relaxed), cpu_seconds(worker.pid())?, machine_seconds()?);
        let seconds = (now - at).as_secs_f64();
        let sample = Sample {
            minute: started.elapsed().as_secs_f64() / 60.0,
            rss_mb: rss_mb(worker.pid())?,
            p50_ms: quantile(&latencies, 0.5),
            p99_ms: quantile(&latencies, 0.99),
            events_a_second: (records_now - records) as f64 / seconds,
            worker_cpu: (cpu_now - cpu) / seconds,
            rest_busy: (busy_now.0 - busy.0 - (cpu_now - cpu)) / (busy_now.1 - busy.1),
        };
        if samples.len() % 30 == 0 {
            println!(
                "{:5.1} min: {:.0} events/s, p50 {:.0} ms, p99 {:.0} ms, RSS {:.0} MB, worker {:.2} cores, rest {:.0} % busy",
                sample.minute,
                sample.events_a_second,
                sample.p50_ms,
                sample.p99_ms,
                sample.rss_mb,
                sample.worker_cpu,
                sample.rest_busy * 100.0
            );
        }
        samples.push(sample);
        (records, cpu, busy, at) = (records_now, cpu_now, busy_now, now);
    }
    Ok(samples)
}

/// Least squares: units an hour.
fn slope(samples: &[&Sample], of: fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(|sample| of(sample)).sum::<f64>() / count;
    let (x, y) = (mean(&|sample| sample.minute), mean(&of));
    let above: f64 = samples.iter().map(|sample| (sample.minute - x) * (of(sample) - y)).sum();
    let below: f64 = samples.iter().map(|sample| (sample.minute - x).powi(2)).sum();
    60.0 * above / below
}

fn told(options: &Options, capacity: Option<f64>, (rate, sent_rate): (u64, f64), sent: u64, samples: &[Sample]) -> Anyhow<Value> {
    let warm: Vec<&Sample> = samples.iter().filter(|sample| sample.minute > options.warm_up as f64).collect();
    ensure!(warm.len() >= 8, "too short to tell: give it more --minutes");
    let quarter = warm.len() / 4;
    let (first, last) = (&warm[..quarter], &warm[warm.len() - quarter..]);
    let middle =
        |part: &[&Sample], of: fn(&Sample) -> f64| quantile(&sorted(part.iter().map(|sample| of(sample)).collect()), 0.5);
    println!(
        "\n`{}`, {} keys, mode both, exactly_once, {rate} events/s wanted, {sent_rate:.0} sent for {} minutes after {} of warm-up, {sent} events, each read once\n",
        options.function.name(),
        options.accounts,
        options.minutes,
        options.warm_up
    );
    println!(
        "| median of intervals of {} s | first quarter | last quarter | change an hour |\n|---|---|---|---|",
        EVERY.as_secs()
    );
    let figures: [Figure; 5] = [
        ("resident memory, MB", |sample| sample.rss_mb),
        ("to the readable record, p50, ms", |sample| sample.p50_ms),
        ("to the readable record, p99, ms", |sample| sample.p99_ms),
        ("worker, cores", |sample| sample.worker_cpu),
        ("rest of the processors busy", |sample| sample.rest_busy),
    ];
    let mut told = serde_json::Map::new();
    for (name, of) in figures {
        let (a, b, c) = (middle(first, of), middle(last, of), slope(&warm, of));
        println!("| {name} | {a:.2} | {b:.2} | {c:+.2} |");
        told.insert(name.to_owned(), json!({ "first_quarter": a, "last_quarter": b, "an_hour": c }));
    }
    if let Some(path) = &options.plot {
        let all = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<f64>>();
        let panels = [
            Panel { title: "resident memory, MB", lines: vec![("RSS", all(|sample| sample.rss_mb))] },
            Panel {
                title: "append to readable record, ms",
                lines: vec![("p50", all(|sample| sample.p50_ms)), ("p99", all(|sample| sample.p99_ms))],
            },
            Panel { title: "events a second", lines: vec![("read", all(|sample| sample.events_a_second))] },
            Panel {
                title: "busy cores",
                lines: vec![
                    ("worker", all(|sample| sample.worker_cpu)),
                    (
                        "all else",
                        all(|sample| sample.rest_busy * std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)),
                    ),
                ],
            },
        ];
        std::fs::write(path, plot::svg(&all(|sample| sample.minute), &panels))?;
    }
    Ok(json!({
        "mode": "soak", "function": options.function.name(), "accounts": options.accounts, "capacity": capacity, "rate": rate, "sent_rate": sent_rate,
        "minutes": options.minutes, "warm_up": options.warm_up, "events": sent, "figures": told,
    }))
}
