//! One line of the log where the same thing is met many times a second.

use std::time::{Duration, Instant};

/// How often it is told.
const APART: Duration = Duration::from_secs(10);

/// Counts what is met, and says when to tell of it.
#[derive(Debug, Default)]
pub struct Seldom {
    told: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// It was met at `now`: how often since it was last told, if it is time to tell it again.
    pub fn met(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < APART) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a line for each time, one that never comes again, a count that loses what was not told.
    #[test]
    fn it_is_told_at_once_then_every_ten_seconds_with_a_count() {
        let (start, mut seldom) = (Instant::now(), Seldom::default());
        let mut at = |ms| seldom.met(start + Duration::from_millis(ms));
        assert_eq!((at(0), at(250), at(9_999), at(10_000), at(10_250)), (Some(1), None, None, Some(3), None));
        assert_eq!(at(60_000), Some(2));
    }
}
