//! A part of a decided stretch, shared and not copied.

use super::Record;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Records in offset order, `n` ascending within an event.
#[derive(Debug, Clone)]
pub struct Chunk {
    records: Arc<Vec<Record>>,
    range: Range<usize>,
}

impl From<Arc<Vec<Record>>> for Chunk {
    fn from(records: Arc<Vec<Record>>) -> Self {
        let range = 0..records.len();
        Self { records, range }
    }
}

impl Deref for Chunk {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.records[self.range.clone()]
    }
}

impl Chunk {
    /// Bytes charged to the memory budget.
    pub fn cost_bytes(&self) -> usize {
        self.iter().map(Record::cost_bytes).sum()
    }

    /// Without the records below `offset`.
    pub fn at_or_above(&self, offset: i64) -> Self {
        let below = self.partition_point(|record| record.offset < offset);
        Self { records: self.records.clone(), range: self.range.start + below..self.range.end }
    }

    /// Cuts a stretch that ends at `to` between events: pieces of at most `max_records` and `max_bytes`, larger only where one
    /// event is. Each comes with the offset that it ends at; the last one ends at `to`, and there is always one.
    pub fn pieces(&self, to: i64, max_records: usize, max_bytes: usize) -> Vec<(i64, Self)> {
        let (mut pieces, mut start, mut bytes) = (Vec::new(), self.range.start, 0);
        for index in self.range.clone() {
            let (cost, offset) = (self.records[index].cost_bytes(), self.records[index].offset);
            let full = index - start >= max_records || bytes + cost > max_bytes;
            if full && index > start {
                let before = self.records[start..index].partition_point(|record| record.offset < offset);
                // An event that fills the piece from its first record on cannot be cut.
                if before > 0 {
                    let cut = start + before;
                    pieces.push((self.records[cut - 1].offset + 1, Self { records: self.records.clone(), range: start..cut }));
                    bytes = self.records[cut..index].iter().map(Record::cost_bytes).sum();
                    start = cut;
                }
            }
            bytes += cost;
        }
        pieces.push((to, Self { records: self.records.clone(), range: start..self.range.end }));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;
    use proptest::prelude::*;

    fn record(offset: i64, n: i16, bytes: usize) -> Record {
        Record {
            partition: 0,
            offset,
            n,
            kind: Kind::Prediction,
            out_topic: "out".into(),
            key: None,
            traceparent: None,
            value: "x".repeat(bytes).into(),
            label: None,
            score: None,
            model: None,
            config: None,
        }
    }

    proptest! {
        /// Pieces hold every record once and in order, end between events, and are larger than asked only for one event.
        #[test]
        fn pieces_cover_the_stretch(events in prop::collection::vec((0i16..4, 0usize..400), 0..60), max_records in 1usize..9, max_bytes in 100usize..2_000) {
            let records: Vec<Record> = events.iter().zip(0i64..).flat_map(|(&(n, bytes), offset)| (0..n).map(move |n| record(offset, n, bytes))).collect();
            let to = events.len() as i64 + 3;
            let pieces = Chunk::from(Arc::new(records.clone())).pieces(to, max_records, max_bytes);
            let mut from = i64::MIN;
            for (end, piece) in &pieces {
                prop_assert!(piece.iter().all(|record| record.offset >= from && record.offset < *end));
                from = *end;
                let one_event = piece.first().map(|first| first.offset) == piece.last().map(|last| last.offset);
                prop_assert!(one_event || (piece.len() <= max_records && piece.cost_bytes() <= max_bytes));
            }
            prop_assert_eq!(pieces.last().map(|(end, _)| *end), Some(to));
            let again: Vec<Record> = pieces.iter().flat_map(|(_, piece)| piece.iter().cloned()).collect();
            prop_assert_eq!(again, records);
        }
    }

    #[test]
    fn a_floor_cuts_what_was_published_before() {
        let chunk = Chunk::from(Arc::new((0..5).map(|offset| record(offset, 0, 1)).collect::<Vec<_>>()));
        assert_eq!(chunk.at_or_above(3).iter().map(|record| record.offset).collect::<Vec<_>>(), [3, 4]);
        assert!(chunk.at_or_above(9).is_empty());
    }
}
