//! HTTP: health, metrics, status, functions, and the page that shows them.

mod api;
mod beside;
mod body;
mod connections;
mod foreign;
mod forms;
mod health;
mod look;
mod openapi;
mod operators;
mod page;
mod server;
mod token;
mod version;

pub use api::{Answered, ApiError, Asked, Events, FunctionApi, FunctionDoc, Said, Shape, TRUNCATED};
pub use connections::Connections;
pub use health::{Liveness, Readiness};
pub use look::{
    By, Command, LetterEvent, LetterFound, LettersAsked, LettersCounted, LettersFound, RecordApi, RecordFound, RecordsAsked,
    RecordsFound,
};
#[cfg(test)]
pub(crate) use openapi::document as openapi_of;
pub use operators::{OperatorApi, SwapWish, Wish};
pub use server::{AdminState, serve};
pub use token::AdminToken;
pub use version::{AnsweredBy, Versioned};

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
    /// First offset that the log still has: retention drops what is below it.
    pub start_offset: Option<i64>,
    /// One past the newest record of the log.
    pub end_offset: Option<i64>,
    /// Events between P and the end of the log.
    pub lag_undecided: Option<i64>,
    /// P - K.
    pub lag_unpublished: Option<i64>,
    /// Age of the oldest event that is not decided, by the log's timestamp; 0 where there is none.
    pub lag_seconds: Option<f64>,
    /// The log's timestamp of that event, ms since 1970. Where it is not read: since when the partition is seen behind.
    pub behind_since_ms: Option<i64>,
    /// Who holds it: host, process, and this life of the process.
    pub owner: String,
    /// Not read for now: what was read of it fills its window, the memory budget is full, or an operator has paused it.
    pub waits: bool,
    /// S: what the log has from here on is folded again by the next claim, so it must be kept; `None` in a pipeline that remembers nothing.
    pub fold_from: Option<i64>,
    /// Memory of the states of keys that are at hand; `None` in a pipeline that remembers nothing.
    pub state_bytes: Option<usize>,
    pub epoch: Option<i64>,
    /// Why it stopped and what to do.
    pub halted: Option<String>,
    /// Who has paused it, why, and since when.
    pub paused: Option<Paused>,
    /// The version that scores the next event, and its canary; `None` before the first swap.
    pub version: Option<InForce>,
    /// Why it is not at the version that is wanted, or stands for want of one.
    pub waits_for: Option<String>,
}

/// The version of a pipeline that is in force in a partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InForce {
    pub version: String,
    pub canary: Option<String>,
    /// The share of the keys that the canary has.
    pub share: Option<f64>,
    /// The first offset for which it is in force.
    pub from_offset: i64,
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

impl PartitionStatus {
    /// As it is now: what waits grows older whether or not somebody tells.
    fn at(mut self, now_ms: i64) -> Self {
        if let Some(since) = self.behind_since_ms {
            self.lag_seconds = Some(now_ms.saturating_sub(since).max(0) as f64 / 1000.0);
        }
        self
    }
}

impl StatusBoard {
    /// Replaces what is known of a pipeline; partitions are named `topic/partition`.
    pub fn replace(&self, pipeline: &str, partitions: BTreeMap<String, PartitionStatus>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pipeline.into(), partitions);
    }

    pub fn of(&self, pipeline: &str) -> BTreeMap<String, PartitionStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pipeline).cloned().unwrap_or_default()
    }

    pub fn snapshot(&self) -> BTreeMap<String, BTreeMap<String, PartitionStatus>> {
        let (mut all, now_ms) =
            (self.0.lock().unwrap_or_else(PoisonError::into_inner).clone(), jiff::Timestamp::now().as_millisecond());
        for status in all.values_mut().flat_map(BTreeMap::values_mut) {
            *status = std::mem::take(status).at(now_ms);
        }
        all
    }
}
