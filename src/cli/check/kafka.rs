//! Brokers, topics, and the group.

use super::{Findings, Level};
use crate::cli::common;
use crate::cli::kafka::Kafka;
use crate::config::recommend::warning_of;
use crate::config::{Config, Pipeline};
use crate::event::TopicPartition;
use crate::record::Mode;

pub async fn check(config: &Config, findings: &mut Findings) {
    for (number, pipeline) in config.pipeline.iter().enumerate() {
        let about = format!("pipeline {}", pipeline.name);
        let Some(kafka) = findings.take("kafka", common::kafka(config, pipeline)) else { return };
        if number == 0 {
            let brokers = kafka.brokers().map_err(|error| error.context(config.kafka.no_answer()));
            let Some(brokers) = findings.take("kafka", brokers) else { return };
            findings.add(Level::Good, "kafka", format!("{} answers, {brokers} brokers", config.kafka.brokers));
        }
        inputs(&about, config, pipeline, &kafka, findings);
        let mut outputs = vec![pipeline.output_topic(), pipeline.dead_letter_topic()];
        outputs.dedup();
        for topic in outputs {
            output(&about, pipeline, &kafka, &topic, findings).await;
        }
    }
}

/// The partitions of a topic that must be there.
fn partitions(about: &str, kafka: &Kafka, topic: &str, findings: &mut Findings) -> Option<Vec<TopicPartition>> {
    let topics = [topic.to_owned()];
    let partitions = findings.take(about, kafka.partitions(&topics))?;
    findings.add(Level::Good, about, format!("topic {topic} has {} partitions", partitions.len()));
    Some(partitions)
}

/// A user who may read a topic and its group's offsets may read its bounds too.
fn inputs(about: &str, config: &Config, pipeline: &Pipeline, kafka: &Kafka, findings: &mut Findings) {
    for topic in &pipeline.topic {
        let Some(partitions) = partitions(about, kafka, topic, findings) else { continue };
        if let Some(text) = warning_of(config, pipeline, Some(partitions.len())) {
            findings.add(Level::Warning, about, text);
        }
        let bounds = partitions.iter().try_for_each(|partition| kafka.bounds(partition).map(|_| ()));
        findings.take(about, bounds);
        let Some(committed) = findings.take(about, kafka.committed(&partitions)) else { continue };
        let with = committed.iter().filter(|(_, k)| k.is_some()).count();
        let foreign = committed.iter().any(|(_, k)| k.is_some_and(|k| k.records_total.is_none()));
        findings.add(Level::Good, about, format!("group {} has offsets of {with} partitions of {topic}", pipeline.name));
        if foreign && pipeline.mode == Mode::Both {
            let text = format!(
                "offsets of group {} were not written by Millrace: `run` halts there, see `millrace adopt`",
                pipeline.name
            );
            findings.add(Level::Warning, about, text);
        }
    }
}

/// Where a transaction had no answer, the publisher reads its records to learn how it ended.
fn readable(about: &str, kafka: &Kafka, partition: &TopicPartition, findings: &mut Findings) {
    if let Err(error) = kafka.try_to_read(partition) {
        let text = format!(
            "the topic {} cannot be read ({error:#}): grant Read, or the publisher may wait for ever once Kafka leaves a transaction open",
            partition.topic
        );
        findings.add(Level::Warning, about, text);
    }
}

async fn output(about: &str, pipeline: &Pipeline, kafka: &Kafka, topic: &str, findings: &mut Findings) {
    let Some(partitions) = partitions(about, kafka, topic, findings) else { return };
    if let Some(partition) = partitions.first() {
        readable(about, kafka, partition, findings);
    }
    let settings = match kafka.settings(topic).await {
        Ok(settings) => settings,
        Err(error) => {
            let text = format!(
                "the settings of {topic} cannot be read ({error:#}); its max.message.bytes must be {} or more",
                pipeline.record_bytes
            );
            findings.add(Level::Warning, about, text);
            return;
        }
    };
    match settings.get("max.message.bytes").and_then(|value| value.parse::<usize>().ok()) {
        Some(max) if max < pipeline.record_bytes => {
            let text = format!(
                "topic {topic} takes messages of {max} bytes, and record_bytes is {}: raise max.message.bytes, or lower record_bytes",
                pipeline.record_bytes
            );
            findings.add(Level::Wrong, about, text);
        }
        Some(max) => findings.add(Level::Good, about, format!("topic {topic} takes messages of {max} bytes")),
        None => findings.add(Level::Warning, about, format!("the brokers do not tell max.message.bytes of {topic}")),
    }
    if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        findings.add(
            Level::Warning,
            about,
            format!("topic {topic} is compacted: `millrace verify` cannot tell what is missing there"),
        );
    }
}
