//! What the operator's commands ask Kafka: metadata, bounds, a group's offsets and members, settings of topics.
//!
//! The calls block; a command has the process to itself.

use crate::event::TopicPartition;
use crate::publisher::{Committed, CommittedOffsets, offset_metadata, parse_offset_metadata};
use crate::source::LogBounds;
use anyhow::{Context, anyhow};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Bound of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Clients of one consumer group, which they never join.
pub struct Kafka {
    client: Vec<(String, String)>,
    group: String,
    /// Sees what is committed; asks for stable offsets.
    committed: BaseConsumer,
    /// Sees the high watermark.
    uncommitted: BaseConsumer,
}

impl Kafka {
    /// Makes the clients; brokers are asked on first use. `client`: the librdkafka properties that all clients share.
    pub fn new(client: Vec<(String, String)>, group: &str) -> anyhow::Result<Self> {
        let reader = |isolation: &str| {
            config(&client)
                .set("group.id", group)
                .set("enable.auto.commit", "false")
                .set("isolation.level", isolation)
                .create::<BaseConsumer>()
                .context("the Kafka client cannot be made; look at [kafka] in the config")
        };
        let (committed, uncommitted) = (reader("read_committed")?, reader("read_uncommitted")?);
        Ok(Self { group: group.to_owned(), committed, uncommitted, client })
    }

    /// The properties that all clients share.
    pub fn config(&self) -> ClientConfig {
        config(&self.client)
    }

    /// Number of partitions; `None` when the topic is not there or not to be seen.
    pub fn partition_count(&self, topic: &str) -> anyhow::Result<Option<i32>> {
        let metadata = block_in_place(|| self.committed.fetch_metadata(Some(topic), CALL_TIMEOUT))
            .with_context(|| format!("the brokers do not tell about topic `{topic}`"))?;
        let count = metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len());
        Ok((count > 0).then_some(count as i32))
    }

    /// The partitions of topics, which must be there.
    pub fn partitions(&self, topics: &[String]) -> anyhow::Result<Vec<TopicPartition>> {
        let mut partitions = Vec::new();
        for topic in topics {
            let count = self.partition_count(topic)?.ok_or_else(|| {
                anyhow!("the topic `{topic}` does not exist, or this user may not see it. Create it, or grant Describe.")
            })?;
            partitions.extend((0..count).map(|number| TopicPartition::new(topic.as_str(), number)));
        }
        Ok(partitions)
    }

    /// Number of brokers.
    pub fn brokers(&self) -> anyhow::Result<usize> {
        let metadata = block_in_place(|| self.committed.fetch_metadata(Some("__consumer_offsets"), CALL_TIMEOUT))
            .context("no broker answers")?;
        Ok(metadata.brokers().len())
    }

    /// First offset and last stable offset.
    pub fn bounds(&self, partition: &TopicPartition) -> anyhow::Result<LogBounds> {
        bounds(&self.committed, partition)
    }

    /// First offset and high watermark, open transactions included.
    pub fn bounds_with_open(&self, partition: &TopicPartition) -> anyhow::Result<LogBounds> {
        bounds(&self.uncommitted, partition)
    }

    /// The first offset whose record is of that time or later, milliseconds; the log's end when none is.
    pub fn offset_at(&self, partition: &TopicPartition, time_ms: i64) -> anyhow::Result<i64> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(time_ms))?;
        let found = block_in_place(|| patiently(|| self.committed.offsets_for_times(list.clone(), CALL_TIMEOUT)))
            .with_context(|| format!("the offset of a time cannot be read of {partition}"))?;
        match found.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => Ok(offset),
            _ => Ok(self.bounds(partition)?.high),
        }
    }

    /// The group's offsets, stable ones.
    pub fn committed(&self, partitions: &[TopicPartition]) -> anyhow::Result<CommittedOffsets> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&partition.topic, partition.partition);
        }
        let found = block_in_place(|| patiently(|| self.committed.committed_offsets(list.clone(), CALL_TIMEOUT)))
            .with_context(|| format!("the offsets of group `{}` cannot be read", self.group))?;
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some(Committed { offset, records_total: parse_offset_metadata(element.metadata()) }),
            _ => None,
        };
        Ok(found
            .elements()
            .iter()
            .map(|element| (TopicPartition::new(element.topic(), element.partition()), offset(element)))
            .collect())
    }

    /// Sets the group's offsets with their counts. The broker refuses while the group has members.
    pub fn commit(&self, offsets: &[(TopicPartition, Committed)]) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, committed) in offsets {
            let mut element = list.add_partition(&partition.topic, partition.partition);
            element.set_offset(Offset::Offset(committed.offset))?;
            element.set_metadata(offset_metadata(committed.records_total.unwrap_or(0)));
        }
        block_in_place(|| self.committed.commit(&list, CommitMode::Sync))
            .with_context(|| format!("the offsets of group `{}` cannot be set; is a worker in the group again?", self.group))?;
        let now = self.committed(&offsets.iter().map(|(partition, _)| partition.clone()).collect::<Vec<_>>())?;
        match offsets.iter().find(|(partition, wanted)| !now.contains(&(partition.clone(), Some(*wanted)))) {
            None => Ok(()),
            Some((partition, wanted)) => {
                Err(anyhow!("the broker took offset {} of {partition} and does not tell it back; run this again", wanted.offset))
            }
        }
    }

    /// Hosts of the group's live members.
    pub fn members(&self) -> anyhow::Result<Vec<String>> {
        let list = block_in_place(|| self.committed.fetch_group_list(Some(&self.group), CALL_TIMEOUT))
            .with_context(|| format!("the group `{}` cannot be described; this needs Describe on the group", self.group))?;
        let group = list.groups().iter().find(|group| group.name() == self.group);
        Ok(group.map_or_else(Vec::new, |group| {
            group.members().iter().map(|member| format!("{} {}", member.client_id(), member.client_host())).collect()
        }))
    }

    /// Fetches at the end of a partition, which needs the right to read its topic.
    pub fn try_to_read(&self, partition: &TopicPartition) -> anyhow::Result<()> {
        let consumer: BaseConsumer = self.reader().create().context("the Kafka client cannot be made")?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.partition, Offset::End)?;
        consumer.assign(&list)?;
        let deadline = Instant::now() + CALL_TIMEOUT;
        let mut trouble = None;
        while Instant::now() < deadline {
            match block_in_place(|| consumer.poll(Duration::from_millis(100))) {
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_outage(&error) => trouble = Some(error),
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
        }
        Err(trouble.map_or_else(|| anyhow!("no broker answered"), Into::into))
    }

    /// A consumer that is assigned what it reads, to be made. It has the pipeline's own group, which is granted and which it never joins:
    /// librdkafka asks for the coordinator of any group that it is given.
    pub fn reader(&self) -> ClientConfig {
        let mut config = self.config();
        config
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50");
        config
    }

    /// The settings of a topic.
    pub async fn settings(&self, topic: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let admin: AdminClient<DefaultClientContext> = self.config().create().context("the Kafka client cannot be made")?;
        let options = AdminOptions::new().request_timeout(Some(CALL_TIMEOUT));
        let mut settings = BTreeMap::new();
        for resource in admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await? {
            let resource = resource.map_err(|code| anyhow!("{code}"))?;
            settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
        }
        Ok(settings)
    }
}

