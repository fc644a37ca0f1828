//! Ledger, buffers, slices, memory budget. Pure: time is an argument, nothing waits here.

mod budget;
mod buffer;
mod ledger;

pub use budget::Budget;
pub use buffer::Buffer;
pub use ledger::{Ending, Ledger, Prefix};
