//! A length of event time, written as a number and a unit: `90s`, `30m`, `6h`, `1d`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;

/// A length of event time, milliseconds; more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

/// Longest first: the unit in which a span is written is the longest that divides it.
const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
/// A hundred years.
const LONGEST_MS: i64 = 36_525 * 86_400_000;

impl Span {
    pub const fn days(days: i64) -> Self {
        Self(days * 86_400_000)
    }

    pub const fn minutes(minutes: i64) -> Self {
        Self(minutes * 60_000)
    }

    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }

    pub fn ms(self) -> i64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, number, unit) = UNITS.iter().find_map(|(name, unit)| Some((name, text.strip_suffix(name)?, unit)))?;
        let ms = number.trim().parse::<i64>().ok()?.checked_mul(*unit)?;
        (1..=LONGEST_MS).contains(&ms).then_some(Self(ms))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.0 % unit == 0);
        let (name, unit) = whole.unwrap_or(&UNITS[3]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| "a time is written as a whole number with s, m, h or d, for example 30m".to_owned())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a time is written as a whole number with s, m, h or d, for example \"30m\""))
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "span", "pattern": "^[0-9]+ *[smhd]$" })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}
