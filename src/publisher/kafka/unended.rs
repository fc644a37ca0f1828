//! Transactions that a broker may have ended without telling the partitions.
//!
//! While a partition has no leader, the coordinator of Kafka 4.3.1 takes it for deleted and passes over its marker (KAFKA-20734). What the transaction
//! wrote there stays open: records, which the next commit of this producer commits with its own although they were aborted, so that they are read twice; and
//! offsets, for which K cannot be read any more. So after a transaction that may have ended like this one more is aborted in each partition of its topics
//! and in the group's offsets, before anything else goes on: its markers close what is open.
//!
//! That may be done unless K says that the transaction was committed: then its records are open as committed ones, and the next commit closes them. Where K
//! cannot be read the offsets are open too, and aborted with the records: all is published again, and nothing is lost.
use super::round::{self, Client, Place};
use crate::event::TopicPartition;
use crate::publisher::{CommittedOffsets, Publication, PublishError};
use crate::record::Record;
use crate::source::Lease;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A round of which something may lie open in the log.
pub struct Unended {
    lease: Arc<Lease>,
    round: Vec<Publication>,
    /// Whether it is known to have been aborted; else K tells.
    is_aborted: bool,
}

impl Unended {
    /// What a round leaves behind that ended like this. One that the group refused found all brokers at work, and one whose records can never go
    /// would never go through.
    pub fn of(lease: &Arc<Lease>, round: Vec<Publication>, result: &Result<(), PublishError>) -> Option<Self> {
        let is_aborted = match result {
            Err(PublishError::Aborted { stale_lease: false, .. }) => true,
            Err(PublishError::Indefinite(_)) => false,
            _ => return None,
        };
        Some(Self { lease: lease.clone(), round, is_aborted })
    }

    /// Whether K of its partitions, if it can be read, leaves room for it not to be committed. K never goes back, so one K below what the round would
    /// have made it speaks for all of it.
    pub fn is_to_be_closed(&self, committed: impl FnOnce(&[TopicPartition]) -> Result<CommittedOffsets, PublishError>) -> bool {
        if self.is_aborted {
            return true;
        }
        let partitions: Vec<_> = self.round.iter().map(|publication| publication.partition.clone()).collect();
        let Ok(committed) = committed(&partitions) else { return true };
        let k = |partition: &TopicPartition| committed.iter().find(|(of, _)| of == partition).and_then(|(_, k)| *k);
        self.round.iter().any(|publication| k(&publication.partition).is_none_or(|k| k.offset < publication.to))
    }

