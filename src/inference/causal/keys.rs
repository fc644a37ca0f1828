//! Reads single keys of a config.json. A key that is absent, `null` or of another type is told by its name.

use serde_json::{Map, Value};

/// A `config.json`, or an object inside it.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    map: &'a Map<String, Value>,
    /// What stands before a name in messages: empty, or `rope_scaling.`.
    place: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn new(value: &'a Value, place: &'a str) -> Result<Self, String> {
        match value.as_object() {
            Some(map) => Ok(Self { map, place }),
            None => Err(format!("{} is {value}, not an object", if place.is_empty() { "config.json" } else { place })),
        }
    }

    /// The value of a key that is present and not `null`.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the key stands there, be it as `null`.
    pub(super) fn has(self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    pub(super) fn wrong(self, name: &str, what: &str) -> String {
        match self.map.get(name) {
            Some(value) => format!("{}{name} is {value}; {what}", self.place),
            None => format!("{}{name} is absent; {what}", self.place),
        }
    }

    /// A key whose absence must not be filled in, since the answer depends on it.
    fn required(self, name: &str) -> Result<&'a Value, String> {
        self.get(name).ok_or_else(|| self.wrong(name, "it changes what the network computes and must be given"))
    }

    /// A size of at least one, and small enough that products of sizes do not overflow.
    pub(super) fn size(self, name: &str) -> Result<usize, String> {
        let value = self.required(name)?.as_u64().filter(|n| (1..=1 << 28).contains(n));
        value.map(|n| n as usize).ok_or_else(|| self.wrong(name, "a whole number from 1 to 2^28 is expected"))
    }

    /// A number of layers or heads; more than any network has would only ask for memory.
    pub(super) fn count(self, name: &str) -> Result<usize, String> {
        self.size(name)
            .ok()
            .filter(|n| *n <= 1 << 12)
            .map_or_else(|| Err(self.wrong(name, "a whole number from 1 to 4096 is expected")), Ok)
    }

    pub(super) fn optional_size(self, name: &str) -> Result<Option<usize>, String> {
        self.get(name).map(|_| self.size(name)).transpose()
    }

    /// A finite number above zero.
    pub(super) fn positive(self, name: &str) -> Result<f32, String> {
        let value = self.required(name)?.as_f64().map(|n| n as f32).filter(|n| n.is_finite() && *n > 0.0);
        value.ok_or_else(|| self.wrong(name, "a number above 0 is expected"))
    }

    /// A part of a whole, above 0 and at most 1, in the precision in which sizes are derived from it.
    pub(super) fn optional_share(self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let share = value.as_f64().filter(|n| *n > 0.0 && *n <= 1.0);
        share.map(Some).ok_or_else(|| self.wrong(name, "a number above 0 and at most 1 is expected"))
    }

    pub(super) fn optional_positive(self, name: &str) -> Result<Option<f32>, String> {
        self.get(name).map(|_| self.positive(name)).transpose()
    }

    /// A finite number above 0 in double precision; 0 is taken as absent.
    pub(super) fn measure(self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|n| n.is_finite() && *n >= 0.0) {
            Some(number) => Ok(Some(number).filter(|n| *n > 0.0)),
            None => Err(self.wrong(name, "a number above 0 is expected")),
        }
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, String> {
        self.required(name)?.as_str().ok_or_else(|| self.wrong(name, "a text is expected"))
    }

    /// A switch that every version of the family takes as `absent` when it is not given.
    pub(super) fn switch(self, name: &str, absent: bool) -> Result<bool, String> {
        match self.get(name) {
            None => Ok(absent),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, "true or false is expected")),
        }
    }

    /// A number that may be `null`, but must be said.
    pub(super) fn said(self, name: &str) -> Result<Option<f32>, String> {
        if !self.has(name) {
            return Err(self.wrong(name, "it changes what the network computes and must be given, be it as null"));
        }
        self.optional_positive(name)
    }
}
