//! Dotted paths into an event of which only the members that they start with are read.

use crate::event::{Rejection, at, missing};
use serde_json::Value;

/// A dotted path: which of the names it starts with, and what follows.
#[derive(Debug)]
pub struct Path {
    pub whole: String,
    name: usize,
    rest: Option<String>,
}

impl Path {
    pub fn new(whole: &str, names: &mut Vec<Box<str>>) -> Self {
        let (first, rest) = whole.split_once('.').map_or((whole, None), |(first, rest)| (first, Some(rest)));
        let name = names.iter().position(|name| **name == *first).unwrap_or_else(|| {
            names.push(first.into());
            names.len() - 1
        });
        Self { whole: whole.into(), name, rest: rest.map(Into::into) }
    }

    /// The value, where there is one.
    pub fn look<'a>(&self, picked: &'a [Option<Value>]) -> Option<&'a Value> {
        let value = picked.get(self.name).and_then(Option::as_ref);
        match &self.rest {
            Some(rest) => value.and_then(|value| at(value, rest)),
            None => value,
        }
    }

    pub fn find<'a>(&self, picked: &'a [Option<Value>]) -> Result<&'a Value, Rejection> {
        self.look(picked).ok_or_else(|| missing(&self.whole))
    }
}
