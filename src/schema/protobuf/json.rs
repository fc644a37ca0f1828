//! A message as JSON. This crate's own writer: the same message gives the same bytes each time (keys of maps are sorted), and an `Any` that
//! cannot be unpacked does not cost the event. What is one string or number goes through the library.

use super::packed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, SerializeOptions, Value};
use serde::Serialize;
use std::io::Write;

/// Text that does not grow beyond its limit.
pub struct Bounded {
    pub text: Vec<u8>,
    pub most: usize,
    pub full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            self.full = true;
            return Err(std::io::Error::other("full"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// It does not fit, or has no JSON. What the library says of it may quote the value.
#[derive(Debug)]
pub struct Unwritten;

impl From<std::io::Error> for Unwritten {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl From<serde_json::Error> for Unwritten {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

type Written = Result<(), Unwritten>;

/// As deep as the message nests, which was bounded before.
pub fn message(out: &mut Bounded, of: &DynamicMessage) -> Written {
    let descriptor = of.descriptor();
    let name = descriptor.full_name();
    if name == "google.protobuf.Any" {
        return any(out, of);
    }
    if is_well_known(name) {
        return well_known(out, of);
    }
    out.write_all(b"{")?;
    fields(out, of, true)?;
    Ok(out.write_all(b"}")?)
}

/// Types that proto3's mapping writes in a way of their own.
fn is_well_known(name: &str) -> bool {
    let Some(name) = name.strip_prefix("google.protobuf.") else { return false };
    let wrapper =
        |name: &str| matches!(name, "Double" | "Float" | "Int32" | "Int64" | "UInt32" | "UInt64" | "Bool" | "String" | "Bytes");
    matches!(name, "Any" | "Timestamp" | "Duration" | "Struct" | "Value" | "ListValue" | "FieldMask" | "Empty")
        || name.strip_suffix("Value").is_some_and(wrapper)
}

fn well_known(out: &mut Bounded, of: &DynamicMessage) -> Written {
    let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
    Ok(of.serialize_with_options(&mut serde_json::Serializer::new(out), &options)?)
}

/// What has no presence shows with its zero.
fn fields(out: &mut Bounded, of: &DynamicMessage, mut first: bool) -> Written {
    for field in of.descriptor().fields() {
        if of.has_field(&field) || !field.supports_presence() {
            name(out, field.json_name(), std::mem::take(&mut first))?;
            value(out, &of.get_field(&field), &field.kind())?;
        }
    }
    for (extension, set) in of.extensions() {
        name(out, extension.json_name(), std::mem::take(&mut first))?;
        value(out, set, &extension.kind())?;
    }
    Ok(())
}

fn name(out: &mut Bounded, name: &str, first: bool) -> Written {
    if !first {
        out.write_all(b",")?;
    }
    text(out, name)?;
    Ok(out.write_all(b":")?)
}

fn text(out: &mut Bounded, value: impl Serialize) -> Written {
    Ok(serde_json::to_writer(out, &value)?)
}

fn value(out: &mut Bounded, of: &Value, kind: &Kind) -> Written {
    match of {
        Value::Bool(value) => text(out, value),
        Value::I32(value) => text(out, value),
        Value::I64(value) => text(out, value),
        Value::U32(value) => text(out, value),
        Value::U64(value) => text(out, value),
        Value::F32(value) => float(out, f64::from(*value), value),
        Value::F64(value) => float(out, *value, value),
        Value::String(value) => text(out, value),
        Value::Bytes(value) => text(out, STANDARD.encode(value)),
        Value::EnumNumber(number) => symbol(out, *number, kind),
        Value::Message(of) => message(out, of),
        Value::List(values) => {
            out.write_all(b"[")?;
            for (index, of) in values.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                value(out, of, kind)?;
            }
            Ok(out.write_all(b"]")?)
        }
        Value::Map(values) => {
            let kind = kind.as_message().filter(|entry| entry.is_map_entry()).ok_or(Unwritten)?.map_entry_value_field().kind();
            let mut sorted: Vec<(&MapKey, &Value)> = values.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            out.write_all(b"{")?;
            for (index, (key, of)) in sorted.into_iter().enumerate() {
                name(out, &key_text(key), index == 0)?;
                value(out, of, &kind)?;
            }
            Ok(out.write_all(b"}")?)
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// What JSON has no number for is a string.
fn float(out: &mut Bounded, wide: f64, number: impl Serialize) -> Written {
    match wide {
        wide if wide.is_finite() => text(out, number),
        wide if wide.is_nan() => text(out, "NaN"),
        wide if wide > 0.0 => text(out, "Infinity"),
        _ => text(out, "-Infinity"),
    }
}

/// A number that the schema has no name for stays a number.
fn symbol(out: &mut Bounded, number: i32, kind: &Kind) -> Written {
    let known = kind.as_enum().ok_or(Unwritten)?;
    match known.get_value(number) {
        _ if known.full_name() == "google.protobuf.NullValue" => text(out, ()),
        Some(symbol) => text(out, symbol.name()),
        None => text(out, number),
    }
}

/// What is packed, with its type; its bytes where the schema has not the type or they are none of it; nothing where nothing is.
fn any(out: &mut Bounded, of: &DynamicMessage) -> Written {
    let field = |number| of.get_field_by_number(number);
    let (Some(kind), Some(bytes)) = (field(1), field(2)) else { return Err(Unwritten) };
    let (kind, bytes) = (kind.as_str().ok_or(Unwritten)?, bytes.as_bytes().ok_or(Unwritten)?);
    if kind.is_empty() && bytes.is_empty() {
        return Ok(out.write_all(b"{}")?);
    }
    out.write_all(b"{")?;
    name(out, "@type", true)?;
    text(out, kind)?;
    match packed(of) {
        Some(inner) if !is_well_known(inner.descriptor().full_name()) => fields(out, &inner, false)?,
        Some(inner) => {
            name(out, "value", false)?;
            message(out, &inner)?;
        }
        None => {
            name(out, "value", false)?;
            text(out, STANDARD.encode(bytes))?;
        }
    }
    Ok(out.write_all(b"}")?)
}
