//! Recommendation signals: one fold over the events of users and items.
//!
//! Times are event times, sums decay forward (`forward`), what is kept of a key is capped, and states are written canonically
//! (`bytes`). `step` says which keys an event touches; `score` what a signal makes of them; `blend` makes one list.

mod answer;
mod blend;
pub(super) mod bytes;
mod facts;
mod forward;
mod id;
mod item;
mod ranking;
mod score;
mod shelf;
mod state;
mod step;
#[cfg(test)]
pub(super) mod tests;
mod user;
mod view;

pub use answer::FEATURES;
pub use blend::{Blend, Fallback, Scored};
pub use facts::Facts;
pub use id::{Id, QuickBuild};
pub use state::State;
pub use step::RecommendFold;
pub use view::View;
