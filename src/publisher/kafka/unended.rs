//! Transactions that a broker may have ended without telling the partitions.
//!
//! While a partition has no leader, the coordinator of Kafka 4.3.1 takes it for deleted and passes over its marker (KAFKA-20734). What the transaction
//! wrote there stays open: records, which the next commit of this producer commits with its own although they were aborted, so that they are read twice; and
//! offsets, for which K cannot be read any more. So after a transaction that may have been aborted like this one more is aborted in each partition of its topics
//! and in the group's offsets, before anything else goes on: its markers close what is open.
//!
//! It must not take away what was committed. Whether the transaction was aborted is told by its records, where a partition has been told; else by K;
//! and where neither speaks, everything of it is open and may be aborted as one. And where an earlier transaction, which was committed, is open in the same
//! partitions, nothing is aborted: Kafka cannot end the two differently any more, and a record that comes twice is better than one that is lost.

use super::TRANSACTION_TIMEOUT;
use super::reader::{Fate, Reader};
use super::round::{self, Client, Place};
use super::written::{Traces, Written};
use crate::event::TopicPartition;
use crate::publisher::{CommittedOffsets, Publication, PublishError};
use crate::record::Record;
use crate::source::Lease;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long transactions of others are waited for: they end by then.
const OTHERS: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(2));

/// A round of which something may lie open in the log.
pub struct Unended {
    lease: Arc<Lease>,
    round: Vec<Publication>,
    /// Where its records are, as far as was reported.
    written: Vec<Written>,
    /// Whether it is known to have been aborted.
    is_aborted: bool,
}

/// How a round ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Or an heir has published the same: nothing may be taken away.
    Committed,
    Aborted,
    /// Why nothing says so.
    Unknown(String),
}

/// The last offset of what was committed, by topic and partition.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<(String, i32), i64>);

impl Ends {
    pub fn note(&mut self, written: &[Written]) {
        self.0.extend(written.iter().map(|written| ((written.topic.clone(), written.partition), written.last)));
    }
}

impl Unended {
    /// What a round leaves behind that ended like this. Where one record can never go, others of the round may have been written.
    pub fn of(
        lease: &Arc<Lease>,
        round: Vec<Publication>,
        traces: Traces,
        result: &Result<(), PublishError>,
    ) -> Option<Self> {
        let is_aborted = match result {
            Err(PublishError::Aborted { .. }) => true,
            Err(PublishError::Impossible { .. }) if !traces.is_nothing() => true,
            Err(PublishError::Indefinite(_)) => false,
            _ => return None,
        };
        Some(Self { lease: lease.clone(), round, written: traces.written, is_aborted })
    }

    /// How it ended.
    pub fn end(&self, reader: &Reader) -> End {
        let deadline = Instant::now() + OTHERS;
        let fate = |written: &Written| reader.fate((&written.topic, written.partition, written.first), deadline);
        self.end_by(fate, |partitions| reader.committed(partitions))
    }

    fn end_by(
        &self,
        fate: impl Fn(&Written) -> Result<Fate, PublishError>,
        committed: impl FnOnce(&[TopicPartition]) -> Result<CommittedOffsets, PublishError>,
    ) -> End {
        if self.is_aborted {
            return End::Aborted;
        }
        let mut all_open = true;
        for written in &self.written {
            match fate(written) {
                Ok(Fate::Committed) => return End::Committed,
                Ok(Fate::Aborted) => return End::Aborted,
                Ok(Fate::Open) => {}
                // It may not be read, say.
                Err(_) => all_open = false,
            }
        }
        let partitions: Vec<_> = self.round.iter().map(|publication| publication.partition.clone()).collect();
        match committed(&partitions) {
            // K never goes back: one that is below what the round would have made it speaks for all of it.
            Ok(found) if self.round.iter().any(|publication| is_below(&found, publication)) => End::Aborted,
            Ok(_) => End::Committed,
            Err(_) if all_open && self.is_whole() => End::Aborted,
            Err(error) => End::Unknown(error.to_string()),
        }
    }

