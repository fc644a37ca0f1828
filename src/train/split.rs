//! A part of the rows to measure on, chosen by their texts: rows that are added later move no other row to the other part.

use super::data::Row;
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};

/// A number between 0 and 1 that a text always has.
fn place(text: &str) -> f64 {
    let digest = Sha256::digest(text.as_bytes());
    let first: [u8; 8] = std::array::from_fn(|i| digest[i]);
    u64::from_be_bytes(first) as f64 / u64::MAX as f64
}

/// Whether a text is among the `share` of all texts to measure on.
pub fn is_measured(text: &str, share: f64) -> bool {
    place(text) < share
}

/// (rows to train on, rows to measure on): about `share` of each label is measured on, at least one row where a label has five texts.
/// Equal texts are always in the same part.
pub fn by_text(rows: Vec<Row>, share: f64) -> (Vec<Row>, Vec<Row>) {
    by_key(rows, share, |row| row.text.clone())
}

/// The same by another `key` than the text: rows of one key are always in the same part.
pub fn by_key(rows: Vec<Row>, share: f64, key: impl Fn(&Row) -> String) -> (Vec<Row>, Vec<Row>) {
    let mut lowest: BTreeMap<&str, Vec<(f64, String)>> = BTreeMap::new();
    for row in &rows {
        let key = key(row);
        lowest.entry(&row.label).or_default().push((place(&key), key));
    }
    let mut measured: HashSet<String> = HashSet::new();
    for keys in lowest.values_mut() {
        keys.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        keys.dedup();
        let below = keys.iter().filter(|(place, _)| *place < share).count();
        // One text of each label stays to train on.
        let count = if below == 0 && keys.len() >= 5 { 1 } else { below.min(keys.len() - 1) };
        measured.extend(keys[..count].iter().map(|(_, key)| key.clone()));
    }
    rows.into_iter().partition(|row| !measured.contains(&key(row)))
}

/// Moves to `train` each text of `dev` with a label that nothing in `train` has, since what is not learnt cannot be measured. Returns
/// what is left to measure on; texts of one `key` stay in one part.
pub fn learnable<T>(
    train: &mut Vec<T>,
    dev: Vec<T>,
    key: impl Fn(&T) -> String,
    labels: impl Fn(&T) -> Result<Vec<String>>,
) -> Result<Vec<T>> {
    let mut known: HashSet<String> = HashSet::new();
    for one in train.iter() {
        known.extend(labels(one)?);
    }
    let mut moved: HashSet<String> = HashSet::new();
    for one in &dev {
        let own = labels(one)?;
        if own.iter().any(|label| !known.contains(label)) {
            known.extend(own);
            moved.insert(key(one));
        }
    }
    let (learnt, dev): (Vec<T>, Vec<T>) = dev.into_iter().partition(|one| moved.contains(&key(one)));
    train.extend(learnt);
    Ok(dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(i: usize, label: &str) -> Row {
        Row { text: format!("text {i}"), pair: None, label: label.into(), line: i + 1 }
    }

    #[test]
    fn each_label_is_measured_and_a_row_keeps_its_part() {
        let rows: Vec<Row> = (0..1_000).map(|i| row(i, if i % 100 < 6 { "rare" } else { "common" })).collect();
        let (train, dev) = by_text(rows.clone(), 0.1);
        assert_eq!(train.len() + dev.len(), 1_000);
        assert!((60..140).contains(&dev.len()), "{}", dev.len());
        assert!(dev.iter().any(|row| row.label == "rare"));
        let more: Vec<Row> = rows.into_iter().chain((1_000..1_500).map(|i| row(i, "common"))).collect();
        let (_, more) = by_text(more, 0.1);
        assert!(dev.iter().all(|row| more.contains(row)));
    }

    /// Would catch: a label whose only text is measured on, and not learnt.
    #[test]
    fn a_label_of_one_text_is_trained_on() {
        let rows: Vec<Row> = (0..60).map(|i| row(i, &format!("label {i}"))).collect();
        let (train, dev) = by_text(rows, 0.5);
        assert_eq!((train.len(), dev.len()), (60, 0));
    }

    #[test]
    fn a_text_that_stands_twice_is_in_one_part() {
        let rows: Vec<Row> = (0..200).map(|i| row(i % 100, "one")).collect();
        let (train, dev) = by_text(rows, 0.2);
        assert!(!dev.is_empty() && train.iter().all(|row| !dev.contains(row)));
    }

    /// Would catch: a run that stops because the only text of a label was chosen to measure on.
    #[test]
    fn a_label_that_only_the_measured_part_has_is_trained_on() {
        let labels = |row: &Row| Ok(row.label.split('|').map(str::to_owned).collect());
        let mut train = vec![row(0, "a")];
        let dev = vec![row(1, "a"), row(2, "a|b"), row(3, "b"), row(2, "a"), row(4, "c")];
        let dev = learnable(&mut train, dev, |row| row.text.clone(), labels).unwrap();
        assert_eq!(dev, [row(1, "a"), row(3, "b")]);
        assert_eq!(train, [row(0, "a"), row(2, "a|b"), row(2, "a"), row(4, "c")]);
    }

    /// Would catch: a text under two labels that is measured on for the sake of one, and was the other's only text.
    #[test]
    fn a_text_under_two_labels_takes_no_label_away() {
        let measured = (0..1_000).find(|i| is_measured(&format!("text {i}"), 0.1)).unwrap();
        let common = (0..40).map(|i| row(2_000 + i, "common"));
        let rows: Vec<Row> = common.chain([row(measured, "common"), row(measured, "rare")]).collect();
        let (mut train, dev) = by_text(rows, 0.1);
        assert!(dev.contains(&row(measured, "rare")));
        let dev = learnable(&mut train, dev, |row| row.text.clone(), |row| Ok(vec![row.label.clone()])).unwrap();
        assert!(train.contains(&row(measured, "rare")) && !dev.iter().any(|row| row.text == format!("text {measured}")));
    }
}
