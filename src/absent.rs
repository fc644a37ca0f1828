//! Data that may not stand in the repository: a test that compares with published figures has nothing to compare where they are not.

use std::fmt::Display;
use std::io::Write;

/// Says so where it is seen, although the test passes: the harness keeps what a test prints to itself. With `MILLRACE_DATA=required` it fails.
pub fn absent(what: impl Display) {
    let required = std::env::var("MILLRACE_DATA").is_ok_and(|wanted| wanted == "required");
    assert!(!required, "MILLRACE_DATA=required, and {what}");
    writeln!(std::io::stderr(), "SKIPPED: {what}").expect("stderr is there");
}