    /// Whether the places of all its records are known. Before they are no offsets are sent.
    fn is_whole(&self) -> bool {
        !self.written.is_empty() || self.round.iter().all(|publication| publication.records.iter().all(|chunk| chunk.is_empty()))
    }

    /// Where in the round's topics something that was committed is open.
    pub fn committed_and_open(&self, ends: &Ends, reader: &Reader) -> Result<Option<(String, i32, i64)>, PublishError> {
        let deadline = Instant::now() + OTHERS;
        // Where there is no topic any more, nothing is open.
        let is_there = |topic: &&str| !matches!(reader.partition_count(topic), Err(PublishError::Fatal(_)));
        let topics: BTreeSet<&str> = smallest(&self.round).into_keys().filter(is_there).collect();
        for ((topic, partition), last) in ends.0.iter().filter(|((topic, _), _)| topics.contains(&**topic)) {
            if !reader.is_ended((topic, *partition, *last), deadline)? {
                return Ok(Some((topic.clone(), *partition, *last)));
            }
        }
        Ok(None)
    }

    /// Aborts a transaction in each partition of the round's topics: where its records went is not known for all, and those without a key go anywhere.
    pub fn close(&self, producer: &Arc<Client>, reader: &Reader) -> Result<(), PublishError> {
        tracing::info!(
            "A transaction did not end as it should; one is aborted in the same topics, so that nothing stays open in the log."
        );
        let mut closed = false;
        for (topic, (index, record)) in smallest(&self.round) {
            let places: Vec<Place<'_>> = match reader.partition_count(topic) {
                Ok(count) => (0..count).map(|partition| Place { index, record, partition }).collect(),
                // Where there is no topic any more, nothing is open.
                Err(PublishError::Fatal(_)) => continue,
                Err(error) => return Err(error),
            };
            match round::aborted(producer, &self.lease, &self.round, &places) {
                // A topic that refuses the best of its records holds none of them. It must not keep the others open.
                Err(PublishError::Impossible { partition, detail }) => {
                    tracing::warn!(topic, %partition, detail, "What a transaction may have left open in this topic cannot be closed.");
                }
                Ok(()) => closed = true,
                Err(error) => return Err(error),
            }
        }
        // Each of them has closed the group's offsets too.
        if closed { Ok(()) } else { round::aborted(producer, &self.lease, &self.round, &[]) }
    }
}

