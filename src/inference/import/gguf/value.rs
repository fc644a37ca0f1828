//! The metadata of a GGUF file: keys and typed values, in memory no more than three times as large as in the file.

use super::super::{Fault, damaged, unsupported};
use std::collections::HashMap;

/// A value, its integers widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
    Bools(Vec<bool>),
    /// A list that nothing here reads; how many elements it has.
    Other(u64),
}

/// Values by key.
#[derive(Debug, Default)]
pub struct Metadata(HashMap<String, Value>);

impl Metadata {
    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<(), Fault> {
        match self.0.insert(key.clone(), value) {
            None => Ok(()),
            Some(_) => Err(damaged(format!("the key `{}` stands twice", short(&key)))),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A text, where the key is there.
    pub fn text(&self, key: &str) -> Result<Option<&str>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "a text")),
        }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong(key, "true or false")),
        }
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(Value::Integer(number)) => Ok(Some(*number as f64)),
            Some(_) => Err(wrong(key, "a finite number")),
        }
    }

    /// A whole number that is not negative and below 2^31.
    pub fn count(&self, key: &str) -> Result<Option<usize>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(number)) if (0..1 << 31).contains(number) => Ok(Some(*number as usize)),
            Some(_) => Err(wrong(key, "a whole number from 0 to 2,147,483,647")),
        }
    }

    /// The same, where the file must have it, and not 0.
    pub fn size(&self, key: &str) -> Result<usize, Fault> {
        match self.count(key)? {
            None => Err(unsupported(format!("it has no `{key}`"))),
            Some(0) => Err(damaged(format!("`{key}` is 0"))),
            Some(count) => Ok(count),
        }
    }

    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(_) => Err(wrong(key, "a list of texts")),
        }
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Floats(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(wrong(key, "a list of 32-bit floats")),
        }
    }

    pub fn integers(&self, key: &str) -> Result<Option<&[i32]>, Fault> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(wrong(key, "a list of 32-bit integers")),
        }
    }
}

fn wrong(key: &str, expected: &str) -> Fault {
    damaged(format!("`{key}` is not {expected}"))
}

/// A key or name of a file, fit for a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}
