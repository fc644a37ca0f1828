//! Each verdict, by what was found.

use super::*;
use crate::store::memory::opened;

const LOG: LogBounds = LogBounds { low: 10, high: 100 };
const TOLD: Told<'_> =
    Told { pipeline: "p", run: 1, mode: Mode::Both, fold: None, start: Start::Earliest, on_lost_commits: OnLostCommits::Halt };

fn row(q: i64, p: i64) -> PartitionRow {
    PartitionRow { epoch: 1, published_offset: q, ..opened(p, p, Mode::Both) }
}

fn k(offset: i64) -> Option<Committed> {
    Some(Committed { offset, records_total: Some(0) })
}

fn of(told: Told<'_>, row: &PartitionRow, group: Option<Committed>, partitions: (usize, usize)) -> Result<Verdict, String> {
    told.verdict(&TopicPartition::new("in", 0), &Found { row, group, bounds: LOG, partitions })
}

/// Would catch: a contradiction that is passed over, or one that is seen where there is none.
#[test]
fn what_contradicts_stands_and_says_why() {
    let foreign = Some(Committed { offset: 45, records_total: None });
    let folds = Told { fold: Some("f"), ..TOLD };
    let folded = PartitionRow { fold: Some("f".into()), events: 1, ..row(50, 50) };
    for (told, row, group, partitions, why) in [
        (TOLD, row(40, 50), None, (1, 1), "may or may not"),
        (TOLD, row(40, 50), k(39), (1, 1), "is below 40"),
        (TOLD, row(40, 50), k(51), (1, 1), "published up to 51"),
        (TOLD, row(40, 101), k(40), (1, 1), "the log ends at 100"),
        (TOLD, row(9, 9), k(9), (1, 1), "the log starts at 10"),
        (TOLD, row(40, 50), foreign, (1, 1), "not written by Millrace"),
        (TOLD, PartitionRow { mode: Mode::Postgres, ..row(50, 50) }, k(50), (1, 1), "running in mode postgres"),
        (TOLD, folded.clone(), k(50), (1, 1), "never continued by another fold"),
        (folds, folded.clone(), k(50), (2, 1), "has 2 partitions and had 1"),
        (folds, PartitionRow { fold_from: 9, ..folded.clone() }, k(50), (1, 1), "need the events from offset 9 on"),
        // States are written before the first event is decided.
        (folds, PartitionRow { fold: Some("g".into()), ..row(50, 50) }, k(50), (1, 1), "never continued by another fold"),
    ] {
        let told = of(told, &row, group, partitions);
        assert!(told.as_ref().is_err_and(|text| text.contains(why)), "{why}: {told:?}");
    }
    assert_eq!(of(folds, &folded, k(50), (1, 1)).map_err(drop), Ok(Verdict::Publish(k(50).unwrap())));
    // Without a fold a topic may grow.
    assert_eq!(of(TOLD, &row(50, 50), None, (2, 1)).map_err(drop), Ok(Verdict::CommitFirst(k(50).unwrap())));
    let alone = Told { mode: Mode::Postgres, ..TOLD };
    assert_eq!(of(alone, &PartitionRow { mode: Mode::Postgres, ..row(40, 50) }, None, (1, 1)).map_err(drop), Ok(Verdict::Alone));
    let again = Told { on_lost_commits: OnLostCommits::Reprocess, ..TOLD };
    assert_eq!(of(again, &row(40, 50), k(51), (1, 1)).map_err(drop), Ok(Verdict::Again(k(51).unwrap())));
}

/// Would catch: a new run that halts for what retention took before its first state, states that go on without what they need.
#[test]
fn a_new_run_folds_from_where_the_log_begins() {
    let folds = Told { fold: Some("f"), ..TOLD };
    let new = PartitionRow { fold_from: 3, ..row(50, 50) };
    assert_eq!(of(folds, &new, k(50), (1, 1)).map_err(drop), Ok(Verdict::Publish(k(50).unwrap())));
    let begun = PartitionRow { fold: Some("f".into()), ..new.clone() };
    assert_eq!((folds_from(&new, LOG), folds_from(&begun, LOG)), (10, 3));
    assert_eq!(folds_from(&PartitionRow { fold_from: 20, ..new.clone() }, LOG), 20);
    assert!(of(folds, &begun, k(50), (1, 1)).is_err_and(|text| text.contains("need the events from offset 3 on")));
    assert!(
        of(folds, &PartitionRow { fold_from: 3, ..row(9, 9) }, k(9), (1, 1))
            .is_err_and(|text| text.contains("the log starts at 10"))
    );
}

/// Would catch: rows of [K, P) that are missing or too many and are published all the same.
#[test]
fn rows_are_counted() {
    let (of, row) = (TopicPartition::new("in", 0), PartitionRow { records: 7, ..row(40, 50) });
    let counted = |rows| TOLD.counted(&of, &row, Committed { offset: 45, records_total: Some(4) }, rows);
    assert_eq!(counted(3), Ok(()));
    assert!(counted(2).is_err_and(|text| text.contains("[45, 50) should hold 3 records and Postgres has 2")));
}

/// Would catch: a new partition of an old run that skips what it has, or is taken where states would be in another partition.
#[test]
fn a_partition_without_a_row_begins_where_the_run_says() {
    let of = TopicPartition::new("in", 3);
    let latest = Told { start: Start::Latest, ..TOLD };
    let folds = Told { fold: Some("f"), ..latest };
    let begins = |told: Told<'_>, group, known| told.begins(&of, group, known, LOG);
    assert_eq!((begins(TOLD, None, 0), begins(latest, None, 0), begins(folds, None, 0)), (Ok(10), Ok(100), Ok(100)));
    assert_eq!(begins(latest, None, 3), Ok(10));
    assert!(begins(folds, None, 3).is_err_and(|text| text.contains("new partition")));
    assert!(begins(TOLD, k(40), 0).is_err_and(|text| text.contains("no row for it")));
}
