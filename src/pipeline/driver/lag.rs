//! The ends of the logs. The source tells an end when it is reached; while a partition is behind it has to be asked for.

use super::Driver;
use crate::event::TopicPartition;
use crate::pipeline::partition::Partition;
use crate::publisher::PublishError;
use crate::source::LogBounds;
use futures_util::FutureExt;
use std::time::Duration;
use tokio::time::Instant;

/// One partition is asked for at a time, this far apart.
const INTERVAL: Duration = Duration::from_millis(250);

/// What Kafka said of a partition.
pub(super) struct EndDone {
    partition: TopicPartition,
    bounds: Result<LogBounds, PublishError>,
}

impl Driver {
    pub(super) fn ask_end(&mut self) {
        let now = Instant::now();
        if self.end.is_some() || now < self.end_not_before {
            return;
        }
        let Some(partition) = self.turns(self.last_asked.as_ref()).into_iter().next() else { return };
        self.end_not_before = now + INTERVAL;
        self.last_asked = Some(partition.clone());
        let publisher = self.parts.publisher.clone();
        self.end = Some(async move { EndDone { bounds: publisher.bounds(&partition).await, partition } }.boxed());
    }

    pub(super) fn on_end(&mut self, done: EndDone) {
        let Some(running) = self.partitions.get_mut(&done.partition).and_then(Partition::running) else { return };
        match done.bounds {
            Ok(bounds) => running.end = Some(bounds.high.max(running.decided)),
            Err(error) => {
                tracing::debug!(partition = %done.partition, %error, "The end of a log was not told; the lag is older.")
            }
        }
    }
}
