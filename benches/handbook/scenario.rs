//! One run: topics, a config, the backlog, workers and what befalls them.

use crate::backlog::Backlog;
use crate::data::{BEGIN_S, Golden, Transaction};
use crate::stage::{PARTITIONS, Stage};
use crate::trouble::{self, Trouble};
use crate::{Anyhow, Options, Scenario, answers};
use anyhow::Context;
use std::time::Duration;

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
fn send(stage: &Stage, transactions: &[Transaction], duplicates: bool) -> Anyhow<i64> {
    let mut backlog = Backlog::new(stage)?;
    let mut put = |transaction: &Transaction| -> Anyhow<()> {
        let time = jiff::Timestamp::from_second(BEGIN_S + transaction.seconds)?;
        let body = format!(
            "{{\"TRANSACTION_ID\":{},\"TX_DATETIME\":\"{time}\",\"CUSTOMER_ID\":{},\"TERMINAL_ID\":{},\"TX_AMOUNT\":{},\"TX_FRAUD\":{}}}",
            transaction.id,
            transaction.customer,
            transaction.terminal,
            transaction.amount,
            u8::from(transaction.fraud)
        );
        backlog.put(&stage.name, &transaction.customer.to_string(), &body)
    };
    for (number, transaction) in transactions.iter().enumerate() {
        put(transaction)?;
        if duplicates && number >= LATER && number % DUPLICATES == 0 {
            put(&transactions[number - LATER])?;
        }
    }
    backlog.end()
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
    stage.topics(&topics, PARTITIONS).await?;
    std::fs::write(stage.config(), config(options, &stage)?)?;
    let sent = send(&stage, transactions, scenario == Scenario::Duplicates)?;
    let mut pipelines: Vec<String> = options.models.iter().map(|model| pipeline(&stage, model)).collect();
    pipelines.push(format!("{name}-customers"));
    let trouble = match scenario {
        Scenario::Plain | Scenario::Duplicates => Trouble::None,
        Scenario::Kills => Trouble::Kills { every: Duration::from_secs(options.every) },
        Scenario::Rebalance => Trouble::Moves,
    };
    let ran = trouble::run(&stage, &pipelines, sent, trouble).await?;
    let rate = sent as f64 / ran.seconds;
    println!("\n{scenario:?}: {sent} events through {} pipelines ({rate:.0} events/s a pipeline) in {ran}\n", pipelines.len());
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
