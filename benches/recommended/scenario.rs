//! One run: topics, the shipped chain, workers and what befalls them, and the comparison.

use crate::data::Data;
use crate::one_pass::OnePass;
use crate::one_pass::compare::Compared;
use crate::stage::{PARTITIONS, Stage};
use crate::trouble::{self, Trouble};
use crate::{Anyhow, Options, Scenario};
use anyhow::{Context, anyhow, ensure};
use millrace::config::Config;
use millrace::event::{Header, Position, RawEvent};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use toml::Value;

/// The shipped chain, with names of this run.
fn config(options: &Options, scenario: Scenario, stage: &Stage) -> Anyhow<String> {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/recommend-stream.toml"))?;
    let mut table: toml::Table = toml::from_str(&sample)?;
    let section = |text: String| -> Anyhow<Value> { Ok(Value::Table(toml::from_str(&text)?)) };
    table.insert("kafka".into(), section(format!("brokers = \"{}\"", stage.brokers))?);
    table.insert("postgres".into(), section(format!("url = \"{}\"", stage.url))?);
    table.insert("admin".into(), section("listen = \"127.0.0.1:0\"".into())?);
    let pipelines = table.get_mut("pipeline").and_then(Value::as_array_mut).context("the sample has pipelines")?;
    let name = &stage.name;
    let renamed = |value: &mut Value| match value {
        Value::Array(topics) => {
            topics.iter_mut().for_each(|topic| *topic = format!("{name}.{}", topic.as_str().unwrap_or_default()).into())
        }
        one => *one = format!("{name}.{}", one.as_str().unwrap_or_default()).into(),
    };
    for pipeline in pipelines.iter_mut().filter_map(Value::as_table_mut) {
        for key in ["name", "topic", "output_topic"] {
            pipeline.get_mut(key).into_iter().for_each(renamed);
        }
        match pipeline.get("function").and_then(Value::as_str) {
            Some("copy") => {}
            _ => drop(pipeline.insert("keep".into(), "latest".into())),
        }
        if scenario == Scenario::Memory {
            pipeline.insert("state_bytes".into(), options.state_bytes.into());
        }
        // Only what is written can leave the memory.
        if let Some(events) = options.flush_after.or((scenario == Scenario::Memory).then_some(500)) {
            pipeline.insert("flush_after".into(), events.into());
        }
    }
    Ok(toml::to_string(&table)?)
}

/// The log of a partition, as a `read_committed` reader has it.
fn log(stage: &Stage, topic: &str, partition: i32) -> Anyhow<Vec<RawEvent>> {
    let mut client = stage.client();
    client.set("group.id", &stage.name).set("isolation.level", "read_committed");
    let consumer: BaseConsumer = client.set("enable.partition.eof", "true").set("enable.auto.commit", "false").create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&list)?;
    let (mut log, name) = (Vec::new(), Arc::<str>::from(topic));
    loop {
        let message = match consumer.poll(Duration::from_secs(30)).context("the topic is not read to its end in time")? {
            Err(KafkaError::PartitionEOF(_)) => return Ok(log),
            other => other?,
        };
        let header =
            |header: rdkafka::message::Header<'_, &[u8]>| Header { name: header.key.into(), value: header.value.map(Into::into) };
        log.push(RawEvent {
            position: Position { topic: Arc::clone(&name), partition, offset: message.offset() },
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key().map(Into::into),
            payload: message.payload().map(Into::into),
            headers: message.headers().map_or_else(Vec::new, |headers| headers.iter().map(header).collect()),
        });
    }
}

/// Runs a scenario; says whether everything is as it should be.
pub async fn run(options: &Options, scenario: Scenario, data: &Data) -> Anyhow<bool> {
    let stage = Stage::bare().await?;
    std::fs::write(stage.config(), config(options, scenario, &stage)?)?;
    let config = Config::load(&stage.config(), &BTreeMap::new())?;
    let [merge, recommend] = &config.pipeline[..] else { return Err(anyhow!("the sample has two pipelines")) };
    let [merged] = &recommend.topic[..] else { return Err(anyhow!("the sample's second pipeline reads one topic")) };
    let outputs = [recommend.output_topic(), recommend.dead_letter_topic(), merge.dead_letter_topic()];
    stage.topics(&[&merge.topic[..], &outputs[..]].concat(), PARTITIONS).await?;
    stage.topics(std::slice::from_ref(merged), options.partitions).await?;
    let [clicks, films] = &merge.topic[..] else { return Err(anyhow!("the sample merges two topics")) };
    let sent = data.send(&stage, films, clicks)?;
    let trouble = match scenario {
        Scenario::Plain | Scenario::Memory => Trouble::None,
        Scenario::Kills => Trouble::Kills { every: Duration::from_secs(options.every) },
        Scenario::Rebalance => Trouble::Moves,
    };
    let ran = trouble::run(&stage, &[merge.name.clone(), recommend.name.clone()], sent, trouble).await?;
    println!(
        "\n{scenario:?}, {} partitions: {sent} events ({:.0} events/s) in {ran}",
        options.partitions,
        sent as f64 / ran.seconds
    );

    let (mut compared, mut connection, mut ids) = (Compared::default(), stage.connect().await?, HashSet::new());
    let (mut cost, begun) = (0, Instant::now());
    for partition in 0..options.partitions {
        let log = log(&stage, merged, partition)?;
        for raw in &log {
            let record: serde_json::Value = serde_json::from_slice(raw.payload.as_deref().context("a record has a value")?)?;
            ids.insert(record["event"]["id"].to_string());
        }
        let mut pass = OnePass::new(&config, recommend).map_err(|error| anyhow!(error))?;
        compared.partition(&mut connection, &mut pass, partition, log).await?;
        cost += pass.cost_bytes();
    }
    compared.latest(&mut connection, &recommend.name).await?;
    let Compared { answers, dead, states, latest, .. } = &compared;
    println!(
        "one pass and its comparison took {:.1} s; all states would take {:.1} MB of memory, state_bytes is {:.1} MB",
        begun.elapsed().as_secs_f64(),
        cost as f64 / 1e6,
        recommend.state_bytes as f64 / 1e6
    );
    println!("answers: {answers}\nstates: {states}\nnewest records: {latest}\n{dead} dead letters");
    ensure!(ids.len() as i64 == sent && answers.of as i64 == sent, "{} of {sent} events were merged", ids.len());
    Ok(*dead == 0 && [answers, states, latest].iter().all(|count| count.differ == 0))
}
