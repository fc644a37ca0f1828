//! The source and the publisher against a real Kafka: the protocol's promises, one by one.

mod left_open;

use crate::support::{brokers, create_topic, create_topic_with, produce, read_committed, unique};
use millrace::event::{RawEvent, TopicPartition};
use millrace::publisher::kafka::{Guarantee, KafkaPublisher, KafkaPublisherSettings};
use millrace::publisher::{Committed, Publication, PublishError, Publisher};
use millrace::record::{Kind, Record, record_id};
use millrace::source::kafka::{KafkaSourceSettings, spawn};
use millrace::source::{Lease, SourceCommand, SourceEvent, SourceHandle};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const WAIT: Duration = Duration::from_secs(30);

fn client() -> Vec<(String, String)> {
    vec![("bootstrap.servers".into(), brokers())]
}

/// Names of one test: input, output, and group.
struct Names {
    input: String,
    output: String,
    group: String,
}

impl Names {
    async fn new(partitions: i32) -> Self {
        let names = Self { input: unique("in"), output: unique("out"), group: unique("group") };
        create_topic(&names.input, partitions).await;
        create_topic(&names.output, 1).await;
        names
    }

    fn member(&self) -> SourceHandle {
        let settings = KafkaSourceSettings {
            group: self.group.clone(),
            topics: vec![self.input.clone()],
            client: client(),
            batch_max: 100,
            channel_capacity: 16,
            revoke_wait: Duration::from_millis(500),
        };
        spawn(settings).unwrap()
    }

    fn publisher(&self) -> KafkaPublisher {
        let settings = KafkaPublisherSettings {
            guarantee: Guarantee::ExactlyOnce,
            group: self.group.clone(),
            transactional_id: format!("{}-tx", self.group),
            client: client(),
        };
        KafkaPublisher::new(settings).unwrap()
    }

    fn partition(&self, number: i32) -> TopicPartition {
        TopicPartition::new(&*self.input, number)
    }

    /// One record an offset of [from, to), into `output`.
    fn publication(&self, number: i32, offsets: std::ops::Range<i64>, value: &str) -> Publication {
        let record = |offset| Record {
            partition: number,
            offset,
            n: 0,
            kind: Kind::Prediction,
            out_topic: self.output.as_str().into(),
            key: Some(b"k"[..].into()),
            traceparent: Some("00-trace".into()),
            value: value.into(),
            label: None,
            score: None,
            model: None,
            config: None,
        };
        Publication {
            pipeline: "p".into(),
            run: 1,
            partition: self.partition(number),
            to: offsets.end,
            records_total: offsets.end,
            records: vec![Arc::new(offsets.map(record).collect::<Vec<_>>()).into()],
        }
    }

    async fn committed(&self, publisher: &KafkaPublisher, number: i32) -> Option<Committed> {
        publisher.committed(&[self.partition(number)]).await.unwrap()[0].1
    }
}

async fn next(source: &mut SourceHandle) -> SourceEvent {
    timeout(WAIT, source.events.recv()).await.expect("the source says nothing").expect("the source is gone")
}

