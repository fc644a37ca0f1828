//! What the function needs of the event itself, beside its features.

use crate::config::risk::{Filter, Options};
use crate::event::{Event, Rejection, at};
use crate::function::passed;
use crate::state::risk::holds;
use serde_json::Value;

#[derive(Debug, Default)]
pub struct Payload {
    /// For `pass_event`.
    pub event: Option<Value>,
    /// For `output_key`.
    pub key: Option<Box<str>>,
    /// Kind and value, for the lists.
    pub entities: Vec<(String, String)>,
}

impl Payload {
    /// `None` for an event for which `when` does not hold. `entities` are dotted paths; one that the event lacks is left out.
    pub fn read<'a>(
        event: &Event,
        options: &Options,
        when: Option<&Filter>,
        entities: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Self>, Rejection> {
        let mut entities = entities.into_iter().peekable();
        if !options.pass_event && options.output_key.is_none() && when.is_none() && entities.peek().is_none() {
            return Ok(Some(Self::default()));
        }
        let tree = passed::tree(event)?;
        if when.is_some_and(|when| !at(&tree, &when.field).is_some_and(|value| holds(when, &value.to_string()))) {
            return Ok(None);
        }
        let entities = entities.filter_map(|path| Some((path.to_owned(), passed::name(at(&tree, path)?)?))).collect();
        let key = options.output_key.as_deref().map(|path| passed::key([(path, at(&tree, path))])).transpose()?;
        let event = options.pass_event.then(|| passed::whole(tree)).transpose()?;
        Ok(Some(Self { event, key, entities }))
    }
}
