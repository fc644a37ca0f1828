//! `kill -9` under load: how long the victim's partitions stand still.

use crate::load::Load;
use crate::stage::{PARTITIONS, Stage, Worker};
use crate::{Anyhow, Options, quantile, sorted};
use anyhow::ensure;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DEFAULT_RATE: u64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Partition, epoch, owner, and whether something was decided since the claim.
type Row = (i32, i64, Option<String>, bool);

async fn rows(connection: &mut PgConnection) -> Anyhow<Vec<Row>> {
    let text = "SELECT partition, epoch, owner, idle_claims = 0 FROM millrace.stream_partition ORDER BY partition";
    Ok(sqlx::query_as(text).fetch_all(connection).await?)
}

fn is_of(owner: Option<&str>, worker: &Worker) -> bool {
    owner.is_some_and(|owner| owner.contains(&format!("/{}/", worker.pid())))
}

/// Waits until the living workers hold all partitions, each at least one, and every partition moves.
async fn balanced(stage: &Stage, connection: &mut PgConnection, workers: &mut [Worker]) -> Anyhow<Vec<Row>> {
    let deadline = Instant::now() + PATIENCE;
    let mut stable = 0;
    loop {
        let found = rows(connection).await?;
        let busy = |worker: &Worker| found.iter().any(|(_, _, owner, moving)| *moving && is_of(owner.as_deref(), worker));
        let owned = |owner: &Option<String>| workers.iter().any(|worker| is_of(owner.as_deref(), worker));
        let good = found.len() == PARTITIONS as usize
            && found.iter().all(|(_, _, owner, moving)| *moving && owned(owner))
            && workers.iter().all(busy);
        stable = if good { stable + 1 } else { 0 };
        if stable == 5 {
            return Ok(found);
        }
        for worker in workers.iter_mut() {
            worker.ensure_up(stage)?;
        }
        ensure!(Instant::now() < deadline, "the group found no balance: {found:?}; the log:\n{}", stage.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub async fn run(options: &Options) -> Anyhow<Value> {
    let rate = options.rate.unwrap_or(DEFAULT_RATE);
    let stage = Arc::new(Stage::new(&|folder| options.config(folder), &options.property).await?);
    let mut connection = stage.connect().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let sending = {
        let (stage, stop, spread) = (stage.clone(), stop.clone(), options.spread());
        std::thread::spawn(move || Load::new(&stage, 1, spread)?.steadily(rate, &stop))
    };
    let mut workers: Vec<Worker> = (0..options.workers).map(|_| stage.worker()).collect::<Anyhow<_>>()?;
    let (mut first, mut all) = (Vec::new(), Vec::new());
    for kill in 0..options.kills {
        let before = balanced(&stage, &mut connection, &mut workers).await?;
        let victim = kill % workers.len();
        let orphans: Vec<&Row> = before.iter().filter(|row| is_of(row.2.as_deref(), &workers[victim])).collect();
        workers[victim].kill()?;
        let killed = Instant::now();
        let mut back = BTreeSet::new();
        while back.len() < orphans.len() {
            ensure!(killed.elapsed() < PATIENCE, "partitions did not come back; the log:\n{}", stage.log());
            for (partition, epoch, _, moving) in rows(&mut connection).await? {
                let orphan = orphans.iter().find(|orphan| orphan.0 == partition);
                if moving && orphan.is_some_and(|orphan| epoch > orphan.1) && back.insert(partition) && back.len() == 1 {
                    first.push(killed.elapsed().as_secs_f64());
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        all.push(killed.elapsed().as_secs_f64());
        println!("kill {}: first {:.2} s, all {:.2} s", kill + 1, first[kill], all[kill]);
        workers[victim] = stage.worker()?;
    }
    stop.store(true, Ordering::Relaxed);
    sending.join().map_err(|_| anyhow::anyhow!("the load ended badly"))??;
    let properties = if options.property.is_empty() { "as shipped".to_owned() } else { options.property.join(", ") };
    println!("\n{} kills of {} workers at {rate} events/s; Kafka properties: {properties}\n", options.kills, options.workers);
    println!("| s from kill -9 to new rows | p50 | max |\n|---|---|---|");
    let (first, all) = (sorted(first), sorted(all));
    for (name, gaps) in [("of the first of its partitions", &first), ("of all its partitions", &all)] {
        println!("| {name} | {:.2} | {:.2} |", quantile(gaps, 0.5), quantile(gaps, 1.0));
    }
    Ok(
        json!({ "mode": "kill", "rate": rate, "workers": options.workers, "properties": options.property, "first_s": first, "all_s": all }),
    )
}
