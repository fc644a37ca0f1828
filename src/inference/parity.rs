//! What the parity tests find, held against the table of `docs/parity.md`.
//!
//! A test tells each comparison here; this is where the limit is, and where a comparison that the table does not name fails. With
//! `MILLRACE_PARITY` set to a file the rows are written there instead (`tests/fixtures/parity.sh` makes the table of them).

use std::io::Write;
use std::path::Path;

/// The greatest difference of a number (a logit, a vector's part, a score) from what transformers answers, in f32.
const LIMIT: f32 = 1e-4;

/// The greatest difference between two lists; NaN where one holds it.
pub(crate) fn off(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}

/// Numbers of a checkpoint that were compared, and the greatest difference among them.
pub(crate) fn seen(part: &str, checkpoint: &str, what: &str, off: f32) {
    assert!(off < LIMIT, "{part}, {checkpoint}, {what}: {off}");
    row(part, checkpoint, what, &format!("{off:.1e}"));
}

/// Tokens of a checkpoint that were compared and are all equal.
pub(crate) fn equal(part: &str, checkpoint: &str, what: &str) {
    row(part, checkpoint, what, "equal");
}

fn row(part: &str, checkpoint: &str, what: &str, found: &str) {
    if let Some(file) = std::env::var_os("MILLRACE_PARITY") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        // One call, so that rows of other threads do not come between.
        file.write_all(format!("{part}\t{checkpoint}\t{what}\t{found}\n").as_bytes()).unwrap();
        return;
    }
    let table = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/parity.md")).unwrap();
    let start = format!("| {part} | {checkpoint} | {what} | ");
    assert!(
        table.lines().any(|line| line.starts_with(&start)),
        "docs/parity.md has no row `{start}`: run tests/fixtures/parity.sh"
    );
}
