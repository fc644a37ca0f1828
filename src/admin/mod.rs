//! HTTP: health, metrics, status, functions.

mod api;
mod body;
mod connections;
mod forms;
mod health;
mod look;
mod openapi;
mod operators;
mod server;
mod token;

pub use api::{Answered, ApiError, Events, FunctionApi, FunctionDoc, Said, Shape, TRUNCATED};
pub use connections::Connections;
pub use health::{Liveness, Readiness};
pub use look::{
    By, Command, LetterEvent, LetterFound, LettersAsked, LettersCounted, LettersFound, RecordApi, RecordFound, RecordsAsked,
    RecordsFound,
};
#[cfg(test)]
pub(crate) use openapi::document as openapi_of;
pub use operators::{OperatorApi, Wish};
pub use server::{AdminState, serve};
pub use token::AdminToken;

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What `/status` says of one partition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartitionStatus {
    pub state: String,
    /// P: all below is decided.
    pub next_offset: Option<i64>,
    /// K: all below is published.
    pub committed_offset: Option<i64>,
    /// One past the newest record of the log.
    pub end_offset: Option<i64>,
    /// Events between P and the end of the log.
    pub lag_undecided: Option<i64>,
    /// P - K.
    pub lag_unpublished: Option<i64>,
    pub epoch: Option<i64>,
    /// Why it stopped and what to do.
    pub halted: Option<String>,
    /// Who has paused it, why, and since when.
    pub paused: Option<Paused>,
}

/// A pause by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Paused {
    pub by: String,
    pub reason: String,
    /// RFC 3339.
    pub since: String,
}

/// Status by pipeline, then `topic/partition`. Holds what the rooms last said.
#[derive(Debug, Default)]
pub struct StatusBoard(Mutex<BTreeMap<String, BTreeMap<String, PartitionStatus>>>);

impl StatusBoard {
    /// Replaces what is known of a pipeline; partitions are named `topic/partition`.
    pub fn replace(&self, pipeline: &str, partitions: BTreeMap<String, PartitionStatus>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pipeline.into(), partitions);
    }

    pub fn of(&self, pipeline: &str) -> BTreeMap<String, PartitionStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pipeline).cloned().unwrap_or_default()
    }

    pub fn snapshot(&self) -> BTreeMap<String, BTreeMap<String, PartitionStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
