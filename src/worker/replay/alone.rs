//! A store for who has all the work of a pipeline: no partition waits for what somebody else may hold.

use crate::event::TopicPartition;
use crate::record::{Mode, Provenance, Record};
use crate::store::{Advance, Head, Heads, KeyedStates, PartitionKey, PartitionRow, Pause, Rows, Store, StoreError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use uuid::Uuid;

/// The same store. Rows of partitions that have nothing to do, or nothing left, have no head, and would be waited for until one is told.
pub struct Alone(pub Arc<dyn Store>);

type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

impl Store for Alone {
    /// Told as ever, so that a claim that was lost shows.
    fn heads<'a>(&'a self, pipeline: &'a str, run: i32, topics: &'a [String], mine: &'a [Head]) -> Reply<'a, Heads> {
        async move {
            let Heads { held, .. } = self.0.heads(pipeline, run, topics, mine).await?;
            Ok(Heads { others: None, held })
        }
        .boxed()
    }

    fn current_run<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Option<i32>> {
        self.0.current_run(pipeline)
    }

    fn open<'a>(&'a self, pipeline: &'a str, run: i32, mode: Mode, starts: &'a [(TopicPartition, i64)]) -> Reply<'a, ()> {
        self.0.open(pipeline, run, mode, starts)
    }

    fn partitions<'a>(&'a self, pipeline: &'a str, run: i32, topic: &'a str) -> Reply<'a, Vec<(i32, PartitionRow)>> {
        self.0.partitions(pipeline, run, topic)
    }

    fn claim<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, owner: &'a str) -> Reply<'a, Option<PartitionRow>> {
        self.0.claim(key, claim, owner)
    }

    fn folds_from<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, from: i64) -> Reply<'a, ()> {
        self.0.folds_from(key, claim, from)
    }

    fn read_all<'a>(&'a self, pipeline: &'a str, run: i32, partitions: &'a [TopicPartition], fresh: bool) -> Reply<'a, Rows> {
        self.0.read_all(pipeline, run, partitions, fresh)
    }

    fn suspect<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, offset: i64, times: i32) -> Reply<'a, bool> {
        self.0.suspect(key, claim, offset, times)
    }

    fn decide<'a>(&'a self, provenance: &'a Provenance, round: &'a [Advance]) -> Reply<'a, Vec<TopicPartition>> {
        self.0.decide(provenance, round)
    }

    fn published<'a>(&'a self, key: &'a PartitionKey, claim: Uuid, published_offset: i64, handover: bool) -> Reply<'a, ()> {
        self.0.published(key, claim, published_offset, handover)
    }

    fn records<'a>(
        &'a self,
        key: &'a PartitionKey,
        from: i64,
        to: i64,
        after: Option<(i64, i16)>,
        limit: i64,
    ) -> Reply<'a, Vec<Record>> {
        self.0.records(key, from, to, after, limit)
    }

    fn pauses<'a>(&'a self, pipeline: &'a str) -> Reply<'a, Vec<Pause>> {
        self.0.pauses(pipeline)
    }

    fn states<'a>(&'a self, key: &'a PartitionKey, keys: &'a [Box<str>]) -> Reply<'a, KeyedStates> {
        self.0.states(key, keys)
    }
}
