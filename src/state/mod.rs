//! What a pipeline remembers of each key: folds over the events of one log, erased to bytes here and known by type nowhere else.

mod cache;
pub mod dialogue;
mod fold;
mod forgetting;
pub mod in_memory;
mod pick;
pub mod recommend;
pub mod risk;
mod states;

pub use cache::Cache;
pub use fold::{At, Features, Fold, Keys, Stored, StoredError};
pub use forgetting::{CLOCK, Forgetting, Kept, newest_of};
pub use states::{Amount, Facts, States, Step, StoredRow, WrongFacts};