    /// Aborts a transaction with a record in each partition of the round's topics, of which `count` tells how many there are: where the first one's
    /// records went is not known, for those without a key go anywhere.
    pub fn close(&self, producer: &Arc<Client>, count: impl Fn(&str) -> Result<i32, PublishError>) -> Result<(), PublishError> {
        tracing::info!(
            "A transaction did not end as it should; one is aborted in the same topics, so that nothing stays open in the log."
        );
        let mut places = Vec::new();
        for (topic, (index, record)) in smallest(&self.round) {
            match count(topic) {
                Ok(count) => places.extend((0..count).map(|partition| Place { index, record, partition })),
                // Where there is no topic any more, nothing is open.
                Err(PublishError::Fatal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        round::aborted(producer, &self.lease, &self.round, &places)
    }
}

/// What a caller hears whose own round was not begun for it.
pub fn not_begun(error: PublishError) -> PublishError {
    match error {
        PublishError::Fatal(detail) => PublishError::Fatal(detail),
        PublishError::Aborted { detail, .. } | PublishError::Indefinite(detail) | PublishError::Impossible { detail, .. } => {
            PublishError::Aborted {
                stale_lease: false,
                detail: format!("what an earlier transaction may have left open cannot be closed yet: {detail}"),
            }
        }
    }
}

/// The smallest record for each topic, and its publication.
fn smallest(round: &[Publication]) -> BTreeMap<&str, (usize, &Record)> {
    let mut found: BTreeMap<&str, (usize, &Record)> = BTreeMap::new();
    for (index, publication) in round.iter().enumerate() {
        for record in publication.records.iter().flat_map(|chunk| chunk.iter()) {
            let best = found.entry(&record.out_topic).or_insert((index, record));
            if record.value.len() < best.1.value.len() {
                *best = (index, record);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::Committed;
    use crate::record::{Chunk, Kind};

    fn publication(partition: i32, to: i64, records: usize) -> Publication {
        let record = Record {
            partition,
            offset: to - 1,
            n: 0,
            kind: Kind::Prediction,
            out_topic: "out".into(),
            key: None,
            traceparent: None,
            value: "{}".into(),
            label: None,
            score: None,
            model: None,
            config: None,
        };
        Publication {
            pipeline: "p".into(),
            run: 1,
            partition: TopicPartition::new("in", partition),
            to,
            records_total: to,
            records: vec![Chunk::from(Arc::new(vec![record; records]))],
        }
    }

    fn k(partition: i32, offset: Option<i64>) -> (TopicPartition, Option<Committed>) {
        (TopicPartition::new("in", partition), offset.map(|offset| Committed { offset, records_total: None }))
    }

    fn lease() -> Arc<Lease> {
        Arc::new(Lease { number: 1, partitions: BTreeMap::new(), metadata: None })
    }

    fn unended(round: Vec<Publication>, error: PublishError) -> Option<Unended> {
        Unended::of(&lease(), round, &Err(error))
    }

    /// Would catch: a round that is closed although readers have its records, which an abort would take away; one that stays open; offsets that
    /// stay open, so that K can never be read again.
    #[test]
    fn a_round_is_closed_unless_k_says_that_it_was_committed() {
        let round = vec![publication(0, 10, 1), publication(1, 20, 0)];
        let unended = unended(round, PublishError::Indefinite("?".into())).unwrap();
        let closed = |ks: Vec<_>| unended.is_to_be_closed(|_| Ok(ks));
        assert!(!closed(vec![k(0, Some(10)), k(1, Some(20))]));
        assert!(!closed(vec![k(0, Some(12)), k(1, Some(25))]), "an heir may have gone on");
        assert!(closed(vec![k(0, Some(9)), k(1, Some(20))]));
        assert!(closed(vec![k(0, Some(12)), k(1, None)]));
        assert!(unended.is_to_be_closed(|_| Err(PublishError::Aborted { stale_lease: false, detail: "pending".into() })));
    }

    /// Would catch: a second transaction after each rebalance; one for records that can never go; a question for what is known.
    #[test]
    fn only_what_brokers_may_have_left_open_is_closed() {
        let round = || vec![publication(0, 10, 1)];
        let aborted = |stale_lease| PublishError::Aborted { stale_lease, detail: "no".into() };
        assert!(unended(round(), aborted(false)).unwrap().is_to_be_closed(|_| panic!("it was aborted")));
        assert!(unended(round(), aborted(true)).is_none());
        assert!(Unended::of(&lease(), round(), &Ok(())).is_none());
        let impossible = PublishError::Impossible { partition: TopicPartition::new("in", 0), detail: "large".into() };
        assert!(unended(round(), impossible).is_none());
    }

    /// Would catch: a topic whose record is not there, or one that fills the client's queue.
    #[test]
    fn one_small_record_goes_for_each_topic() {
        let mut round = vec![publication(0, 10, 1), publication(1, 20, 2)];
        let mut records: Vec<Record> = round[1].records[0].to_vec();
        records[1].out_topic = "dead".into();
        records[0].value = "".into();
        round[1].records = vec![Chunk::from(Arc::new(records))];
        let found: Vec<_> = smallest(&round).into_iter().map(|(topic, (index, record))| (topic, index, &*record.value)).collect();
        assert_eq!(found, [("dead", 1, "{}"), ("out", 1, "")]);
    }

    /// Would catch: a failure to close that is taken for the outcome of the round which waits for it.
    #[test]
    fn a_round_that_waits_was_not_begun() {
        let error = not_begun(PublishError::Indefinite("no leader".into()));
        assert!(
            matches!(&error, PublishError::Aborted { stale_lease: false, detail } if detail.ends_with("no leader")),
            "{error}"
        );
        assert!(matches!(not_begun(PublishError::Fatal("rights".into())), PublishError::Fatal(_)));
    }
}
