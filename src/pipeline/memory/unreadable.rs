//! The halt for a state that cannot be read. A key is payload: the sentence goes to logs and pages, so it says how the row is found without it.

use crate::state::{StoredError, StoredRow};

/// `row` is what the store has of the key.
pub fn sentence(error: &StoredError, row: Option<&StoredRow>) -> String {
    let found = match row {
        Some(row) => format!("`as_of` {} and {} `bytes`", row.as_of, row.bytes.len()),
        None => "nothing".to_owned(),
    };
    format!(
        "{error}: the row of millrace.state for the key of an event was changed by hand, or written by another version under \
         the same digest. The key is left out here; in view millrace.states the row has {found}. Restore it, or start a new run with `millrace \
         adopt`, which folds the log again."
    )
}

#[cfg(test)]
mod tests {
    use super::sentence;
    use crate::state::{StoredError, StoredRow};

    /// Would catch: a sentence that does not say which row is meant.
    #[test]
    fn the_row_is_told_by_what_the_view_shows() {
        let row = StoredRow { as_of: 41, newest_ms: 1_760_000_000_000, bytes: [7, 7, 7].as_slice().into() };
        let said = sentence(&StoredError("it ends too early"), Some(&row));
        assert!(said.contains("it ends too early") && said.contains("`as_of` 41 and 3 `bytes`"), "{said}");
    }
}
