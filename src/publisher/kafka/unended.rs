//! Transactions that a broker may have ended without telling the partitions.
//!
//! While a partition has no leader, the coordinator of Kafka 4.3.1 takes it for deleted and passes over its marker (KAFKA-20734). What the transaction
//! wrote there stays open: records, which the next commit of this producer commits with its own although they were aborted, so that they are read twice; and
//! offsets, for which K cannot be read any more. So after a transaction that may have been aborted like this one more is aborted in each partition of its topics
//! and in the group's offsets, before anything else goes on: its markers close what is open.
//!
//! It must not take away what was committed. Whether the transaction was aborted is told by its records, where a partition has been told; else by K;
//! and where neither speaks, everything of it is open and may be aborted as one. And in a partition where an earlier transaction, which was committed, is open
//! nothing is aborted: Kafka cannot end the two differently any more, and a record that comes twice is better than one that is lost. Somebody else's transaction
//! that hangs below the end of what was committed looks the same. The other partitions are closed.

use super::TRANSACTION_TIMEOUT;
use super::reader::{Fate, Reader, Stand};
use super::round::{self, Client, Place};
use super::written::{Traces, Written};
use crate::event::TopicPartition;
use crate::publisher::{CommittedOffsets, Publication, PublishError};
use crate::record::Record;
use crate::source::Lease;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long transactions of others are waited for: they end by then.
const OTHERS: Duration = TRANSACTION_TIMEOUT.saturating_add(Duration::from_secs(2));

/// How often a topic that is not known is asked for.
const ASKED: Duration = Duration::from_millis(500);

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
    /// Or an heir has published the same: nothing may be taken away. Where all of its partitions have gone to one and none was told, the two look alike, and
    /// neither asking on nor an abort would do: where all is open nobody is ever told, and what was committed would be lost.
    Committed,
    Aborted,
    /// Why nothing says so.
    Unknown(String),
}

/// The last offset of what was committed, by topic and partition.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<(String, i32), i64>);

impl Ends {
    /// The partitions of a topic in which something is open below the end of what was committed. What stands beyond the end of the log, or in a partition
    /// that is not there, was of a topic that was made again, and is forgotten.
    fn open_in(
        &mut self,
        topic: &str,
        count: i32,
        mut stand: impl FnMut((&str, i32, i64)) -> Result<Stand, PublishError>,
    ) -> Result<BTreeMap<i32, i64>, PublishError> {
        let of_topic = self.0.iter().filter(|((of, _), _)| of == topic);
        let of_topic: Vec<(i32, i64)> = of_topic.map(|((_, partition), last)| (*partition, *last)).collect();
        let mut open = BTreeMap::new();
        for (partition, last) in of_topic {
            let stand = if partition < count { stand((topic, partition, last))? } else { Stand::Beyond };
            match stand {
                Stand::Ended => {}
                Stand::Open => drop(open.insert(partition, last)),
                Stand::Beyond => drop(self.0.remove(&(topic.to_owned(), partition))),
            }
        }
        Ok(open)
    }

    pub fn note(&mut self, written: &[Written]) {
        self.0.extend(written.iter().map(|written| ((written.topic.clone(), written.partition), written.last)));
    }
}

impl Unended {
    /// What a round leaves behind that ended like this. Where one record can never go, others of the round may have been written.
    pub fn of(lease: &Arc<Lease>, round: Vec<Publication>, traces: Traces, result: &Result<(), PublishError>) -> Option<Self> {
        let is_aborted = match result {
            Err(PublishError::Aborted { .. }) => true,
            Err(PublishError::Impossible { .. }) if !traces.is_nothing() => true,
            Err(PublishError::Indefinite(_)) => false,
            _ => return None,
        };
        Some(Self { lease: lease.clone(), round, written: traces.written, is_aborted })
    }

    /// How it ended. Once it is known to have been aborted nobody is asked again.
    pub fn end(&mut self, reader: &Reader, ends: &mut Ends) -> End {
        let deadline = Instant::now() + OTHERS;
        let end = self.end_by(|written| reader.fate(written, deadline), |partitions| reader.committed(partitions));
        self.learn(&end, ends);
        end
    }

