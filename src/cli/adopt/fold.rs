//! From where a new run folds, for a function that remembers: a run begins with states of its own, so what went before must be folded again.

use crate::cli::common::Usage;
use crate::cli::point::Point;
use crate::event::TopicPartition;
use crate::source::LogBounds;
use crate::store::PartitionRow;
use std::str::FromStr;

/// `--fold-from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldFrom {
    Log(Point),
    /// Where the run begins: states are empty there.
    Start,
}

impl FromStr for FoldFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "start" {
            return Ok(Self::Start);
        }
        text.parse().map(Self::Log).map_err(|_| {
            "write `earliest`, an offset, a time such as 2026-01-31T12:00:00Z, or `start` for states that begin empty".to_owned()
        })
    }
}

/// The first offset that is folded of a partition that is scored from `start` on. `of_time` asks the broker.
pub fn first(
    asked: Option<FoldFrom>,
    log: LogBounds,
    start: i64,
    partition: &TopicPartition,
    of_time: impl Fn(i64) -> anyhow::Result<i64>,
) -> anyhow::Result<i64> {
    match asked.unwrap_or(FoldFrom::Log(Point::Earliest)) {
        FoldFrom::Start => Ok(start),
        FoldFrom::Log(Point::Offset(offset)) if offset > start => {
            let what =
                format!("{partition}: --fold-from is offset {offset}, after the offset at which it begins, which is {start}");
            Err(Usage(what).into())
        }
        // All that came since a time may have come after the start.
        FoldFrom::Log(point) => Ok(point.within(log, partition, of_time)?.min(start)),
    }
}

/// Whether what an earlier run remembers is what the new one needs: folded by the same settings, of all that stands before its start, and what is not
/// written yet the log has.
pub fn goes_on(digest: &str, row: &PartitionRow, log: LogBounds, start: i64) -> bool {
    row.fold.as_deref() == Some(digest) && row.next_offset == start && log.low <= row.fold_from
}

/// What the states of the new run do not know, set against the earlier one's or what the log has.
pub fn unknown(partition: &TopicPartition, earlier: Option<(i32, i64)>, log: LogBounds, fold_from: i64) -> Option<String> {
    let left_out = format!("{partition}: states begin at offset {fold_from}");
    match earlier {
        Some((run, began)) if began < fold_from => {
            Some(format!("{left_out}, those of run {run} began at {began}: what lies between is in no state of the new run"))
        }
        None if log.low < fold_from => Some(format!("{left_out}, the log at {}: what lies between is in no state", log.low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogBounds = LogBounds { low: 10, high: 100 };

    /// Would catch: a new run of a function that remembers whose states begin empty where nobody asked for it, and one that folds what it scores.
    #[test]
    fn what_the_log_has_is_folded_unless_somebody_says_otherwise() {
        let at = |asked: Option<&str>, start, found| {
            let asked = asked.map(|asked| asked.parse().unwrap());
            first(asked, LOG, start, &TopicPartition::new("t", 3), |_| Ok(found)).map_err(|error| error.to_string())
        };
        assert_eq!((at(None, 40, 0), at(Some("earliest"), 40, 0), at(Some("start"), 40, 0)), (Ok(10), Ok(10), Ok(40)));
        assert_eq!((at(Some("40"), 40, 0), at(Some("12"), 40, 0), at(None, 10, 0)), (Ok(40), Ok(12), Ok(10)));
        assert!(at(Some("41"), 40, 0).is_err_and(|text| text.contains("after the offset at which it begins, which is 40")));
        assert!(at(Some("9"), 40, 0).is_err_and(|text| text.contains("the log begins at 10")));
        let noon = Some("2026-01-31T12:00:00Z");
        assert_eq!((at(noon, 40, 25), at(noon, 40, 70), at(noon, 40, 3)), (Ok(25), Ok(40), Ok(10)));
        assert!("latest".parse::<FoldFrom>().is_err_and(|text| text.contains("`start`")));
    }

    /// Would catch: states that are continued by another fold, behind events that they do not have, or where the log has lost some of theirs.
    #[test]
    fn states_are_kept_where_they_are_whole_alone() {
        let row = |fold_from, fold: Option<&str>| {
            let row = crate::store::memory::opened(40, fold_from, crate::record::Mode::Both);
            PartitionRow { fold: fold.map(str::to_owned), ..row }
        };
        assert!(goes_on("risk", &row(40, Some("risk")), LOG, 40) && goes_on("risk", &row(10, Some("risk")), LOG, 40));
        assert!(!goes_on("risk", &row(40, Some("risk 2")), LOG, 40) && !goes_on("risk", &row(40, None), LOG, 40));
        assert!(!goes_on("risk", &row(40, Some("risk")), LOG, 39) && !goes_on("risk", &row(40, Some("risk")), LOG, 41));
        assert!(!goes_on("risk", &row(9, Some("risk")), LOG, 40));
    }

    /// Would catch: accounts that lose their history without a word.
    #[test]
    fn what_states_do_not_know_is_said() {
        let of = |earlier, fold_from| unknown(&TopicPartition::new("t", 3), earlier, LOG, fold_from).unwrap_or_default();
        assert!(of(Some((1, 4)), 10).contains("begin at offset 10, those of run 1 began at 4"));
        assert!(of(None, 40).contains("the log at 10"));
        assert_eq!((of(Some((1, 10)), 10), of(Some((1, 60)), 40), of(None, 10)), Default::default());
    }
}
