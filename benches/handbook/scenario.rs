//! One run: topics, a config, the backlog, workers and what befalls them.

use crate::data::{BEGIN_S, Golden, Transaction};
use crate::stage::{Stage, Worker, cpu_seconds, peak_rss_mb};
use crate::{Anyhow, Options, Scenario, answers};
use anyhow::{Context, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(540);
/// One event in so many is sent again, this many events later.
const DUPLICATES: usize = 100;
const LATER: usize = 50;

/// The pipeline that scores with a model.
pub fn pipeline(stage: &Stage, model: &str) -> String {
    format!("{}-{model}", stage.name)
}

/// The shipped chain, with names of this run, and its second stage once for each model.
fn config(options: &Options, stage: &Stage) -> Anyhow<String> {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples");
    let sample = std::fs::read_to_string(format!("{samples}/risk-chain.toml"))?;
    let at = sample.rfind("[[pipeline]]").context("the sample has two pipelines")?;
    let first = sample.find("[[pipeline]]").context("the sample has two pipelines")?;
    let (customers, terminals) = (&sample[first..at], &sample[at..]);
    let name = &stage.name;
    let mut text = format!(
        "[kafka]\nbrokers = \"{}\"\n[postgres]\nurl = \"{}\"\nmax_connections = 12\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        stage.brokers, stage.url
    );
    let renamed = |text: &str| {
        text.replace("\"transactions\"", &format!("\"{name}\""))
            .replace("\"transactions-by-terminal\"", &format!("\"{name}-by-terminal\""))
            .replace("\"risk-customers\"", &format!("\"{name}-customers\""))
            .replace("\"risk-policy.toml\"", &format!("\"{samples}/risk-policy.toml\""))
    };
    let mut pipelines = renamed(customers);
    for model in &options.models {
        let file = match model.as_str() {
            "xgb" => format!("xgb_{}.json", options.fold),
            "lgb" => format!("lgb_{}.txt", options.fold),
            "lr" => format!("lr_{}.json", options.fold),
            _ => format!("mlp_{}.safetensors", options.fold),
        };
        let path = options.data.join("handbook/golden").join(file).canonicalize()?;
        text.push_str(&format!("[models.{model}]\npath = \"{}\"\n", path.display()));
        let mut scored = renamed(terminals)
            .replace("name = \"risk\"", &format!("name = \"{}\"", pipeline(stage, model)))
            .replace("\"handbook\"", &format!("\"{model}\""))
            .replace("\"transactions.scored\"", &format!("\"{name}-{model}.scored\""));
        // A net explains nothing.
        scored = scored.replace(", reasons = \"risk-reasons.toml\"", "");
        pipelines.push_str(&scored);
    }
    Ok(text + &pipelines)
}

/// Puts the transactions into the topic, in their order.
fn send(stage: &Stage, transactions: &[Transaction], duplicates: bool) -> Anyhow<u64> {
    let producer: BaseProducer = stage
        .client()
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "50")
        .set("batch.size", "262144")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "500000")
        .create()?;
    let put = |transaction: &Transaction| -> Anyhow<()> {
        let time = jiff::Timestamp::from_second(BEGIN_S + transaction.seconds)?;
        let (key, body) = (
            transaction.customer.to_string(),
            format!(
                "{{\"TRANSACTION_ID\":{},\"TX_DATETIME\":\"{time}\",\"CUSTOMER_ID\":{},\"TERMINAL_ID\":{},\"TX_AMOUNT\":{},\"TX_FRAUD\":{}}}",
                transaction.id,
                transaction.customer,
                transaction.terminal,
                transaction.amount,
                u8::from(transaction.fraud)
            ),
        );
        let mut record = BaseRecord::to(&stage.name).key(&key).payload(&body);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    };
    let mut sent = 0;
    for (number, transaction) in transactions.iter().enumerate() {
        put(transaction)?;
        sent += 1;
        if duplicates && number >= LATER && number % DUPLICATES == 0 {
            put(&transactions[number - LATER])?;
            sent += 1;
        }
        if number % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(sent)
}

