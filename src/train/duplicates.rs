//! Texts that stand more than once in a file.

use super::data::Row;
use std::collections::HashMap;

/// What of the rows is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Rows whose text, or pair, an earlier row has too.
    pub repeated: usize,
    /// Those of them whose label is another one than that of the first such row.
    pub contradicting: usize,
    /// The lines of the first two rows that contradict each other.
    pub example: Option<(usize, usize)>,
}

impl Duplicates {
    /// `learnt` is what the label of a row says: two rows contradict each other where that differs, not where it is written otherwise.
    pub fn of<T: PartialEq>(rows: &[Row], learnt: impl Fn(&Row) -> T) -> Self {
        let (mut all, mut seen) = (Self::default(), HashMap::new());
        for row in rows {
            let first: &Row = seen.entry(row.key()).or_insert(row);
            if std::ptr::eq(first, row) {
                continue;
            }
            all.repeated += 1;
            if learnt(first) != learnt(row) {
                all.contradicting += 1;
                all.example.get_or_insert((first.line, row.line));
            }
        }
        all
    }

    /// A line for people.
    pub fn said(&self) -> String {
        let Self { repeated, contradicting, example } = self;
        let base = format!("rows to train on whose text stands in an earlier one: {repeated}");
        match example {
            None => base,
            Some((first, second)) => {
                format!("{base}, {contradicting} of them with another label, such as line {second} beside line {first}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::list;
    use std::path::Path;

    fn row(text: &str, pair: Option<&str>, label: &str, line: usize) -> Row {
        Row { text: text.into(), pair: pair.map(Into::into), label: label.into(), line }
    }

    /// Would catch: a pair that counts as another with the same first text, a label that is compared with the last one.
    #[test]
    fn texts_that_come_again_are_counted_and_contradictions_named() {
        let rows = [
            row("a", None, "x", 2),
            row("b", None, "x", 3),
            row("a", None, "x", 4),
            row("a", None, "y", 5),
            row("b", None, "z", 6),
            row("a", Some("b"), "y", 7),
            row("a", Some("c"), "y", 8),
        ];
        let as_written = |row: &Row| row.label.clone();
        let found = Duplicates::of(&rows, as_written);
        assert_eq!(found, Duplicates { repeated: 3, contradicting: 2, example: Some((2, 5)) });
        assert!(found.said().ends_with("3, 2 of them with another label, such as line 5 beside line 2"), "{}", found.said());
        assert!(Duplicates::of(&rows[..2], as_written).said().ends_with("one: 0"));
    }

    /// Would catch: labels in another order, or a number with other digits, that count as contradictions.
    #[test]
    fn labels_are_compared_as_they_are_learnt() {
        let rows =
            [row("a", None, "x|y", 2), row("a", None, "y | x", 3), row("a", None, "[\"y\", \"x\"]", 4), row("a", None, "x", 5)];
        let lists = Duplicates::of(&rows, |row| list(Path::new("a.csv"), row).ok());
        assert_eq!((lists.repeated, lists.contradicting, lists.example), (3, 1, Some((2, 5))));
        let rows = [row("b", None, "3", 2), row("b", None, "3.0", 3), row("b", None, "3.5", 4)];
        let numbers = Duplicates::of(&rows, |row| row.label.parse::<f64>().ok());
        assert_eq!((numbers.repeated, numbers.contradicting, numbers.example), (2, 1, Some((2, 4))));
    }
}
