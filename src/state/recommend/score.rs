//! What each signal says of candidates for one user, now.

mod covisit;
mod interest;
mod popular;
mod sessions;

pub use covisit::covisit;
pub use interest::{interest, nearest};
pub use popular::{in_categories, trending};
pub use sessions::sessions;

use super::id::{Id, QuickBuild};
use std::collections::HashMap;

/// Scores of candidates.
pub type Scores<'a> = HashMap<&'a Id, f64, QuickBuild>;
