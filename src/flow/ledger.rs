//! The ledger of one partition: slots in offset order, endings in any order, the longest finished prefix goes to decide.

use crate::record::{Kind, Record};
use std::collections::VecDeque;
use std::sync::Arc;

/// How one event ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With its records; an event that emits nothing is skipped.
    Emitted(Vec<Record>),
    Skipped,
    Dead(Box<Record>),
}

#[derive(Debug)]
struct Slot {
    offset: i64,
    timestamp_ms: i64,
    bytes: usize,
    ending: Option<Ending>,
}

/// What stands between P and the newest event read.
#[derive(Debug)]
pub struct Ledger {
    /// Where the next prefix starts: P, counting prefixes that were taken.
    next: i64,
    bytes: usize,
    slots: VecDeque<Slot>,
    /// Slots that have their ending.
    finished: usize,
}

/// An event of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub bytes: usize,
}

/// A finished stretch [from, to), taken from the ledger to be decided.
#[derive(Debug)]
pub struct Prefix {
    pub from: i64,
    pub to: i64,
    pub skipped: i64,
    pub dead: i64,
    /// Newest record timestamp of the stretch.
    pub newest_ms: i64,
    /// What its events and their records were charged.
    pub bytes: usize,
    pub events: Vec<Decided>,
    pub records: Arc<Vec<Record>>,
}

impl Prefix {
    /// No event at all, at `at`.
    pub fn still(at: i64) -> Self {
        Self { from: at, to: at, skipped: 0, dead: 0, newest_ms: i64::MIN, bytes: 0, events: Vec::new(), records: Arc::default() }
    }
}

impl Ledger {
    /// `next` is P.
    pub fn new(next: i64) -> Self {
        Self { next, bytes: 0, slots: VecDeque::new(), finished: 0 }
    }