/// Events that the slowest pipeline has decided.
async fn decided(stage: &Stage, options: &Options) -> Anyhow<i64> {
    let mut connection = stage.connect().await?;
    let mut least = i64::MAX;
    let models = options.models.iter().map(|model| pipeline(stage, model));
    for pipeline in models.chain([format!("{}-customers", stage.name)]) {
        let text = "SELECT coalesce(sum(events), 0)::bigint FROM millrace.stream_partition WHERE pipeline = $1";
        least = least.min(sqlx::query_scalar(text).bind(pipeline).fetch_one(&mut connection).await?);
    }
    Ok(least)
}

/// Runs a scenario; says whether everything is as it should be.
pub async fn run(options: &Options, scenario: Scenario, transactions: &[Transaction], golden: &Golden) -> Anyhow<bool> {
    let stage = Stage::bare().await?;
    let name = &stage.name;
    let mut topics = vec![name.clone(), format!("{name}-by-terminal"), format!("{name}-customers.dead-letters")];
    for model in &options.models {
        topics.push(format!("{name}-{model}.scored"));
        topics.push(format!("{}.dead-letters", pipeline(&stage, model)));
    }
    stage.topics(&topics).await?;
    std::fs::write(stage.config(), config(options, &stage)?)?;
    let sent = send(&stage, transactions, scenario == Scenario::Duplicates)? as i64;
    let begun = Instant::now();
    let mut workers = vec![stage.worker()?];
    if scenario == Scenario::Kills {
        workers.push(stage.worker()?);
    }
    let (mut kills, mut last_kill, mut cpu, mut rss) = (0_u32, Instant::now(), 0.0, 0.0_f64);
    let mut moves = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let done = decided(&stage, options).await?;
        if done >= sent {
            ensure!(done == sent, "{done} events are decided of {sent}");
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "{done} of {sent} after {PATIENCE:?}; the log:\n{}", stage.log());
        for worker in &mut workers {
            worker.ensure_up(&stage)?;
        }
        match scenario {
            Scenario::Kills if last_kill.elapsed() >= Duration::from_secs(options.every) && done > 0 => {
                let victim = kills as usize % 2;
                workers[victim].kill()?;
                workers[victim] = stage.worker()?;
                kills += 1;
                last_kill = Instant::now();
            }
            Scenario::Rebalance if moves == 0 && done > sent / 5 => {
                workers.extend([stage.worker()?, stage.worker()?]);
                moves = 1;
            }
            Scenario::Rebalance if moves == 1 && done > sent * 3 / 5 => {
                for mut leaving in workers.drain(..2) {
                    leaving.drain()?;
                }
                moves = 2;
            }
            _ => {}
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    for worker in &mut workers {
        cpu += cpu_seconds(Worker::pid(worker))?;
        rss = rss.max(peak_rss_mb(Worker::pid(worker))?);
        ensure!(worker.drain()? == Some(0), "a worker did not drain; the log:\n{}", stage.log());
    }
    let mut connection = stage.connect().await?;
    let states: (i64, i64) = sqlx::query_as("SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::bigint FROM millrace.state")
        .fetch_one(&mut connection)
        .await?;
    println!(
        "\n{scenario:?}: {sent} events through {} pipelines in {seconds:.1} s ({:.0} events/s a pipeline), {kills} kills, {moves} moves; \
         the last workers took {cpu:.0} s of processor and at most {rss:.0} MB; {} keys of {:.0} bytes each\n",
        options.models.len() + 1,
        sent as f64 / seconds,
        states.0,
        states.1 as f64 / states.0.max(1) as f64
    );
    println!(
        "| model, fold | answers | late | missing | dead | features that differ | probabilities that differ | AUC / AP / CP@100 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut good = true;
    for model in &options.models {
        good &= answers::compare(options, &stage, model, transactions, golden).await?;
    }
    Ok(good)
}