    /// What was committed after all is open, perhaps, where its marker was passed over: a later round that is closed must leave it alone.
    fn learn(&mut self, end: &End, ends: &mut Ends) {
        self.is_aborted = *end == End::Aborted;
        if *end == End::Committed {
            ends.note(&self.written);
        }
    }

    fn end_by(
        &self,
        fate: impl FnOnce(&[Written]) -> Result<Fate, PublishError>,
        committed: impl FnOnce(&[TopicPartition]) -> Result<CommittedOffsets, PublishError>,
    ) -> End {
        if self.is_aborted {
            return End::Aborted;
        }
        let all_open = match self.written.as_slice() {
            [] => true,
            written => match fate(written) {
                Ok(Fate::Committed) => return End::Committed,
                Ok(Fate::Aborted) => return End::Aborted,
                Ok(Fate::Open) => true,
                // One may not be read, say.
                Err(_) => false,
            },
        };
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

    /// Aborts a transaction in each partition of the round's topics: where its records went is not known for all, and those without a key go anywhere.
    pub fn close(&self, producer: &Arc<Client>, reader: &Reader, ends: &mut Ends) -> Result<(), PublishError> {
        tracing::info!(
            "A transaction did not end as it should; one is aborted in the same topics, so that nothing stays open in the log."
        );
        let (mut closed, mut unknown) = (false, Vec::new());
        for (topic, place) in smallest(&self.round) {
            match reader.known_partitions(topic)? {
                Some(count) => closed |= self.close_topic(producer, reader, ends, (topic, count), place)?,
                None => unknown.push((topic, place)),
            }
        }
        // Waited for when the others are closed.
        for (topic, place) in unknown {
            match known(|| reader.known_partitions(topic), Instant::now() + OTHERS)? {
                Some(count) => closed |= self.close_topic(producer, reader, ends, (topic, count), place)?,
                None => tracing::warn!(topic, "Brokers know no such topic any more; nothing can be open there."),
            }
        }
        // Each of them has closed the group's offsets too.
        if closed { Ok(()) } else { round::aborted(producer, &self.lease, &self.round, &[]) }
    }

    /// Returns whether a transaction was aborted.
    fn close_topic(
        &self,
        producer: &Arc<Client>,
        reader: &Reader,
        ends: &mut Ends,
        (topic, count): (&str, i32),
        (index, record): (usize, &Record),
    ) -> Result<bool, PublishError> {
        let deadline = Instant::now() + OTHERS;
        let open = ends.open_in(topic, count, |place| reader.stand(place, deadline))?;
        for (partition, offset) in &open {
            tracing::error!(
                topic,
                partition,
                offset,
                "A transaction, of this producer or another, is open in a partition below the end of what was committed there: what a later one wrote, which was \
                 aborted, is not closed in this partition, and may be read too, twice in all (KAFKA-20734). The other partitions are closed."
            );
        }
        let partitions = (0..count).filter(|partition| !open.contains_key(partition));
        let places: Vec<Place<'_>> = partitions.map(|partition| Place { index, record, partition }).collect();
        if places.is_empty() {
            return Ok(false);
        }
        match round::aborted(producer, &self.lease, &self.round, &places) {
            // A topic that refuses the best of its records holds none of them. It must not keep the others open.
            Err(PublishError::Impossible { partition, detail }) => {
                tracing::warn!(topic, %partition, detail, "What a transaction may have left open in this topic cannot be closed.");
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }
}

/// What brokers say of a topic that one of them did not know: it is believed to be gone when none does until the deadline.
fn known(mut ask: impl FnMut() -> Result<Option<i32>, PublishError>, deadline: Instant) -> Result<Option<i32>, PublishError> {
    loop {
        let answer = ask()?;
        if answer.is_some() || Instant::now() >= deadline {
            return Ok(answer);
        }
        std::thread::sleep(ASKED.min(deadline.saturating_duration_since(Instant::now())));
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
mod tests;
