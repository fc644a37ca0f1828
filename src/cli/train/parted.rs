//! A part of the rows of a training file to measure on, where no file is named for that.

use super::Report;
use crate::train::data::Row;
use crate::train::split;
use anyhow::Result;

/// What rows of one part have in common.
pub type Key = fn(&Row) -> String;

/// The first text: what belongs to one premise or one query is learnt, or measured on.
fn first(row: &Row) -> String {
    row.text.clone()
}

/// Both texts, where the first ones are too few.
fn whole(row: &Row) -> String {
    format!("{}\n{}", row.text, row.pair.as_deref().unwrap_or_default())
}

/// A tenth of each label to measure on; `labels` are those of a row.
pub fn by_label(rows: Vec<Row>, key: Key, labels: impl Fn(&Row) -> Result<Vec<String>>) -> Result<Parts> {
    let (mut train, dev) = split::by_key(rows, 0.1, key);
    let dev = split::learnable(&mut train, dev, key, labels)?;
    Ok((train, dev))
}

/// To train on, and to measure on.
pub type Parts = (Vec<Row>, Vec<Row>);

/// Rows to measure on out of those of the training file: by the first texts, or by both where the first are so few that nothing is left to
/// learn from or to measure on, or much too much to measure on.
pub fn parted(rows: Vec<Row>, part: impl Fn(Vec<Row>, Key) -> Result<Parts>, report: &mut Report) -> Result<Parts> {
    let count = rows.len();
    let paired = rows.first().is_some_and(|row| row.pair.is_some());
    let even = |(train, dev): &Parts| !train.is_empty() && !dev.is_empty() && 3 * dev.len() <= count;
    let together = |(mut train, dev): Parts| {
        train.extend(dev);
        train.sort_by_key(|row| row.line);
        train
    };
    let by_first = part(rows, first)?;
    if even(&by_first) || !paired {
        return Ok(by_first);
    }
    let usable = !by_first.0.is_empty() && !by_first.1.is_empty();
    let by_both = part(together(by_first), whole)?;
    if usable && !even(&by_both) {
        return part(together(by_both), first);
    }
    report.say("the first texts are too few to measure on others than those learnt: rows are parted by both texts".to_owned());
    Ok(by_both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn by_hash(rows: Vec<Row>, key: Key) -> Result<Parts> {
        Ok(rows.into_iter().partition(|row| !split::is_measured(&key(row), 0.1)))
    }

    fn by_own(rows: Vec<Row>, key: Key) -> Result<Parts> {
        by_label(rows, key, |row| Ok(vec![row.label.clone()]))
    }

    /// Rows whose first texts are these, in turn.
    fn rows(queries: &[String], count: usize) -> Vec<Row> {
        let one = |i: usize| Row {
            text: queries[i % queries.len()].clone(),
            pair: Some(format!("passage {i}")),
            label: ["no", "yes"][i / 3 % 2].into(),
            line: i + 2,
        };
        (0..count).map(one).collect()
    }

    /// Would catch: a file of one query, all of which is measured on where the query's hash says so.
    #[test]
    fn of_few_first_texts_whole_pairs_are_measured_on() {
        let all = || (0..).map(|i| format!("query {i}"));
        let (measured, learnt) = (
            all().find(|query| split::is_measured(query, 0.1)).unwrap(),
            all().find(|query| !split::is_measured(query, 0.1)).unwrap(),
        );
        for queries in [vec![measured.clone()], vec![learnt.clone()], vec![measured, learnt]] {
            for part in [by_hash as fn(Vec<Row>, Key) -> Result<Parts>, by_own] {
                let mut report = Report::default();
                let (train, dev) = parted(rows(&queries, 100), part, &mut report).unwrap();
                assert_eq!(train.len() + dev.len(), 100);
                assert!((3..34).contains(&dev.len()), "{queries:?}: {}", dev.len());
                assert!(report.lines()[0].contains("parted by both texts"));
            }
        }
        let mut report = Report::default();
        let (train, dev) = parted(rows(&all().take(60).collect::<Vec<_>>(), 600), by_hash, &mut report).unwrap();
        let known: HashSet<&str> = train.iter().map(|row| row.text.as_str()).collect();
        assert!(!dev.is_empty() && dev.iter().all(|row| !known.contains(row.text.as_str())) && report.lines().is_empty());
    }
}
