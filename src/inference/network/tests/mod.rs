//! Each family and head against what transformers answers (`tests/fixtures/encoders`).

mod files;
mod parity;
mod plans;
mod refusals;
mod whole;
