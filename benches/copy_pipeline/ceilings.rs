//! What the services can do for one client that does one thing only: the same events, the same rows, the same records.

use crate::Anyhow;
use crate::load;
use crate::stage::{PARTITIONS, Stage, cpu_seconds, database};
use anyhow::ensure;
use futures_util::TryStreamExt;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};

pub const NAMES: [&str; 3] = [
    "consume, 8 partitions",
    "binary COPY of the same rows, 10,000 a transaction",
    "Kafka transactions of the same records, 10,000 each",
];
const CHUNK: i64 = 10_000;
const WAIT: Duration = Duration::from_secs(30);

/// Events a second, and the client's own processor time.
pub struct Ceiling {
    pub rate: f64,
    pub cpu_us: f64,
}

/// Times work of this process; what it returns is the number of events.
struct Clock {
    wall: Duration,
    cpu_s: f64,
    events: u64,
}

impl Clock {
    fn new() -> Self {
        Self { wall: Duration::ZERO, cpu_s: 0.0, events: 0 }
    }

    fn ceiling(&self) -> Ceiling {
        Ceiling { rate: self.events as f64 / self.wall.as_secs_f64(), cpu_us: self.cpu_s / self.events as f64 * 1e6 }
    }
}

fn own_cpu() -> Anyhow<f64> {
    cpu_seconds(std::process::id())
}

/// In the order of [`NAMES`].
pub async fn measure(stage: &Stage) -> Anyhow<Vec<Ceiling>> {
    Ok(vec![consume(stage)?, copy(stage).await?, transactions(stage)?])
}

fn consume(stage: &Stage) -> Anyhow<Ceiling> {
    let mut clock = Clock::new();
    let (cpu, started) = (own_cpu()?, Instant::now());
    let mut bytes = 0;
    clock.events = load::read_all(&load::reader(stage, &stage.name)?, |message| bytes += message.payload_len())?;
    (clock.wall, clock.cpu_s) = (started.elapsed(), own_cpu()? - cpu);
    ensure!(bytes > 0, "the topic is empty");
    Ok(clock.ceiling())
}

/// Only writing is timed; a chunk takes the next offsets of every partition, as a decide round does.
async fn copy(stage: &Stage) -> Anyhow<Ceiling> {
    let mut clock = Clock::new();
    let mut from = stage.connect().await?;
    let mut to = PgConnection::connect(&database().await?).await?;
    let step = CHUNK / i64::from(PARTITIONS);
    for start in (0..).step_by(step as usize) {
        let select = format!(
            "COPY (SELECT * FROM millrace.record WHERE \"offset\" >= {start} AND \"offset\" < {} ORDER BY partition, \"offset\", n) \
             TO STDOUT (FORMAT binary)",
            start + step
        );
        let chunk: Vec<u8> = from
            .copy_out_raw(&select)
            .await?
            .try_fold(Vec::new(), |mut all, piece| async move {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await?;
        let (cpu, started) = (own_cpu()?, Instant::now());
        let mut transaction = to.begin().await?;
        let mut sink = transaction.copy_in_raw("COPY millrace.record FROM STDIN (FORMAT binary)").await?;
        sink.send(chunk).await?;
        let rows = sink.finish().await?;
        transaction.commit().await?;
        if rows == 0 {
            return Ok(clock.ceiling());
        }
        clock.events += rows;
        clock.wall += started.elapsed();
        clock.cpu_s += own_cpu()? - cpu;
    }
    unreachable!("the offsets of a topic end")
}

/// The records of the pipeline's own output, again, into a topic beside it.
fn transactions(stage: &Stage) -> Anyhow<Ceiling> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let wanted = 5 * CHUNK as usize;
    load::read_all(&load::reader(stage, &stage.output())?, |message| {
        if records.len() < wanted {
            records.push((message.key().unwrap_or_default().into(), message.payload().unwrap_or_default().into()));
        }
    })?;
    let producer: BaseProducer = stage
        .client()
        .set("transactional.id", format!("{}-ceiling", stage.name))
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "200000")
        .set("partitioner", "murmur2_random")
        .create()?;
    producer.init_transactions(WAIT)?;
    let topic = format!("{}.dead", stage.name);
    let mut clock = Clock::new();
    let (cpu, started) = (own_cpu()?, Instant::now());
    for chunk in records.chunks(CHUNK as usize).cycle().take(20) {
        producer.begin_transaction()?;
        for (key, value) in chunk {
            producer.send(BaseRecord::to(&topic).key(key).payload(value)).map_err(|(error, _)| error)?;
        }
        // `flush` would wait for its own slow tick.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.commit_transaction(WAIT)?;
        clock.events += chunk.len() as u64;
    }
    (clock.wall, clock.cpu_s) = (started.elapsed(), own_cpu()? - cpu);
    Ok(clock.ceiling())
}
