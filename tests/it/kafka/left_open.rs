//! What a round that did not go through may have left open, and what closes it: one more aborted record in each partition, which moves its end.

use super::{Names, client, holding};
use crate::support::{client_of, create_topic, create_topic_with, unique};
use millrace::publisher::kafka::KafkaPublisher;
use millrace::publisher::{Publication, PublishError, Publisher};
use millrace::source::{Lease, SourceHandle};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(30);

/// A publisher and a lease of two partitions: 0 goes to `names.output`, and 1 to a compacted topic, which refuses records without a key.
struct Scene {
    names: Names,
    compacted: String,
    publisher: KafkaPublisher,
    lease: Arc<Lease>,
    _source: SourceHandle,
}

impl Scene {
    async fn new(output_partitions: i32) -> Self {
        let mut names = Names::new(2).await;
        let compacted = unique("compacted");
        names.output = unique("out");
        create_topic(&names.output, output_partitions).await;
        create_topic_with(&compacted, 1, &[("cleanup.policy", "compact")]).await;
        let mut source = names.member();
        let lease = holding(&mut source, 2).await;
        Self { publisher: names.publisher(), names, compacted, lease, _source: source }
    }

    /// Records for the output, each with a key of its own.
    fn good(&self, offsets: std::ops::Range<i64>) -> Publication {
        let mut publication = self.names.publication(0, offsets, "{}");
        let mut records = publication.records[0].to_vec();
        for record in &mut records {
            record.key = Some(record.offset.to_string().as_bytes().into());
        }
        publication.records = vec![Arc::new(records).into()];
        publication
    }

    /// A round that is aborted: some of its records are written, the compacted topic refuses the others.
    async fn refused(&self, good: std::ops::Range<i64>) {
        let mut bad = self.names.publication(1, 0..3, "{}");
        let mut records = bad.records[0].to_vec();
        for record in &mut records {
            (record.key, record.out_topic) = (None, self.compacted.as_str().into());
        }
        bad.records = vec![Arc::new(records).into()];
        let error = self.publisher.publish(self.lease.clone(), vec![self.good(good), bad]).await.unwrap_err();
        let bad = self.names.partition(1);
        assert!(matches!(&error, PublishError::Impossible { partition, .. } if *partition == bad), "{error:?}");
    }

    /// The ends of the output's partitions, whatever is open there.
    fn ends(&self, partitions: i32) -> Vec<i64> {
        let mut config = client_of(&crate::support::brokers());
        let consumer: BaseConsumer = config.set("isolation.level", "read_uncommitted").create().unwrap();
        (0..partitions).map(|number| consumer.fetch_watermarks(&self.names.output, number, WAIT).unwrap().1).collect()
    }

    /// The events whose records stand in each partition, whatever is open there, once there are so many; one of somebody else has none.
    fn events(&self, partitions: i32, records: usize) -> Vec<Vec<Option<i64>>> {
        let mut config = client_of(&crate::support::brokers());
        config.set("group.id", unique("looks")).set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        (0..partitions).for_each(|number| list.add_partition_offset(&self.names.output, number, Offset::Beginning).unwrap());
        consumer.assign(&list).unwrap();
        let (deadline, mut found) = (Instant::now() + WAIT, vec![Vec::new(); partitions as usize]);
        while found.iter().map(Vec::len).sum::<usize>() < records {
            assert!(Instant::now() < deadline, "{found:?}");
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                let event = message.key().map(|key| std::str::from_utf8(key).unwrap().parse().unwrap());
                found[message.partition() as usize].push(event);
            }
        }
        found
    }

    /// The ends once they are these, else as they are after a while: the markers of a transaction come when its end is promised already.
    async fn ends_at(&self, expected: &[i64]) -> Vec<i64> {
        let deadline = Instant::now() + WAIT;
        loop {
            let ends = self.ends(expected.len() as i32);
            if ends == expected || Instant::now() >= deadline {
                return ends;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Would catch: a round of which others were written and that is forgotten, since one of its records was asked about alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_leaves_nothing_of_the_others_open() {
    let scene = Scene::new(1).await;
    scene.refused(0..1).await;
    // The record, and the end of its transaction.
    assert_eq!(scene.ends_at(&[2]).await, [2]);
    scene.publisher.tidy().await;
    assert_eq!(scene.ends_at(&[4]).await, [4], "nothing was closed");
    scene.publisher.tidy().await;
    assert_eq!(scene.ends(1), [4], "once is enough");
}

/// Would catch: the end of a topic that was deleted and made again, which is taken for a transaction that never ends, so that nothing is closed.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_topic_that_was_made_again_keeps_nothing_open() {
    let scene = Scene::new(1).await;
    scene.publisher.publish(scene.lease.clone(), vec![scene.good(0..9)]).await.unwrap();
    assert_eq!(scene.ends_at(&[10]).await, [10]);
    let admin: AdminClient<DefaultClientContext> = client_of(&crate::support::brokers()).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    admin.delete_topics(&[&scene.names.output], &options).await.unwrap().remove(0).unwrap();
    create_topic(&scene.names.output, 1).await;
    scene.refused(9..10).await;
    assert_eq!(scene.ends_at(&[2]).await, [2], "it was not made again");
    scene.publisher.tidy().await;
    assert_eq!(scene.ends_at(&[4]).await, [4], "nothing was closed");
}

/// Would catch: a transaction of somebody else that hangs in one partition, for which nothing is closed in the others.
#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_in_one_partition_keeps_the_others_from_nothing() {
    let scene = Scene::new(2).await;
    let mut config = client_of(&client()[0].1);
    let stranger: BaseProducer =
        config.set("transactional.id", unique("stranger")).set("transaction.timeout.ms", "60000").create().unwrap();
    stranger.init_transactions(WAIT).unwrap();
    stranger.begin_transaction().unwrap();
    stranger.send(BaseRecord::<str, str>::to(&scene.names.output).partition(0).payload("open")).unwrap();
    stranger.flush(WAIT).unwrap();
    scene.publisher.publish(scene.lease.clone(), vec![scene.good(0..20)]).await.unwrap();
    scene.refused(20..40).await;
    // What stands in each partition, and the ends of both transactions, which come when they are promised already.
    let there = scene.events(2, 41);
    let has = |events: &Vec<Option<i64>>, round: std::ops::Range<i64>| events.iter().flatten().any(|event| round.contains(event));
    assert!(there.iter().all(|events| has(events, 0..20) && has(events, 20..40)), "keys go to both: {there:?}");
    let before: Vec<i64> = there.iter().map(|events| events.len() as i64 + 2).collect();
    assert_eq!(scene.ends_at(&before).await, before);
    let started = Instant::now();
    scene.publisher.tidy().await;
    let closed = [before[0], before[1] + 2];
    assert_eq!(scene.ends_at(&closed).await, closed, "after {:?}", started.elapsed());
    stranger.abort_transaction(WAIT).unwrap();
}
