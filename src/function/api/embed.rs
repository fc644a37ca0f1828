//! Vectors in one line.

use super::build::policy;
use super::{CallError, Error, block};
use crate::function::Function;
use crate::function::embed::Embedding;
use crate::function::options::TooLong;
use crate::function::task::{TextFunction, check};
use crate::function::texts::TextOptions;
use crate::function::vectors::vectors;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A model that embeds.
#[derive(Clone)]
pub struct Embedder(pub(super) Arc<TextFunction<Embedding>>);

impl Embedder {
    /// The same model with an option of `embed` by its name in the configuration, such as `prompt` or `dimensions`.
    pub fn option(self, name: &str, value: impl Into<Value>) -> Result<Self, Error> {
        let parameters = Map::from_iter([(name.to_owned(), value.into())]);
        let changed = self.0.changed(&parameters).map_err(|error| Error::Options(error.message))?;
        Ok(Self(Arc::new(changed)))
    }

    /// The same model, which does so with a text that is too long.
    pub fn too_long(self, too_long: TooLong) -> Result<Self, Error> {
        self.option("too_long", policy(too_long))
    }

    /// The vector of one text, of length 1.
    pub fn call(&self, text: &str) -> Result<Vec<f32>, Error> {
        let mut vectors = self.call_batch([text])?;
        vectors.pop().ok_or_else(|| CallError::Fatal("the model gave no answer".to_owned()).into())
    }

    /// The vector of each text, in order. Their end is cut off where they are longer than the model sees, unless an option says otherwise.
    pub fn call_batch<T: AsRef<str>>(&self, texts: impl IntoIterator<Item = T>) -> Result<Vec<Vec<f32>>, Error> {
        let texts: Vec<String> = texts.into_iter().map(|text| text.as_ref().to_owned()).collect();
        let limits = TextOptions::default();
        let refused = |(index, rejection)| Error::Input { index, rejection };
        for (index, text) in texts.iter().enumerate() {
            check(&limits, &[("text", None, text)]).map_err(|rejection| refused((index, rejection)))?;
        }
        let (encoder, how) = self.0.task().parts();
        let found = block::on(vectors(encoder, texts, how))?;
        let one = |(index, of): (usize, Result<Arc<_>, _>)| match of {
            Ok(of) => Ok(crate::function::vectors::Vectors::whole(&of, how)),
            Err(rejection) => Err(refused((index, rejection))),
        };
        found.into_iter().enumerate().map(one).collect()
    }

    /// `name@digest12` of the model.
    pub fn model(&self) -> &str {
        &self.0.spec().model
    }
}
