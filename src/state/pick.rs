//! Chosen members of a JSON object as they are written, without reading what they hold.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members that are named, in the order of the names. Of a name that stands twice the last one counts. `None` when the text is
/// no JSON object.
pub fn pick<'t>(text: &'t str, names: &[Box<str>]) -> Option<Vec<Option<&'t RawValue>>> {
    let mut from = serde_json::Deserializer::from_str(text);
    let picked = from.deserialize_map(Members(names)).ok()?;
    from.end().ok()?;
    Some(picked)
}

/// The value at a dotted path through objects, as it is written. `None` when it is not there, or null.
pub fn find<'t>(text: &'t str, path: &str) -> Option<&'t str> {
    let found = path.split('.').try_fold(text, |text, name| Some(pick(text, &[name.into()])?.first().copied()??.get()));
    found.filter(|text| *text != "null")
}

struct Members<'n>(&'n [Box<str>]);

impl<'t> Visitor<'t> for Members<'_> {
    type Value = Vec<Option<&'t RawValue>>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = vec![None; self.0.len()];
        while let Some(place) = map.next_key_seed(Place(self.0))? {
            match place {
                Some(place) => picked[place] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

/// Where a member's name stands among the chosen ones.
struct Place<'n>(&'n [Box<str>]);

impl<'t> DeserializeSeed<'t> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|chosen| **chosen == *name))
    }
}
