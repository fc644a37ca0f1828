//! Which message is to be answered, and what fills the placeholders of its answers.

use super::past::Past;
use super::slots;
use crate::event::{Rejection, wrong};
use crate::function::Input;
use crate::function::fields::Fields;
use crate::function::task::check_list;
use crate::inference::template;
use std::collections::BTreeMap;

/// Roles of a conversation that are the customer's.
const CUSTOMER: [&str; 2] = ["user", "customer"];

/// A customer's message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    /// Values by the placeholders that they fill.
    pub values: BTreeMap<String, String>,
    /// Which of `messages` it is, when it came so.
    pub(super) place: Option<usize>,
    /// The event that it came with.
    pub(super) id: Box<str>,
    pub(super) time_ms: i64,
    /// What came before it, in a pipeline that remembers conversations.
    pub(super) past: Option<Past>,
    /// What is read instead of the text alone, and with how many earlier messages.
    pub(super) query: Option<(String, usize)>,
}

impl Message {
    /// The same with a value for a placeholder.
    pub fn with(mut self, placeholder: impl Into<String>, value: impl Into<String>) -> Self {
        self.values.insert(placeholder.into(), value.into());
        self
    }
}

impl<T: AsRef<str>> From<T> for Message {
    fn from(text: T) -> Self {
        Self { text: text.as_ref().to_owned(), ..Self::default() }
    }
}

/// The event's `text`; without one, the last of its `messages` (`role`, `content`) that is the customer's. One of fewer words than
/// `context_words` is read with those before it.
pub fn read(fields: &Fields<'_>, placeholders: &BTreeMap<String, String>, context_words: usize) -> Result<Message, Rejection> {
    let last = last(fields)?;
    let (text, place) = match (fields.optional("text")?, last) {
        (Some(text), _) => (text, None),
        (None, Some(Some((place, text)))) => (text, Some(place)),
        (None, Some(None)) => {
            let detail = format!("none of the messages is the customer's; its role must be {}", CUSTOMER.join(" or "));
            return Err(Rejection::new("missing_field", detail).at("messages"));
        }
        (None, None) => (fields.text("text")?, None),
    };
    let value = |(name, path): (&String, &String)| Some((name.clone(), slots::value(fields.at(path)?)?));
    let Input { event, features } = fields.input();
    let past = Past::of(features.as_ref());
    let query = past.as_ref().and_then(|past| past.in_context(&text, context_words));
    let values = placeholders.iter().filter_map(value).collect();
    Ok(Message { text, values, place, id: event.id.clone(), time_ms: event.event_time_ms, past, query })
}

/// The customer's last message with its place, if there are messages at all.
fn last(fields: &Fields<'_>) -> Result<Option<Option<(usize, String)>>, Rejection> {
    let Some(messages) = fields.value("messages") else { return Ok(None) };
    let expected = "a list of objects with `role` and `content`, both texts";
    let read: Vec<template::Message> =
        serde_json::from_value(messages.clone()).map_err(|_| wrong("messages", messages, expected))?;
    check_list("messages", read.len())?;
    let of_customer = |(_, message): &(usize, template::Message)| CUSTOMER.contains(&message.role.as_str());
    let last = read.into_iter().enumerate().rfind(of_customer);
    Ok(Some(last.map(|(place, message)| (place, message.content))))
}
