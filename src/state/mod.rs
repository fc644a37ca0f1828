//! What a pipeline remembers of each key: folds over the events of one log, erased to bytes here and known by type nowhere else.

mod fold;
pub mod in_memory;
pub mod recommend;

pub use fold::{At, Features, Fold, Keys, Stored, StoredError};
