//! A causal model in one line.

use super::{CallError, Error, block, find};
use crate::function::Function;
use crate::function::generate::{Generate, Generated};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A model that goes on with texts, or answers conversations.
#[derive(Clone)]
pub struct Generator(Arc<Generate>);

impl Generator {
    pub(super) fn open(model: &str) -> Result<Self, Error> {
        let writer = Generate::open(&find::find(model)?.folder)?;
        Ok(Self(Arc::new(Generate::new(writer, &Map::new()).map_err(Error::Options)?)))
    }

    /// The same model with an option by its name in the configuration, such as `max_new_tokens`, `temperature` or `labels`.
    pub fn option(self, name: &str, value: impl Into<Value>) -> Result<Self, Error> {
        let parameters = Map::from_iter([(name.to_owned(), value.into())]);
        let changed = self.0.changed(&parameters).map_err(|error| Error::Options(error.message))?;
        Ok(Self(Arc::new(changed)))
    }

    /// Goes on with a text; a model with a chat template answers it.
    pub fn call(&self, text: &str) -> Result<Generated, Error> {
        self.each(&[json!({ "text": text })])?.pop().ok_or_else(missing)
    }

    /// The same for several texts, which are written together; in order.
    pub fn call_batch<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) -> Result<Vec<Generated>, Error> {
        let texts: Vec<Value> = texts.into_iter().map(|text| json!({ "text": text.as_ref() })).collect();
        self.each(&texts)
    }

    /// Answers a conversation: messages with their role (`system`, `user`, `assistant`) and what was said.
    pub fn chat<'a>(&self, messages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Generated, Error> {
        let message = |(role, content): (&str, &str)| json!({ "role": role, "content": content });
        let messages: Vec<Value> = messages.into_iter().map(message).collect();
        self.each(&[json!({ "messages": messages })])?.pop().ok_or_else(missing)
    }

    /// `name@digest12` of the model.
    pub fn model(&self) -> &str {
        &self.0.spec().model
    }

    fn each(&self, asked: &[Value]) -> Result<Vec<Generated>, Error> {
        let mut answers = Vec::with_capacity(asked.len());
        let most = self.0.spec().limits.slice;
        for (slice, asked) in asked.chunks(most).enumerate() {
            let one = |(place, asked)| self.0.told(asked, slice * most + place);
            let said = block::on(try_join_all(asked.iter().enumerate().map(one)))?;
            for (place, said) in said.into_iter().enumerate() {
                answers.push(said.map_err(|rejection| Error::Input { index: slice * most + place, rejection })?);
            }
        }
        Ok(answers)
    }
}

fn missing() -> Error {
    CallError::Fatal("the model gave no answer".to_owned()).into()
}
