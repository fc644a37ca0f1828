//! A simple comparison: `amount > 100`, `kind == "refund"`, `card_present == true`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;

/// Of a field with a constant. A field that is not there, null or of another type compares as false.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub field: String,
    pub comparison: Comparison,
    pub operand: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Number(f64),
    Text(String),
    Flag(bool),
}

/// Two signs before one.
const SIGNS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Filter {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let help = "a filter is written as FIELD SIGN VALUE, for example \"amount > 100\" or \"kind == 'refund'\"";
        let place = text.find(['=', '!', '<', '>']).ok_or(help)?;
        let (field, rest) = text.split_at(place);
        let (sign, comparison) = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or(help)?;
        let (field, value) = (field.trim(), rest[sign.len()..].trim());
        let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let operand = match (value, quoted('"').or_else(|| quoted('\''))) {
            (_, Some(text)) => Operand::Text(text.into()),
            ("true", _) => Operand::Flag(true),
            ("false", _) => Operand::Flag(false),
            (number, _) => Operand::Number(number.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(help)?),
        };
        let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        match (field, &operand) {
            ("", _) => Err(help),
            (_, Operand::Flag(_) | Operand::Text(_)) if ordered => Err("texts and flags are compared with == and != only"),
            _ => Ok(Self { field: field.into(), comparison, operand }),
        }
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison).map_or("", |(sign, _)| sign);
        match &self.operand {
            Operand::Number(number) => write!(f, "{} {sign} {number}", self.field),
            Operand::Text(text) => write!(f, "{} {sign} {text:?}", self.field),
            Operand::Flag(flag) => write!(f, "{} {sign} {flag}", self.field),
        }
    }
}

impl JsonSchema for Filter {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "comparison" })
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}