    /// Events read and not yet taken for deciding.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The log's timestamp of the oldest of them.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.slots.front().map(|head| head.timestamp_ms)
    }

    /// Bytes charged for what is in the ledger.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the next prefix will start.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Takes a slot for an event of `bytes`. Returns false, and takes none, for an offset that is not above everything
    /// seen: a repeated delivery, which the source is free to make.
    #[must_use]
    pub fn push(&mut self, offset: i64, timestamp_ms: i64, bytes: usize) -> bool {
        if offset < self.next || self.slots.back().is_some_and(|last| offset <= last.offset) {
            return false;
        }
        self.bytes += bytes;
        self.slots.push_back(Slot { offset, timestamp_ms, bytes, ending: None });
        true
    }

    /// Charges the newest event with `bytes` more, and returns them.
    pub fn grow(&mut self, bytes: usize) -> usize {
        let Some(newest) = self.slots.back_mut() else { return 0 };
        newest.bytes += bytes;
        self.bytes += bytes;
        bytes
    }

    /// Writes the ending of an event, and returns the bytes of its records. `None` when the event has no open slot: it
    /// was ended before.
    #[must_use]
    pub fn finish(&mut self, offset: i64, ending: Ending) -> Option<usize> {
        let index = self.slots.binary_search_by_key(&offset, |slot| slot.offset).ok()?;
        let slot = &mut self.slots[index];
        if slot.ending.is_some() {
            return None;
        }
        let bytes = match &ending {
            Ending::Emitted(records) => records.iter().map(Record::cost_bytes).sum(),
            Ending::Dead(record) => record.cost_bytes(),
            Ending::Skipped => 0,
        };
        slot.bytes += bytes;
        self.bytes += bytes;
        slot.ending = Some(ending);
        self.finished += 1;
        Some(bytes)
    }

    /// Whether there is a finished prefix to take.
    pub fn is_ready(&self) -> bool {
        self.slots.front().is_some_and(|head| head.ending.is_some())
    }

    /// Events that have their ending, wherever they stand.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Takes the longest finished prefix, at most `max_events` and `max_bytes` long (one event may be larger); `None` when
    /// the head is still open.
    pub fn take_prefix(&mut self, max_events: usize, max_bytes: usize) -> Option<Prefix> {
        let mut bytes = 0;
        let fits = |slot: &&Slot| {
            bytes += slot.bytes;
            slot.ending.is_some() && (bytes <= max_bytes || bytes == slot.bytes)
        };
        let finished = self.slots.iter().take(max_events).take_while(fits).count();
        (finished > 0).then(|| self.take(finished))
    }

    /// Takes the finished stretch that ends at `to` exactly; `None` when no event ends there, or one before it is open.
    pub fn take_until(&mut self, to: i64) -> Option<Prefix> {
        let count = self.slots.partition_point(|slot| slot.offset < to);
        let ends_there = count > 0 && self.slots.get(count - 1).is_some_and(|last| last.offset + 1 == to);
        let finished = self.slots.iter().take(count).all(|slot| slot.ending.is_some());
        (ends_there && finished).then(|| self.take(count))
    }

    /// Takes the first `finished` slots.
    fn take(&mut self, finished: usize) -> Prefix {
        let mut prefix = Prefix { events: Vec::with_capacity(finished), ..Prefix::still(self.next) };
        let mut records = Vec::with_capacity(finished);
        for Slot { offset, timestamp_ms, bytes, ending } in self.slots.drain(..finished) {
            prefix.to = offset + 1;
            prefix.newest_ms = prefix.newest_ms.max(timestamp_ms);
            prefix.bytes += bytes;
            prefix.events.push(Decided { offset, timestamp_ms, bytes });
            match ending {
                Some(Ending::Dead(record)) => {
                    prefix.dead += 1;
                    records.push(*record);
                }
                Some(Ending::Emitted(of_event)) if !of_event.is_empty() => records.extend(of_event),
                _ => prefix.skipped += 1,
            }
        }
        self.bytes -= prefix.bytes;
        self.finished -= finished;
        self.next = prefix.to;
        prefix.records = Arc::new(records);
        prefix
    }

    /// Puts the newest prefix back, to be taken again (smaller, or with another ending).
    pub fn restore(&mut self, prefix: Prefix) {
        debug_assert_eq!(prefix.to, self.next, "only the newest prefix can be put back");
        self.next = prefix.from;
        self.bytes += prefix.bytes;
        self.finished += prefix.events.len();
        let mut records = Arc::unwrap_or_clone(prefix.records);
        for Decided { offset, timestamp_ms, bytes } in prefix.events.into_iter().rev() {
            let mut of_event = records.split_off(records.partition_point(|record| record.offset < offset));
            let ending = match of_event.first().map(|record| record.kind) {
                None => Ending::Skipped,
                Some(Kind::DeadLetter) => Ending::Dead(Box::new(of_event.remove(0))),
                Some(Kind::Prediction) => Ending::Emitted(of_event),
            };
            self.slots.push_front(Slot { offset, timestamp_ms, bytes, ending: Some(ending) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_finished_prefix_is_taken() {
        let mut ledger = Ledger::new(10);
        for offset in [10, 12, 13] {
            assert!(ledger.push(offset, offset * 1000, 100));
        }
        assert_eq!(ledger.finish(12, Ending::Skipped), Some(0));
        assert!(ledger.take_prefix(100, usize::MAX).is_none(), "the head is open");
        assert_eq!(ledger.finish(10, Ending::Skipped), Some(0));
        let prefix = ledger.take_prefix(100, usize::MAX).expect("10 and 12 are finished");
        assert_eq!((prefix.from, prefix.to, prefix.events.len(), prefix.skipped, prefix.bytes), (10, 13, 2, 2, 200));
        assert_eq!(ledger.bytes(), 100);
        assert_eq!(ledger.next(), 13);
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn a_stretch_up_to_an_offset_is_taken_whole_or_not_at_all() {
        let mut ledger = Ledger::new(10);
        for offset in [10, 12, 13] {
            assert!(ledger.push(offset, 0, 1));
            assert!(offset == 13 || ledger.finish(offset, Ending::Skipped).is_some());
        }
        assert!(ledger.take_until(12).is_none(), "no event ends at 12");
        assert!(ledger.take_until(14).is_none(), "13 is open");
        assert_eq!(ledger.take_until(13).map(|prefix| (prefix.from, prefix.to, prefix.events.len())), Some((10, 13, 2)));
        assert_eq!((ledger.next(), ledger.len()), (13, 1));
    }

    #[test]
    fn a_repeated_delivery_and_a_second_ending_are_refused() {
        let mut ledger = Ledger::new(5);
        assert!(!ledger.push(4, 0, 1), "below P");
        assert!(ledger.push(5, 0, 1));
        assert!(!ledger.push(5, 0, 1));
        assert!(ledger.finish(5, Ending::Skipped).is_some());
        assert!(ledger.finish(5, Ending::Skipped).is_none());
        assert!(ledger.finish(6, Ending::Skipped).is_none());
    }

    /// 0, 1 or 2 records, by offset.
    fn emitted(offset: i64) -> i16 {
        (offset % 3) as i16
    }

    fn ending(offset: i64) -> Ending {
        let record = |n| Record {
            partition: 0,
            offset,
            n,
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
        Ending::Emitted((0..emitted(offset)).map(record).collect())
    }

    proptest! {
        /// Whatever the order of endings and the caps, prefixes are contiguous, in order, and miss nothing.
        #[test]
        fn prefixes_cover_the_log_once(order in Just((0..60i64).collect::<Vec<_>>()).prop_shuffle(), cap in 1usize..9, bytes in 1usize..2_000, put_back in any::<u64>()) {
            let mut ledger = Ledger::new(0);
            for offset in 0..60 {
                prop_assert!(ledger.push(offset, offset, 3));
            }
            let (mut seen, mut records, mut at) = (Vec::new(), Vec::new(), 0);
            for (step, offset) in order.into_iter().enumerate() {
                prop_assert!(ledger.finish(offset, ending(offset)).is_some());
                while let Some(prefix) = ledger.take_prefix(cap, bytes) {
                    if put_back >> (step % 64) & 1 == 1 {
                        ledger.restore(prefix);
                        break;
                    }
                    prop_assert_eq!(prefix.from, at);
                    at = prefix.to;
                    records.extend(prefix.records.iter().map(|record| (record.offset, record.n)));
                    seen.extend(prefix.events.iter().map(|event| event.offset));
                }
            }
            while let Some(prefix) = ledger.take_prefix(cap, bytes) {
                records.extend(prefix.records.iter().map(|record| (record.offset, record.n)));
                seen.extend(prefix.events.iter().map(|event| event.offset));
            }
            prop_assert_eq!((ledger.bytes(), ledger.finished()), (0, 0));
            prop_assert_eq!(records, (0..60).flat_map(|offset| (0..emitted(offset)).map(move |n| (offset, n))).collect::<Vec<_>>());
            prop_assert_eq!(seen, (0..60).collect::<Vec<_>>());
        }
    }
}
