//! Requests that name no version, of pipelines without any, for tests.

use super::{Functions, Shelf};
use crate::admin::{ApiError, Asked, Events, FunctionApi, Said, Shape};
use crate::function::Function;
use crate::function::offline::Offline;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;

fn of(name: &str) -> Asked<'_> {
    Asked { name, version: None }
}

impl Functions {
    pub fn add_plain(&self, pipeline: &str, function: Arc<dyn Function>, offline: Arc<dyn Offline>) {
        self.add(pipeline, function, offline, Arc::new(Shelf::plain(pipeline)));
    }

    pub fn call<'a>(&'a self, name: &'a str, input: Value, shape: Shape) -> BoxFuture<'a, Result<Value, ApiError>> {
        async move { Ok(self.answer(of(name), input, shape).await?.answer.body) }.boxed()
    }

    pub async fn embedded(&self, input: Value) -> Result<Value, ApiError> {
        Ok(self.embeddings(None, input).await?.answer.body)
    }

    pub async fn said(&self, input: Value) -> Result<Said, ApiError> {
        Ok(self.chat(None, input).await?.answer)
    }

    pub async fn streamed(&self, name: &str, input: Value, shape: Shape) -> Result<Events, ApiError> {
        Ok(self.stream(of(name), input, shape).await?.answer)
    }
}
