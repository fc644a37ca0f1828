//! Chosen members of a JSON object, without a tree of the rest. What is not chosen is read as strictly as what is: a text that
//! does not parse into a tree is refused here too, with the same words.

use super::Rejection;
use super::fields::object;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The members of the object in `text` that are named, in the order of the names; `None` for those that are not there. Of a name
/// that stands twice the last one counts.
pub fn pick(text: &str, names: &[Box<str>]) -> Result<Vec<Option<Value>>, Rejection> {
    let mut from = serde_json::Deserializer::from_str(text);
    let picked = Members(names).deserialize(&mut from);
    match picked.and_then(|picked| from.end().map(|()| picked)) {
        Ok(picked) => Ok(picked),
        // The tree names what is wrong.
        Err(_) => object(text).map(|tree| names.iter().map(|name| tree.get(&**name).cloned()).collect()),
    }
}

struct Members<'n>(&'n [Box<str>]);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Vec<Option<Value>>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Option<Value>>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = vec![None; self.0.len()];
        while let Some(place) = map.next_key_seed(Place(self.0))? {
            match place {
                Some(place) => picked[place] = Some(map.next_value()?),
                None => {
                    map.next_value::<Passed>()?;
                }
            }
        }
        Ok(picked)
    }
}

/// Where a member's name stands among the chosen ones.
struct Place<'n>(&'n [Box<str>]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|chosen| **chosen == *name))
    }
}

/// Any value, looked at as closely as if it were kept, and dropped.
struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Passed)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Passed;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E: Error>(self) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Passed, E> {
        Ok(Passed)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Passed, A::Error> {
        while items.next_element::<Passed>()?.is_some() {}
        Ok(Passed)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Passed, A::Error> {
        while map.next_entry::<Passed, Passed>()?.is_some() {}
        Ok(Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Box<str>> {
        ["a", "b", "é"].map(Into::into).to_vec()
    }

    /// What it was before there was a `pick`: a tree, and a look into it.
    fn from_tree(text: &str) -> Result<Vec<Option<Value>>, Rejection> {
        object(text).map(|tree| names().iter().map(|name| tree.get(&**name).cloned()).collect())
    }

    /// Would catch: a lenient way past what is not chosen, the first of two members instead of the last, names with escapes.
    #[test]
    fn a_pick_equals_a_look_into_the_tree() {
        for text in [
            r#"{"a":1,"b":{"c":[1,"x"]},"z":null}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"\u0061":1,"\u00e9":"\ud83d\ude02"}"#,
            r#"{"z":1e999}"#,
            r#"{"z":"\ud800"}"#,
            r#"{"z":[{"y":1e999}]}"#,
            r#"{"a":1} x"#,
            r#"{"a":1,}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"\ud800":1}"#,
            "[1]",
            "\"a\"",
            "7",
            "",
            "{",
        ] {
            assert_eq!(pick(text, &names()), from_tree(text), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_pick_of_anything_equals_a_look_into_the_tree(text in "[{}\\[\\]\":,ab01.e\\\\u -]{0,40}", tail in "(\"[abz]\":[0-9a-f\"{}\\[\\],.e+-]{1,8},?){0,4}") {
            for text in [text, format!("{{{tail}}}")] {
                proptest::prop_assert_eq!(pick(&text, &names()), from_tree(&text));
            }
        }
    }
}
