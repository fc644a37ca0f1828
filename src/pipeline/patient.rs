//! A store that always answers: a statement whose reply does not come in time counts as one without an answer.
//!
//! The server bounds its own work. A server that has gone silent, or a connection that was dropped without a word, bounds
//! nothing, and the client library waits as long as TCP does.

use crate::event::TopicPartition;
use crate::record::{Mode, Provenance, Record};
use crate::store::{Advance, Head, Heads, PartitionKey, PartitionRow, Pause, Rows, StateRow, Store, StoreError, Swap, Taken};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Waits for each reply as long as `patience`.
pub struct Patient {
    pub inner: Arc<dyn Store>,
    pub patience: Duration,
}

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

impl Patient {
    fn wait<'a, T: Send + 'a>(&self, reply: Reply<'a, T>) -> Reply<'a, T> {
        let patience = self.patience;
        async move {
            tokio::time::timeout(patience, reply)
                .await
                .unwrap_or_else(|_| Err(StoreError::Transient(format!("Postgres has not answered within {patience:?}"))))
        }
        .boxed()
    }
}

impl Store for Patient {
    fn current_run<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Option<i32>> {
        self.wait(self.inner.current_run(pipeline))
    }

    fn open<'a>(&'a self, pipeline: &'a str, run: i32, mode: Mode, starts: &'a [(TopicPartition, i64)]) -> Reply<'a, ()> {
        self.wait(self.inner.open(pipeline, run, mode, starts))
    }

    fn partitions<'a>(&'a self, pipeline: &'a str, run: i32, topic: &'a str) -> Reply<'a, Vec<(i32, PartitionRow)>> {
        self.wait(self.inner.partitions(pipeline, run, topic))
    }

    fn claim<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, owner: &'a str) -> Reply<'a, Option<PartitionRow>> {
        self.wait(self.inner.claim(key, claim, owner))
    }

    fn folds_from<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, from: i64) -> Reply<'a, ()> {
        self.wait(self.inner.folds_from(key, claim, from))
    }

    fn read_all<'a>(&'a self, pipeline: &'a str, run: i32, partitions: &'a [TopicPartition], fresh: bool) -> Reply<'a, Rows> {
        self.wait(self.inner.read_all(pipeline, run, partitions, fresh))
    }

    fn suspect<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, offset: i64, times: i32) -> Reply<'a, bool> {
        self.wait(self.inner.suspect(key, claim, offset, times))
    }

    fn decide<'a>(&'a self, provenance: &'a Provenance, round: &'a [Advance]) -> Reply<'a, Vec<TopicPartition>> {
        self.wait(self.inner.decide(provenance, round))
    }

    fn published<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, published_offset: i64, handover: bool) -> Reply<'a, ()> {
        self.wait(self.inner.published(key, claim, published_offset, handover))
    }

    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> Reply<'a, Vec<Record>> {
        self.wait(self.inner.records(key, from, to, after, limit))
    }

    fn heads<'a>(&'a self, pipeline: &'a str, run: i32, topics: &'a [String], mine: &'a [Head]) -> Reply<'a, Heads> {
        self.wait(self.inner.heads(pipeline, run, topics, mine))
    }

    fn pauses<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Vec<Pause>> {
        self.wait(self.inner.pauses(pipeline))
    }

    fn wish<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Option<Swap>> {
        self.wait(self.inner.wish(pipeline))
    }

    fn all_taken<'a>(&'a self, key: &'a PartitionKey) -> Reply<'a, Vec<Taken>> {
        self.wait(self.inner.all_taken(key))
    }

    fn take<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, new: &'a Taken) -> Reply<'a, Option<Vec<Taken>>> {
        self.wait(self.inner.take(key, claim, new))
    }

    fn roll_back<'a>(&'a self, pipeline: &'a str, number: i64, reason: &'a str, by: &'a str) -> Reply<'a, bool> {
        self.wait(self.inner.roll_back(pipeline, number, reason, by))
    }

    fn states<'a>(&'a self, key: &'a PartitionKey, keys: &'a [Box<str>]) -> Reply<'a, Vec<(Box<str>, StateRow)>> {
        self.wait(self.inner.states(key, keys))
    }
}