fn is_below(found: &CommittedOffsets, publication: &Publication) -> bool {
    let k = found.iter().find(|(of, _)| *of == publication.partition).and_then(|(_, k)| *k);
    k.is_some_and(|k| k.offset < publication.to)
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

/// The record for each topic that is least likely to be refused, and its publication: one with a key, which a compacted topic wants, and a small one.
fn smallest(round: &[Publication]) -> BTreeMap<&str, (usize, &Record)> {
    let mut found: BTreeMap<&str, (usize, &Record)> = BTreeMap::new();
    for (index, publication) in round.iter().enumerate() {
        for record in publication.records.iter().flat_map(|chunk| chunk.iter()) {
            let best = found.entry(&record.out_topic).or_insert((index, record));
            let weight = |record: &Record| (record.key.is_none(), record.value.len());
            if weight(record) < weight(best.1) {
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

    fn written(partition: i32) -> Written {
        Written { topic: "out".into(), partition, first: 5, last: 7 }
    }

    fn unended(round: Vec<Publication>, written: Vec<Written>, error: PublishError) -> Option<Unended> {
        Unended::of(&lease(), round, written, &Err(error))
    }

    fn away() -> PublishError {
        PublishError::Aborted { stale_lease: false, detail: "pending".into() }
    }

    /// Would catch: an abort that takes away what readers have, or what an heir has published; a round that stays open; offsets that stay open, so
    /// that K can never be read again.
    #[test]
    fn records_tell_how_a_round_ended_and_then_k_does() {
        let round = vec![publication(0, 10, 1), publication(1, 20, 0)];
        let indefinite = || PublishError::Indefinite("?".into());
        let open = unended(round.clone(), vec![written(0), written(1)], indefinite()).unwrap();
        let all_below = || Ok(vec![k(0, Some(9)), k(1, Some(20))]);
        // A record that was told speaks, whatever K says.
        assert_eq!(open.end_by(|_| Ok(Fate::Committed), |_| panic!("it is known")), End::Committed);
        let second = |written: &Written| Ok(if written.partition == 1 { Fate::Aborted } else { Fate::Open });
        assert_eq!(open.end_by(second, |_| panic!("it is known")), End::Aborted);
        // None was told, or none may be read.
        for fate in [|_: &Written| Ok(Fate::Open), |_: &Written| Err(away())] {
            assert_eq!(open.end_by(fate, |_| all_below()), End::Aborted);
            assert_eq!(open.end_by(fate, |_| Ok(vec![k(0, Some(10)), k(1, Some(20))])), End::Committed);
            assert_eq!(open.end_by(fate, |_| Ok(vec![k(0, Some(12)), k(1, None)])), End::Committed, "an heir may have gone on");
        }
        // K cannot be read: only where all is open it may be aborted as one.
        assert_eq!(open.end_by(|_| Ok(Fate::Open), |_| Err(away())), End::Aborted);
        assert!(matches!(open.end_by(|_| Err(away()), |_| Err(away())), End::Unknown(_)));
        let unreported = unended(round, Vec::new(), indefinite()).unwrap();
        assert!(matches!(unreported.end_by(|_| panic!("nothing is known"), |_| Err(away())), End::Unknown(_)));
        let offsets_alone = unended(vec![publication(0, 10, 0)], Vec::new(), indefinite()).unwrap();
        assert_eq!(offsets_alone.end_by(|_| panic!("nothing is known"), |_| Err(away())), End::Aborted);
    }

    /// Would catch: a round that is forgotten since its generation was refused, or since one of its records can never go: others of it may be open; a
    /// question for what is known.
    #[test]
    fn what_did_not_go_through_may_be_open() {
        let round = || vec![publication(0, 10, 1)];
        for stale_lease in [false, true] {
            let aborted = unended(round(), vec![written(0)], PublishError::Aborted { stale_lease, detail: "no".into() }).unwrap();
            assert_eq!(aborted.end_by(|_| panic!("it was aborted"), |_| panic!("it was aborted")), End::Aborted);
        }
        assert!(Unended::of(&lease(), round(), Vec::new(), &Ok(())).is_none());
        let impossible = PublishError::Impossible { partition: TopicPartition::new("in", 0), detail: "large".into() };
        let nothing = PublishError::Impossible { partition: TopicPartition::new("in", 0), detail: "large".into() };
        assert!(unended(round(), Vec::new(), nothing).is_none(), "nothing was written");
        let refused = unended(round(), vec![written(0)], impossible).unwrap();
        assert_eq!(refused.end_by(|_| panic!("it was aborted"), |_| panic!("it was aborted")), End::Aborted);
    }

    /// Would catch: a topic whose record is not there, or one that fills the client's queue.
    #[test]
    fn one_small_record_goes_for_each_topic() {
        let mut round = vec![publication(0, 10, 1), publication(1, 20, 2)];
        let mut records: Vec<Record> = round[1].records[0].to_vec();
        let keyed = Record { key: Some(b"k".as_slice().into()), value: "{\"a\":1}".into(), ..records[0].clone() };
        records[1].out_topic = "dead".into();
        records[0].value = "".into();
        round[1].records = vec![Chunk::from(Arc::new(records))];
        let found: Vec<_> = smallest(&round).into_iter().map(|(topic, (index, record))| (topic, index, &*record.value)).collect();
        assert_eq!(found, [("dead", 1, "{}"), ("out", 1, "")]);
        round[0].records = vec![Chunk::from(Arc::new(vec![keyed]))];
        let (index, record) = smallest(&round)["out"];
        assert_eq!((index, &*record.value), (0, "{\"a\":1}"), "one without a key may be refused");
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
