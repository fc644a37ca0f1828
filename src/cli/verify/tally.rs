//! What was seen of one input partition in one output topic, in bounded memory: counts by buckets of offsets, and for each
//! output partition the id that came last.

use std::collections::BTreeMap;
use std::ops::Range;

/// Buckets of one tally; what differs is looked for in one of them again.
const BUCKETS: i64 = 1024;

/// Offset and n: the order of one input partition.
pub type Place = (i64, i16);

/// What a new record is, by its place.
#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    /// It came again at once, or after what stands behind it.
    NotAfter(Place),
}

#[derive(Debug)]
pub struct Tally {
    low: i64,
    width: i64,
    /// Records at or above this are not counted: they may be published at this moment.
    below: i64,
    /// Number, and the sum of their hashes, which tells which ones they were.
    buckets: BTreeMap<i64, (i64, i64)>,
    /// First and last place by output partition.
    places: BTreeMap<i32, (Place, Place)>,
    highest: Option<Place>,
}

/// Mixes a place, as `PostgresStore::buckets` does in SQL: a plain sum would take one lost and one doubled record for two others.
fn mixed((offset, n): Place) -> i64 {
    const MASK: i64 = 0xffff_ffff;
    let turn = |x: i64| (((x >> 16) ^ x) * 0x045d_9f3b) & MASK;
    let x = turn(turn(((offset & MASK) + i64::from(n) * 0x9e37_79b1) & MASK));
    (x >> 16) ^ x
}

impl Tally {
    pub fn new(low: i64, below: i64) -> Self {
        let width = ((below - low) / BUCKETS + 1).max(1);
        Self { low, width, below, buckets: BTreeMap::new(), places: BTreeMap::new(), highest: None }
    }

    pub fn add(&mut self, out_partition: i32, place: Place) -> Order {
        let (_, last) = self.places.entry(out_partition).or_insert((place, (i64::MIN, 0)));
        let order = if place > *last { Order::Ascending } else { Order::NotAfter(*last) };
        *last = place.max(*last);
        self.highest = self.highest.max(Some(place));
        if place.0 < self.below {
            let (count, sum) = self.buckets.entry((place.0 - self.low).div_euclid(self.width)).or_default();
            *count += 1;
            *sum += mixed(place);
        }
        order
    }

    pub fn highest(&self) -> Option<Place> {
        self.highest
    }

    /// Where buckets begin, and how wide they are.
    pub fn grid(&self) -> (i64, i64, i64) {
        (self.low, self.width, self.below)
    }

    /// What can be said although the beginning of these output partitions is gone: the offset above which a record that is missing
    /// shows; or those of them that hold nothing of this input partition, so that any record may have stood there.
    pub fn floor(&self, cut: &[i32]) -> Result<i64, Vec<i32>> {
        let unseen: Vec<i32> = cut.iter().filter(|partition| !self.places.contains_key(partition)).copied().collect();
        if !unseen.is_empty() {
            return Err(unseen);
        }
        Ok(cut.iter().filter_map(|partition| self.places.get(partition)).map(|places| places.0.0).max().unwrap_or(i64::MIN))
    }

    /// The offsets of the buckets above `floor` that differ from the rows'.
    pub fn differs(&self, rows: &[(i64, i64, i64)], floor: i64) -> Vec<Range<i64>> {
        let mut expected: BTreeMap<i64, (i64, i64)> = rows.iter().map(|(bucket, count, sum)| (*bucket, (*count, *sum))).collect();
        let mut numbers: Vec<i64> = expected.keys().chain(self.buckets.keys()).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .filter(|bucket| self.low + bucket * self.width > floor)
            .filter(|bucket| expected.remove(bucket).unwrap_or_default() != self.buckets.get(bucket).copied().unwrap_or_default())
            .map(|bucket| self.low + bucket * self.width..(self.low + (bucket + 1) * self.width).min(self.below))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(tally: &Tally, places: &[Place]) -> Vec<(i64, i64, i64)> {
        let (low, width, _) = tally.grid();
        let mut buckets: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for (offset, n) in places {
            let bucket = buckets.entry((offset - low) / width).or_default();
            *bucket = (bucket.0 + 1, bucket.1 + mixed((*offset, *n)));
        }
        buckets.into_iter().map(|(bucket, (count, sum))| (bucket, count, sum)).collect()
    }

    /// Would catch: one record lost and another doubled within a bucket, which a mere count takes as even.
    #[test]
    fn a_loss_and_a_double_do_not_cancel() {
        let all: Vec<Place> = (0..5_000).map(|offset| (offset, 0)).collect();
        let mut tally = Tally::new(0, 5_000);
        for place in all.iter().filter(|place| place.0 != 4_001) {
            assert_eq!(tally.add(0, *place), Order::Ascending);
        }
        // In another output partition, where it breaks no order.
        assert_eq!(tally.add(1, (4_002, 0)), Order::Ascending);
        let ranges = tally.differs(&rows(&tally, &all), i64::MIN);
        assert!(ranges.len() == 1 && ranges[0].contains(&4_001) && ranges[0].end - ranges[0].start <= 5, "{ranges:?}");
    }

    /// Would catch: a plain sum of the offsets, in which two that are lost and two that are doubled beside them are even.
    #[test]
    fn losses_and_doubles_with_the_same_sum_do_not_cancel() {
        let all: Vec<Place> = (0..5_000).map(|offset| (offset, 0)).collect();
        let mut tally = Tally::new(0, 5_000);
        for place in all.iter().filter(|place| ![4_000, 4_003].contains(&place.0)) {
            tally.add(0, *place);
        }
        tally.add(1, (4_001, 0));
        tally.add(1, (4_002, 0));
        assert_eq!(tally.differs(&rows(&tally, &all), i64::MIN).len(), 1);
    }

    /// Would catch: records that are just being published told as too many, and retention told as loss.
    #[test]
    fn what_is_above_or_cut_off_does_not_count() {
        let all: Vec<Place> = (100..200).map(|offset| (offset, 0)).collect();
        let mut tally = Tally::new(100, 190);
        for place in all.iter().filter(|place| place.0 >= 150) {
            tally.add(0, *place);
        }
        let rows = rows(&tally, &all[..90]);
        assert_eq!((tally.floor(&[0]), tally.floor(&[0, 1]), tally.floor(&[])), (Ok(150), Err(vec![1]), Ok(i64::MIN)));
        assert_eq!(tally.differs(&rows, 150), []);
        assert_eq!(tally.differs(&rows, i64::MIN)[0], 100..101);
    }

    /// Would catch: a double that only its neighbours show.
    #[test]
    fn order_is_strict_within_an_output_partition() {
        let mut tally = Tally::new(0, 100);
        assert_eq!(tally.add(0, (5, 0)), Order::Ascending);
        assert_eq!(tally.add(0, (5, 1)), Order::Ascending);
        assert_eq!(tally.add(1, (4, 0)), Order::Ascending);
        assert_eq!(tally.add(0, (5, 1)), Order::NotAfter((5, 1)));
        assert_eq!(tally.add(0, (2, 0)), Order::NotAfter((5, 1)));
        assert_eq!(tally.add(0, (6, 0)), Order::Ascending);
    }
}
