//! A reader that watches the output while things break.

use super::{Seen, client_of, source_of, unique};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread that reads topics `read_committed` from their beginning. It panics at once when an id comes twice, or when the
/// events of one input partition come out of order within a partition of the output.
pub struct Watcher {
    /// Records to wait for before the end; 0 while it goes on.
    wanted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
}

impl Watcher {
    pub fn start(brokers: &str, topics: &[String]) -> Self {
        let mut config = client_of(brokers);
        config.set("group.id", unique("watcher")).set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        config.set("reconnect.backoff.max.ms", "500");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30)).unwrap();
            for partition in metadata.topics()[0].partitions() {
                list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
            }
        }
        consumer.assign(&list).unwrap();
        let wanted = Arc::new(AtomicUsize::new(0));
        let wanted_here = wanted.clone();
        let thread = std::thread::spawn(move || {
            let (mut ids, mut newest) = (BTreeSet::new(), HashMap::new());
            let mut quiet = Instant::now();
            // After the end is asked for it reads on until it has what it must, and then until nothing comes any more.
            loop {
                let wanted = wanted_here.load(Ordering::Relaxed);
                let limit = if ids.len() < wanted { Duration::from_secs(30) } else { Duration::from_millis(500) };
                if wanted > 0 && quiet.elapsed() > limit {
                    return ids;
                }
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
                quiet = Instant::now();
                let topic = rdkafka::Message::topic(&message).to_owned();
                let seen = Seen::of(&message);
                let (partition, offset) = source_of(&seen.id());
                let before = newest.insert((topic, seen.partition, partition), offset);
                assert!(before < Some(offset), "{} comes after offset {before:?} of the same partition", seen.id());
                assert!(ids.insert(seen.id()), "{} was published twice", seen.id());
            }
        });
        Self { wanted, thread: Some(thread) }
    }

    /// Expects so many records in all. Passes the reader's own panic on.
    pub async fn ends_with(mut self, records: i64) {
        self.wanted.store(records as usize, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        let ids = tokio::task::spawn_blocking(move || thread.join()).await.unwrap();
        let ids = ids.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(ids.len() as i64, records, "a reader during the faults saw something else than a reader sees now");
    }

    /// Fails the test as soon as the reader has failed.
    pub fn check(&self) {
        let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        assert!(!ended, "the reader has failed, see above");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.wanted.store(1, Ordering::Relaxed);
    }
}
