//! The task functions: stateless, called for many slices at once. One file a function.

pub mod answer;
pub mod api;
mod chars;
pub mod classify;
mod control;
pub mod copy;
pub mod embed;
pub mod example;
mod fields;
pub mod fill;
pub mod generate;
pub mod halve;
pub mod model;
pub mod offline;
mod one;
pub mod options;
mod passed;
pub mod recommend;
pub mod reply;
pub mod requests;
pub mod rerank;
mod rewrite;
pub mod risk;
pub mod schema;
pub mod sentiment;
pub mod similar;
pub mod summarize;
mod table;
pub mod tag;
pub mod task;
#[cfg(test)]
mod tests;
mod texts;
pub mod translate;
mod vectors;
mod windows;

pub use table::{TEXT_FUNCTIONS, text_function};

use crate::event::{Event, Rejection};
use crate::state::Features;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// What a function is, and what it can take.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: &'static str,
    /// Changes when the same input would give another output with the same model.
    pub version: u32,
    /// `name@sha256-prefix` of the model; empty for functions without one.
    pub model: String,
    pub limits: Limits,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Events a slice at most.
    pub slice: usize,
    /// Slices in work at the same time.
    pub calls_in_flight: usize,
    /// A call that takes longer is stuck: the worker exits with a code.
    pub timeout: Duration,
}

/// What a function scores.
#[derive(Debug, Clone)]
pub struct Input {
    pub event: Event,
    /// What the pipeline's fold says of the event; `None` in a pipeline without one.
    pub features: Option<Features>,
}

impl Input {
    /// An event that no fold has seen.
    pub fn plain(event: Event) -> Self {
        Self { event, features: None }
    }
}

/// The ending that a function gives one input.
#[derive(Debug, Clone)]
pub enum Outcome {
    Emit(Vec<Prediction>),
    /// Nothing to say about this event; counted, neither stored nor published. The word is fit for a metric label.
    Skip(&'static str),
    Reject(Rejection),
}

#[derive(Debug, Clone)]
pub struct Prediction {
    /// Overrides the event's key when set.
    pub key: Option<Box<str>>,
    /// The function's own fields; joined with id, pipeline, source and so on when the record is encoded.
    pub fields: serde_json::Map<String, serde_json::Value>,
    pub label: Option<Box<str>>,
    /// Must be finite: a score that is not is treated as poison.
    pub score: Option<f64>,
    /// `name@digest` of the model that made it, when it is not the pipeline's own.
    pub model: Option<Arc<str>>,
}

/// Why a whole call failed, and so what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Call again with the same slice, after a back-off.
    #[error("transient: {0}")]
    Transient(String),
    /// One of the inputs does this: halve the slice until it is known.
    #[error("poison: {0}")]
    Poison(String),
    /// The inputs cost more together than one call may take: halve the slice.
    #[error("too much for one call: {0}")]
    TooMuch(String),
    /// Stop the pipeline.
    #[error("fatal: {0}")]
    Fatal(String),
}

/// A task function. One outcome an input, in the same order.
pub trait Function: Send + Sync {
    fn spec(&self) -> &Spec;
    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>>;

    /// Labels that its predictions may have and that are known before any event comes: those of its model, of its options, of its own words.
    /// Metrics and pages show these by name, and all others as `other`: they may hold what an event said.
    fn labels(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether a call whose future is dropped ends its work at once, or nearly so.
    fn gives_up(&self) -> bool {
        false
    }

    /// What it can do for one who asks off the stream; `None` for functions that take neither parameters nor other shapes.
    fn requests(&self) -> Option<&dyn requests::Requests> {
        None
    }
}
