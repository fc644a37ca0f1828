//! Data that Postgres refuses: the event is found, read again, and becomes a dead letter.

use super::SOLO_ROUNDS;
use super::told::Sent;
use crate::event::{Position, TopicPartition};
use crate::pipeline::driver::{Driver, current};
use crate::pipeline::partition::Partition;
use crate::pipeline::safety::{Safety, without};
use crate::record::{self, Kind};
use std::sync::Arc;
use std::time::Duration;

/// An event whose record Postgres refused: it is read again, and becomes a dead letter with its bytes.
pub struct Refused {
    pub offset: i64,
    /// What Postgres said.
    pub detail: String,
    /// Ended and dead so far: the stay ends with the refusal, the window of the dead-letter share does not.
    pub share: (usize, usize),
}

impl Driver {
    /// Postgres refuses the data: halve until one event is left, which becomes a dead letter.
    pub(super) fn on_refused(&mut self, round: Vec<Sent>, detail: &str) {
        let alone = round.len() == 1 || without(Safety::SoloRounds);
        if !alone {
            self.solo_rounds = SOLO_ROUNDS;
        }
        for Sent { partition, incarnation, .. } in round {
            let Some(running) = current(&mut self.partitions, &partition, incarnation) else { continue };
            let Some(mut prefix) = running.deciding.take() else { continue };
            if !alone {
                // Nobody is to blame yet: each partition goes again by itself.
                running.ledger.restore(prefix);
                continue;
            }
            if let [event] = prefix.events[..] {
                let offset = event.offset;
                let letter = prefix.records.iter().find(|record| record.kind == Kind::DeadLetter);
                if letter.is_some_and(record::is_bare) {
                    self.failed =
                        Some(format!("{partition}: Postgres refuses even the dead letter of offset {offset}: {detail}"));
                    return;
                }
                if letter.is_none() {
                    running.ledger.restore(prefix);
                    self.meet_again(partition, offset, detail);
                    continue;
                }
                tracing::warn!(%partition, offset, detail, "Postgres refuses the dead letter of an event; it goes without the event's bytes.");
                let position = Position { topic: partition.topic.clone(), partition: partition.partition, offset };
                let letter = record::refused(&self.settings.provenance, &position, &self.settings.dead_letter_topic, detail);
                prefix.records = Arc::new(vec![letter]);
            }
            running.decide_cap = (prefix.events.len() / 2).max(1);
            running.ledger.restore(prefix);
        }
    }

    /// The bytes of an event whose record is refused are gone: the partition is claimed again, which reads the log from P on, and
    /// this time the event is a dead letter from the start.
    fn meet_again(&mut self, partition: TopicPartition, offset: i64, detail: &str) {
        tracing::warn!(%partition, offset, detail, "Postgres refuses the record of an event; it is read again and becomes a dead letter.");
        let Some(running) = self.partitions.get_mut(&partition).and_then(Partition::running) else { return };
        if self.draining.is_some() {
            // The next owner finds it at P. What was decided before it is still published.
            running.decide_cap = 0;
            return;
        }
        let share = running.share;
        self.refused.insert(partition.clone(), Refused { offset, detail: detail.to_owned(), share });
        self.reclaim(partition, Duration::ZERO);
    }
}
