//! `deploy/local/with.sh cargo bench --locked --bench decide`: what a decide round of so many records costs, over 8 partitions.
//! Small rounds go by one statement over arrays, large ones by COPY; the table shows where one or the other pays.

use millrace::event::TopicPartition;
use millrace::record::{Kind, Mode, Provenance, Record};
use millrace::store::postgres::{PostgresSettings, PostgresStore, migrate};
use millrace::store::{Advance, PartitionKey, Store};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const PARTITIONS: i32 = 8;
/// Records a round, and rounds.
const ROUNDS: [(i64, usize); 8] = [(8, 60), (64, 60), (200, 60), (400, 60), (800, 40), (2_000, 20), (8_000, 10), (20_000, 5)];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!("nothing was measured: Postgres is needed, run it through deploy/local/with.sh");
        return Ok(());
    };
    let options = PgConnectOptions::from_str(&url)?;
    let name = format!("bench_{}", Uuid::new_v4().simple());
    let mut connection = PgConnection::connect_with(&options).await?;
    sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut connection).await?;
    let url = options.database(&name).to_url_lossy().to_string();
    migrate(&url).await?;
    let settings = PostgresSettings { max_connections: 4, statement_timeout_ms: 30_000, acquire_timeout_ms: 5_000 };
    let store = PostgresStore::connect(&url, &settings).await?;
    let by = Provenance {
        pipeline: "bench".into(),
        run: 1,
        function: "copy".into(),
        model: "".into(),
        config: "0123456789ab".into(),
        fold: None,
        keeps_latest: false,
    };
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|number| TopicPartition::new("in", number)).collect();
    let starts: Vec<_> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
    store.open(&by.pipeline, by.run, Mode::Both, &starts).await?;
    let claim = Uuid::new_v4();
    for partition in &partitions {
        let key = PartitionKey { pipeline: by.pipeline.clone(), run: by.run, partition: partition.clone() };
        store.claim(&key, claim, "bench").await?;
    }
    println!("| records a round | ms a round, median | records/s |\n|---|---|---|");
    let mut next = 0;
    for (records, rounds) in ROUNDS {
        let step = records / i64::from(PARTITIONS);
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..rounds {
            let round: Vec<Advance> = partitions.iter().map(|partition| advance(partition, claim, next, next + step)).collect();
            next += step;
            let started = Instant::now();
            let moved = store.decide(&by, &round).await?;
            times.push(started.elapsed());
            anyhow::ensure!(moved.len() == round.len(), "a partition did not move");
        }
        times.sort();
        let median = times[times.len() / 2].as_secs_f64();
        println!("| {records} | {:.2} | {:.0} |", median * 1e3, records as f64 / median);
    }
    Ok(())
}

fn advance(partition: &TopicPartition, claim: Uuid, from: i64, to: i64) -> Advance {
    let record = |offset: i64| {
        Record {
        partition: partition.partition,
        offset,
        n: 0,
        kind: Kind::Prediction,
        out_topic: "bench.predictions".into(),
        key: Some(format!("account-{offset:06}").into_bytes().into()),
        traceparent: None,
        value: format!(
            "{{\"id\":\"bench/1/in/{p}/{offset}/0\",\"pipeline\":\"bench\",\"function\":\"copy\",\"model\":\"\",\"source\":{{\"topic\":\"in\",\
             \"partition\":{p},\"offset\":{offset}}},\"event_time\":\"2026-03-01T00:00:00.000Z\",\"amount\":12.5,\"score\":0.125}}",
            p = partition.partition
        )
        .into(),
        label: None,
        model: None,
        config: None,
        score: Some(0.125),
    }
    };
    Advance {
        partition: partition.clone(),
        claim,
        from,
        to,
        event_time_ms: Some(1_772_323_200_000),
        events: to - from,
        skipped: 0,
        dead: 0,
        published_offset: 0,
        records: Arc::new((from..to).map(record).collect()),
        fold_from: to,
        states: Vec::new(),
    }
}