/// Asks again while brokers agree on who coordinates the group or leads a partition: they do so when it is asked for first, and
/// after a restart.
fn patiently<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    use RDKafkaErrorCode::{
        CoordinatorLoadInProgress, CoordinatorNotAvailable, FencedLeaderEpoch, LeaderNotAvailable, NotCoordinator,
        NotLeaderForPartition, UnknownLeaderEpoch,
    };
    let deadline = Instant::now() + CALL_TIMEOUT;
    loop {
        match ask() {
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(
                        CoordinatorLoadInProgress
                            | CoordinatorNotAvailable
                            | FencedLeaderEpoch
                            | LeaderNotAvailable
                            | NotCoordinator
                            | NotLeaderForPartition
                            | UnknownLeaderEpoch
                    )
                ) && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(200));
            }
            result => return result,
        }
    }
}

/// Whether brokers that are down, restart, or cannot be reached may cause it.
pub fn is_outage(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AllBrokersDown, BrokerNotAvailable, BrokerTransportFailure, CoordinatorLoadInProgress, CoordinatorNotAvailable,
        FencedLeaderEpoch, LeaderNotAvailable, NetworkException, NotCoordinator, NotLeaderForPartition, OperationTimedOut,
        RequestTimedOut, Resolve, UnknownLeaderEpoch,
    };
    matches!(
        error.rdkafka_error_code(),
        Some(
            AllBrokersDown
                | BrokerNotAvailable
                | BrokerTransportFailure
                | CoordinatorLoadInProgress
                | CoordinatorNotAvailable
                | FencedLeaderEpoch
                | LeaderNotAvailable
                | NetworkException
                | NotCoordinator
                | NotLeaderForPartition
                | OperationTimedOut
                | RequestTimedOut
                | Resolve
                | UnknownLeaderEpoch
        )
    )
}

fn config(client: &[(String, String)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in client {
        config.set(name, value);
    }
    config
}

fn bounds(reader: &BaseConsumer, partition: &TopicPartition) -> anyhow::Result<LogBounds> {
    let (low, high) =
        block_in_place(|| patiently(|| reader.fetch_watermarks(&partition.topic, partition.partition, CALL_TIMEOUT)))
            .with_context(|| format!("the bounds of {partition} cannot be read"))?;
    Ok(LogBounds { low, high })
}
