//! Which rate is held: a rate that goes up by a tenth, until records come later and later.

use crate::load::Load;
use crate::soak::Reader;
use crate::stage::Stage;
use crate::{Anyhow, Options, quantile};
use anyhow::anyhow;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Events a second of the first step, unless --rate says otherwise.
const FIRST: u64 = 1_000;
/// Seconds by which the records may be behind at the end of a step.
const BEHIND: f64 = 1.0;
/// Share of the wanted rate that the load itself must reach.
const REACHED: f64 = 0.98;

/// What a step came to.
struct Step {
    rate: u64,
    sent_rate: f64,
    behind: u64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Step {
    fn is_held(&self) -> bool {
        self.behind as f64 <= self.rate as f64 * BEHIND && self.sent_rate >= self.rate as f64 * REACHED
    }
}

pub async fn run(options: &Options) -> Anyhow<Value> {
    let stage = Arc::new(Stage::new(&|folder| options.config(folder), &options.property).await?);
    let mut worker = stage.worker()?;
    stage.claimed(&mut worker).await?;
    let reader = Reader::new(&stage);
    let mut load = Load::new(&stage, 1, options.spread())?;
    let (mut rate, mut sent, mut held) = (options.rate.unwrap_or(FIRST), 0, None);
    let warm_up = Duration::from_secs(60 * options.warm_up);
    println!(
        "{} of {} keys; {} minutes of warm-up, then {} s a step",
        options.function.name(),
        options.accounts,
        options.warm_up,
        options.seconds
    );
    println!("\n| events/s | sent/s | behind at the end | p50, ms | p99, ms |\n|---|---|---|---|---|");
    let mut warms = !warm_up.is_zero();
    loop {
        let (stop, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let sending = {
            let stop = stop.clone();
            std::thread::spawn(move || load.steadily(rate, &stop).map(|sent| (load, sent)))
        };
        tokio::time::sleep(if warms { warm_up } else { Duration::from_secs(options.seconds) }).await;
        worker.ensure_up(&stage)?;
        stop.store(true, Ordering::Relaxed);
        let (back, of_step) = sending.join().map_err(|_| anyhow!("the load ended badly"))??;
        load = back;
        let seconds = started.elapsed().as_secs_f64();
        sent += of_step;
        let (behind, latencies) = (sent.saturating_sub(reader.seen.records.load(Ordering::Relaxed)), reader.seen.latencies());
        if std::mem::take(&mut warms) {
            continue;
        }
        let (p50_ms, p99_ms) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
        let step = Step { rate, sent_rate: of_step as f64 / seconds, behind, p50_ms, p99_ms };
        println!("| {rate} | {:.0} | {behind} | {p50_ms:.0} | {p99_ms:.0} |", step.sent_rate);
        if !step.is_held() {
            break;
        }
        held = Some(step);
        rate += rate.div_ceil(10);
    }
    reader.each_once(&stage, worker, sent).await?;
    match &held {
        Some(step) => println!(
            "\nheld: {} events/s, p50 {:.0} ms, p99 {:.0} ms; {sent} events, each read once",
            step.rate, step.p50_ms, step.p99_ms
        ),
        None => println!("\nthe first rate was not held: give it a smaller --rate"),
    }
    Ok(json!({
        "mode": "hold", "function": options.function.name(), "accounts": options.accounts, "held": held.as_ref().map(|step| step.rate),
        "p50_ms": held.as_ref().map(|step| step.p50_ms), "p99_ms": held.as_ref().map(|step| step.p99_ms), "events": sent,
    }))
}
