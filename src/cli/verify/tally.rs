//! What was seen of one input partition in one output topic, in bounded memory: counts by buckets of offsets, and for each
//! output partition the id that came last.

use std::collections::BTreeMap;

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
    /// Number, and a sum that tells which offsets they were.
    buckets: BTreeMap<i64, (i64, i64)>,
    /// First and last place by output partition.
    places: BTreeMap<i32, (Place, Place)>,
    highest: Option<Place>,
}

impl Tally {
    pub fn new(low: i64, below: i64) -> Self {
        let width = ((below - low) / BUCKETS + 1).max(1);
        Self { low, width, below, buckets: BTreeMap::new(), places: BTreeMap::new(), highest: None }
    }

    /// `repeats`: what came before does not count again.
    pub fn add(&mut self, out_partition: i32, place: Place, repeats: bool) -> Order {
        let (_, last) = self.places.entry(out_partition).or_insert((place, (i64::MIN, 0)));
        let order = if place > *last { Order::Ascending } else { Order::NotAfter(*last) };
        *last = place.max(*last);
        self.highest = self.highest.max(Some(place));
        if place.0 < self.below && (order == Order::Ascending || !repeats) {
            let (count, sum) = self.buckets.entry((place.0 - self.low).div_euclid(self.width)).or_default();
            *count += 1;
            *sum += (place.0 - self.low).rem_euclid(self.width) + i64::from(place.1);
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

    /// The offset above which nothing can be missing, although the beginning of these output partitions is gone; `None` when nothing
    /// can be said.
    pub fn floor(&self, cut: &[i32]) -> Option<i64> {
        cut.iter().try_fold(i64::MIN, |floor, partition| Some(floor.max(self.places.get(partition)?.0.0)))
    }

    /// The offsets of the first bucket above `floor` that differs from the rows'.
    pub fn differs(&self, rows: &[(i64, i64, i64)], floor: i64) -> Option<std::ops::Range<i64>> {
        let mut expected: BTreeMap<i64, (i64, i64)> = rows.iter().map(|(bucket, count, sum)| (*bucket, (*count, *sum))).collect();
        let mut numbers: Vec<i64> = expected.keys().chain(self.buckets.keys()).copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .filter(|bucket| self.low + bucket * self.width > floor)
            .find(|bucket| expected.remove(bucket).unwrap_or_default() != self.buckets.get(bucket).copied().unwrap_or_default())
            .map(|bucket| self.low + bucket * self.width..(self.low + (bucket + 1) * self.width).min(self.below))
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
            *bucket = (bucket.0 + 1, bucket.1 + (offset - low) % width + i64::from(*n));
        }
        buckets.into_iter().map(|(bucket, (count, sum))| (bucket, count, sum)).collect()
    }

    /// Would catch: one record lost and another doubled within a bucket, which a mere count takes as even.
    #[test]
    fn a_loss_and_a_double_do_not_cancel() {
        let all: Vec<Place> = (0..5_000).map(|offset| (offset, 0)).collect();
        let mut tally = Tally::new(0, 5_000);
        for place in all.iter().filter(|place| place.0 != 4_001) {
            assert_eq!(tally.add(0, *place, false), Order::Ascending);
        }
        // In another output partition, where it breaks no order.
        assert_eq!(tally.add(1, (4_002, 0), false), Order::Ascending);
        let range = tally.differs(&rows(&tally, &all), i64::MIN).unwrap();
        assert!(range.contains(&4_001) && range.end - range.start <= 5, "{range:?}");
    }

    /// Would catch: records that are just being published told as too many, and retention told as loss.
    #[test]
    fn what_is_above_or_cut_off_does_not_count() {
        let all: Vec<Place> = (100..200).map(|offset| (offset, 0)).collect();
        let mut tally = Tally::new(100, 190);
        for place in all.iter().filter(|place| place.0 >= 150) {
            tally.add(0, *place, false);
        }
        let rows = rows(&tally, &all[..90]);
        assert_eq!((tally.floor(&[0]), tally.floor(&[0, 1]), tally.floor(&[])), (Some(150), None, Some(i64::MIN)));
        assert_eq!(tally.differs(&rows, 150), None);
        assert_eq!(tally.differs(&rows, i64::MIN), Some(100..101));
    }

    /// Would catch: a double that only its neighbours show.
    #[test]
    fn order_is_strict_within_an_output_partition() {
        let mut tally = Tally::new(0, 100);
        assert_eq!(tally.add(0, (5, 0), false), Order::Ascending);
        assert_eq!(tally.add(0, (5, 1), false), Order::Ascending);
        assert_eq!(tally.add(1, (4, 0), false), Order::Ascending);
        assert_eq!(tally.add(0, (5, 1), false), Order::NotAfter((5, 1)));
        assert_eq!(tally.add(0, (2, 0), false), Order::NotAfter((5, 1)));
        assert_eq!(tally.add(0, (6, 0), false), Order::Ascending);
    }
}
