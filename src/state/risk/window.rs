//! Windows over the rows of a key, and what is made of them.

use super::plan::FIRST_COLUMN;
use super::rows::Rows;
use crate::config::risk::Aggregate;

/// An entity's rows as the event that is scored sees them. Its own row is taken out of the others and put after them, whether it
/// is among them or not: an event that is too late to be folded, or that was here before, is scored like any other.
pub struct View<'a> {
    rows: &'a Rows,
    current: &'a [u64],
    place: Option<usize>,
    time_ms: i64,
}

/// A window's rows.
pub struct Found {
    from: usize,
    to: usize,
    /// Rows of it were cut.
    pub truncated: bool,
}

impl<'a> View<'a> {
    pub fn new(rows: &'a Rows, current: &'a [u64], time_ms: i64) -> Self {
        let place = rows.find(current[FIRST_COLUMN - 1]);
        Self { rows, current, place, time_ms }
    }

    pub fn find(&self, window_ms: i64, delay_ms: i64) -> Found {
        let last_ms = self.time_ms - delay_ms;
        let (from, to) = (self.rows.after(last_ms - window_ms), self.rows.after(last_ms));
        Found { from, to, truncated: self.rows.cut_ms().is_some_and(|cut| cut > last_ms - window_ms) }
    }
}

/// An aggregate over a window.
pub struct Aggregated {
    pub aggregate: Aggregate,
    pub column: Option<usize>,
    /// Column and bit.
    pub filter: Option<(usize, u64)>,
    pub range: usize,
    pub include_current: bool,
    pub empty: f64,
}

impl Aggregated {
    pub fn of(&self, view: &View<'_>, found: &Found) -> f64 {
        let (from, to) = (found.from, found.to);
        let own = view.place.filter(|place| (from..to).contains(place));
        // Rows before and after the event's own.
        let (before, after) = own.map_or((to, to), |own| (own, own + 1));
        if self.filter.is_none() && self.aggregate == Aggregate::Count {
            return self.or_empty(before - from + (to - after) + usize::from(self.include_current), |count| count as f64);
        }
        let current = view.current.chunks_exact(view.current.len()).take(usize::from(self.include_current));
        let all = view.rows.rows(from, before).chain(view.rows.rows(after, to)).chain(current);
        match self.filter {
            None => self.over(all, view.time_ms),
            Some((column, bit)) => self.over(all.filter(move |row| row[column] & bit != 0), view.time_ms),
        }
    }

    /// Rows from the oldest to the newest.
    fn over<'r>(&self, mut rows: impl DoubleEndedIterator<Item = &'r [u64]> + Clone, time_ms: i64) -> f64 {
        let column = self.column.unwrap_or(0);
        let value = move |row: &[u64]| f64::from_bits(row[column]);
        let sum = |(count, sum): (usize, f64), row: &[u64]| (count + 1, sum + value(row));
        match self.aggregate {
            Aggregate::Count => self.or_empty(rows.count(), |count| count as f64),
            Aggregate::Sum => {
                let (count, sum) = rows.fold((0, 0.0), sum);
                self.or_empty(count, |_| sum)
            }
            Aggregate::Mean => {
                let (count, sum) = rows.fold((0, 0.0), sum);
                self.or_empty(count, |count| sum / count as f64)
            }
            Aggregate::Min => rows.map(value).reduce(f64::min).unwrap_or(self.empty),
            Aggregate::Max => rows.map(value).reduce(f64::max).unwrap_or(self.empty),
            Aggregate::Stddev => {
                let (count, total) = rows.clone().fold((0, 0.0), sum);
                let mean = total / count as f64;
                let squares: f64 = rows.map(|row| (value(row) - mean).powi(2)).sum();
                if count < 2 { self.empty } else { (squares / (count - 1) as f64).sqrt() }
            }
            Aggregate::Distinct => {
                let mut seen: Vec<u64> = rows.map(|row| row[column]).collect();
                seen.sort_unstable();
                seen.dedup();
                self.or_empty(seen.len(), |count| count as f64)
            }
            Aggregate::Last => rows.next_back().map_or(self.empty, value),
            Aggregate::TimeSince => rows.next_back().map_or(self.empty, |row| (time_ms - row[0] as i64) as f64 / 1e3),
            Aggregate::Share => {
                let one = 1f64.to_bits();
                let (count, hits) =
                    rows.fold((0, 0usize), |(count, hits), row| (count + 1, hits + usize::from(row[column] == one)));
                self.or_empty(count, |count| hits as f64 / count as f64)
            }
        }
    }

    fn or_empty(&self, count: usize, value: impl FnOnce(usize) -> f64) -> f64 {
        if count == 0 { self.empty } else { value(count) }
    }
}
