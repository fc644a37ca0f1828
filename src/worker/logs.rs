//! The logs of the partitions that are held, asked now and then: halted and paused ones among them.

use crate::event::TopicPartition;
use crate::publisher::Publisher;
use crate::source::{Lease, LogBounds, ReadTo};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(2);
/// How soon partitions that have come are asked for.
const SOON: Duration = Duration::from_millis(200);
/// Questions at the same time.
const AT_ONCE: usize = 16;

/// The log of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// As Kafka last told them.
    pub bounds: LogBounds,
    /// How far it is read without an event that was not handed on; `None` where that is not known.
    pub read_to: Option<i64>,
}

/// Of all partitions that are held.
#[derive(Debug, Default)]
pub struct Logs(Mutex<BTreeMap<TopicPartition, Log>>);

impl Logs {
    pub fn of(&self, partition: &TopicPartition) -> Option<Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(partition).copied()
    }

    fn replace(&self, logs: BTreeMap<TopicPartition, Log>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = logs;
    }
}

/// Asks until the worker closes. A partition that gives no answer, such as one without a leader, keeps what was last said of it.
pub async fn follow(
    (lease, read_to): (Arc<ArcSwap<Lease>>, Arc<ReadTo>),
    publisher: Arc<dyn Publisher>,
    logs: Arc<Logs>,
    closing: CancellationToken,
) {
    let ask = async |partition: TopicPartition| {
        let read_to = read_to.of(&partition);
        let log = match publisher.bounds(&partition).await {
            Ok(bounds) => Some(Log { bounds, read_to }),
            Err(error) => {
                tracing::debug!(%partition, %error, "The ends of a log cannot be read for now; it is asked again.");
                logs.of(&partition)
            }
        };
        Some((partition, log?))
    };
    let work = async {
        loop {
            let (asked, now) = (Instant::now(), lease.load_full());
            let held: Vec<TopicPartition> = now.partitions.keys().cloned().collect();
            let found: Vec<_> = futures_util::stream::iter(held).map(&ask).buffer_unordered(AT_ONCE).collect().await;
            logs.replace(found.into_iter().flatten().collect());
            tokio::time::sleep(SOON).await;
            while asked.elapsed() < PERIOD && lease.load().number == now.number {
                tokio::time::sleep(SOON).await;
            }
        }
    };
    tokio::select! { () = closing.cancelled() => {}, () = work => {} }
}
