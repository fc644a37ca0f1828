//! From the name of a model to its folder.

use super::Error;
use crate::hub::{Found, Places};

/// A folder, the name of one in the places for models, or `org/name@revision` in a hub's cache; nothing is fetched. See
/// [`Places`].
pub fn find(model: &str) -> Result<Found, Error> {
    Places::of_process().find(model).map_err(|missing| Error::NotFound(Box::new(missing)))
}
