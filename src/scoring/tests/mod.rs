//! Tests of the models: against libraries, against brute force, against hostile files.

mod features;
mod fixtures;
mod forests;
mod golden;
mod hostile;
mod layouts;
mod shapley;
mod xgboost;

use super::Model;
use std::path::{Path, PathBuf};

/// A file of `tests/fixtures/scoring`; `make.py` beside them wrote them.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scoring").join(name)
}

/// What is said of bytes that are no model.
fn refusal(bytes: &[u8]) -> String {
    Model::parse(bytes).expect_err("it was read").to_string()
}