/// Waits until this member holds `count` partitions, and lets everything go that it must.
async fn holding(source: &mut SourceHandle, count: usize) -> Arc<Lease> {
    loop {
        match next(source).await {
            SourceEvent::Assigned { lease, .. } if lease.partitions.len() == count => return lease,
            SourceEvent::Revoked { lease, done, .. } => {
                done.send(()).unwrap();
                if lease.partitions.len() == count {
                    return lease;
                }
            }
            SourceEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// The first batch of records.
async fn records(source: &mut SourceHandle) -> Vec<RawEvent> {
    loop {
        match next(source).await {
            SourceEvent::Records(records) => return records,
            SourceEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// Publishes as the pipeline does: after a stale lease it waits for a newer one.
async fn publish_under_the_lease_in_force(publisher: &KafkaPublisher, source: &SourceHandle, publication: Publication) {
    let attempts = async {
        loop {
            match publisher.publish(source.lease.load_full(), vec![publication.clone()]).await {
                Ok(()) => return,
                Err(PublishError::Aborted { stale_lease: true, .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(WAIT, attempts).await.expect("no lease in force is accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_is_the_one_the_start_names() {
    let names = Names::new(1).await;
    for number in 0..6 {
        produce(&names.input, 0, Some("k"), format!("{number}").as_bytes());
    }
    let mut source = names.member();
    let lease = holding(&mut source, 1).await;
    assert_eq!(lease.partitions.keys().collect::<Vec<_>>(), [&names.partition(0)]);
    // Whatever was fetched from the beginning has had time to arrive.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(source.events.try_recv().is_err(), "nothing comes before the start");
    source.commands.send(SourceCommand::Start { partition: names.partition(0), offset: 3 }).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(records(&mut source).await.into_iter().map(|raw| (raw.position.offset, raw.payload.unwrap().to_vec())));
    }
    assert_eq!(seen, [(3, b"3".to_vec()), (4, b"4".to_vec()), (5, b"5".to_vec())]);
    source.commands.send(SourceCommand::Stop).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_offsets_become_visible_together() {
    let names = Names::new(1).await;
    let mut source = names.member();
    let lease = holding(&mut source, 1).await;
    let publisher = names.publisher();
    assert_eq!(read_committed(&names.output), []);
    assert_eq!(names.committed(&publisher, 0).await, None);
    publisher.publish(lease, vec![names.publication(0, 0..2, "{}")]).await.unwrap();
    let seen = read_committed(&names.output);
    assert_eq!(
        seen.iter().map(|seen| (seen.key.as_deref(), &*seen.payload)).collect::<Vec<_>>(),
        [(Some(&b"k"[..]), &b"{}"[..]); 2]
    );
    for (offset, seen) in (0..).zip(&seen) {
        let id = record_id("p", 1, &names.input, 0, offset, 0).into_bytes();
        assert_eq!(seen.headers, [("millrace-id".to_owned(), id), ("traceparent".to_owned(), b"00-trace".to_vec())]);
    }
    assert_eq!(names.committed(&publisher, 0).await, Some(Committed { offset: 2, records_total: Some(2) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lease_publishes_nothing() {
    let names = Names::new(2).await;
    let mut first = names.member();
    let old = holding(&mut first, 2).await;
    let publisher = names.publisher();
    publisher.publish(old.clone(), vec![names.publication(0, 0..1, "{}")]).await.unwrap();
    let mut second = names.member();
    let (new, _) = tokio::join!(holding(&mut first, 1), holding(&mut second, 1));
    let kept = new.partitions.keys().next().unwrap().partition;
    let error = publisher.publish(old, vec![names.publication(0, 1..3, "{}")]).await.unwrap_err();
    assert!(matches!(error, PublishError::Aborted { stale_lease: true, .. }), "{error:?}");
    assert_eq!(read_committed(&names.output).len(), 1);
    assert_eq!(names.committed(&publisher, 0).await, Some(Committed { offset: 1, records_total: Some(1) }));
    publish_under_the_lease_in_force(&publisher, &first, names.publication(kept, 1..3, "{}")).await;
    assert_eq!(read_committed(&names.output).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_moves_no_partition_renews_the_lease() {
    let names = Names::new(1).await;
    let mut first = names.member();
    let old = holding(&mut first, 1).await;
    let mut second = names.member();
    // Whichever of the two has to do without, the other one holds it under the new generation.
    let new = timeout(WAIT, async {
        loop {
            let (holder, name) =
                tokio::select! { event = next(&mut first) => (event, 1), event = next(&mut second) => (event, 2) };
            match holder {
                SourceEvent::Assigned { lease, .. } if !lease.partitions.is_empty() => return (lease, name),
                SourceEvent::Revoked { done, .. } => drop(done.send(())),
                SourceEvent::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    });
    let (lease, holder) = new.await.expect("no new lease");
    assert_eq!((holder, lease.number > old.number), (1, true), "the partition stays");
    let publisher = names.publisher();
    publish_under_the_lease_in_force(&publisher, &first, names.publication(0, 0..1, "{}")).await;
    let error = publisher.publish(old, vec![names.publication(0, 1..2, "{}")]).await.unwrap_err();
    assert!(matches!(error, PublishError::Aborted { stale_lease: true, .. }), "{error:?}");
    assert_eq!(read_committed(&names.output).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_publisher_does_not_know_and_then_works_again() {
    let names = Names::new(1).await;
    let mut source = names.member();
    let lease = holding(&mut source, 1).await;
    let (first, second) = (names.publisher(), names.publisher());
    first.publish(lease.clone(), vec![names.publication(0, 0..1, "{}")]).await.unwrap();
    second.publish(lease.clone(), vec![names.publication(0, 1..2, "{}")]).await.unwrap();
    let error = first.publish(lease.clone(), vec![names.publication(0, 2..3, "{}")]).await.unwrap_err();
    assert!(matches!(error, PublishError::Indefinite(_)), "{error:?}");
    assert_eq!(names.committed(&first, 0).await, Some(Committed { offset: 2, records_total: Some(2) }));
    first.publish(lease, vec![names.publication(0, 2..3, "{}")]).await.unwrap();
    assert_eq!(read_committed(&names.output).len(), 3);
    assert_eq!(names.committed(&first, 0).await, Some(Committed { offset: 3, records_total: Some(3) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_its_topic_is_impossible_and_names_its_partition() {
    let mut names = Names::new(2).await;
    let mut source = names.member();
    let lease = holding(&mut source, 2).await;
    let publisher = names.publisher();
    let good = names.publication(0, 0..1, "{}");
    names.output = unique("small");
    create_topic_with(&names.output, 1, &[("max.message.bytes", "2000")]).await;
    // Text that does not compress below the limit.
    let value: String = (0..400).map(|_| unique("")).collect();
    let large = names.publication(1, 0..1, &value);
    let error = publisher.publish(lease.clone(), vec![good.clone(), large]).await.unwrap_err();
    assert!(matches!(&error, PublishError::Impossible { partition, .. } if *partition == names.partition(1)), "{error:?}");
    assert_eq!(read_committed(&good.records[0][0].out_topic), []);
    assert_eq!(names.committed(&publisher, 0).await, None);
    publisher.publish(lease, vec![good.clone()]).await.unwrap();
    assert_eq!(read_committed(&good.records[0][0].out_topic).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_only_impossible_records_leaves_a_publisher_that_works() {
    let mut names = Names::new(1).await;
    let mut source = names.member();
    let lease = holding(&mut source, 1).await;
    let publisher = names.publisher();
    let good = names.publication(0, 0..1, "{}");
    names.output = unique("small");
    create_topic_with(&names.output, 1, &[("max.message.bytes", "2000")]).await;
    // The broker refuses the first one, the client itself the second one.
    for ids in [400, 50_000] {
        let value: String = (0..ids).map(|_| unique("")).collect();
        let error = publisher.publish(lease.clone(), vec![names.publication(0, 0..1, &value)]).await.unwrap_err();
        assert!(matches!(&error, PublishError::Impossible { .. }), "{ids}: {error:?}");
    }
    publisher.publish(lease, vec![good.clone()]).await.unwrap();
    assert_eq!(read_committed(&good.records[0][0].out_topic).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_can_be_committed_alone() {
    let names = Names::new(1).await;
    let mut source = names.member();
    let lease = holding(&mut source, 1).await;
    let publisher = names.publisher();
    let start = Committed { offset: 5, records_total: Some(0) };
    publisher.commit(lease, &names.partition(0), start).await.unwrap();
    assert_eq!(names.committed(&publisher, 0).await, Some(start));
}

/// Would catch: an end that is told of every partition with that number, whatever its topic.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_topic_is_not_the_end_of_another() {
    let names = Names::new(1).await;
    let full = unique("full");
    create_topic(&full, 1).await;
    for _ in 0..3 {
        produce(&full, 0, None, b"x");
    }
    let settings = KafkaSourceSettings {
        group: names.group.clone(),
        topics: vec![names.input.clone(), full.clone()],
        client: client(),
        batch_max: 100,
        channel_capacity: 16,
        revoke_wait: Duration::from_millis(500),
    };
    let mut source = spawn(settings).unwrap();
    holding(&mut source, 2).await;
    let b = TopicPartition::new(&*full, 0);
    source.commands.send(SourceCommand::Start { partition: b.clone(), offset: 0 }).unwrap();
    source.commands.send(SourceCommand::Pause(vec![b.clone()])).unwrap();
    source.commands.send(SourceCommand::Start { partition: names.partition(0), offset: 0 }).unwrap();
    let watch = async {
        loop {
            if let SourceEvent::CaughtUp { partition, offset } = next(&mut source).await {
                assert!(partition != b || offset == 3, "{partition} is said to end at {offset}, its end is 3");
            }
        }
    };
    assert!(timeout(Duration::from_secs(3), watch).await.is_err(), "the watch goes on until its time is up");
}
