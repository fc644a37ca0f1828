//! Waits while the live pipeline is behind.

use crate::config::Pipeline;
use crate::event::TopicPartition;
use crate::publisher::Publisher;
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the live pipeline is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The live pipeline, as far as it is looked at.
pub struct Live {
    pub pipeline: Pipeline,
    pub store: Arc<dyn Store>,
    pub publisher: Arc<dyn Publisher>,
}

impl Live {
    /// Says that the replay has to wait from `bound` events on, and that it may go on at half of it.
    pub async fn give_way(self, bound: i64, wait: watch::Sender<bool>, end: CancellationToken) {
        loop {
            match self.behind().await {
                Ok(behind) => {
                    let waits = *wait.borrow();
                    let now = if waits { behind > bound / 2 } else { behind > bound };
                    if now != waits {
                        let pipeline = &self.pipeline.name;
                        match now {
                            true => tracing::info!(
                                pipeline,
                                behind,
                                bound,
                                "The live pipeline is behind: the replay waits for it. With --yield-lag off it would not."
                            ),
                            false => tracing::info!(pipeline, behind, "The replay goes on."),
                        }
                        wait.send_replace(now);
                    }
                }
                Err(error) => tracing::debug!(error, "How far the live pipeline is cannot be told; it is looked at again."),
            }
            if tokio::time::timeout(LOOK, end.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Events that it has not decided, about: offsets may have gaps. A pipeline without rows is not behind.
    async fn behind(&self) -> Result<i64, String> {
        let name = &self.pipeline.name;
        let Some(run) = self.store.current_run(name).await.map_err(|error| error.to_string())? else { return Ok(0) };
        let mut behind = 0;
        for topic in &self.pipeline.topic {
            for (number, row) in self.store.partitions(name, run, topic).await.map_err(|error| error.to_string())? {
                let partition = TopicPartition::new(topic.as_str(), number);
                let bounds = self.publisher.bounds(&partition).await.map_err(|error| error.to_string())?;
                behind += (bounds.high - row.next_offset).max(0);
            }
        }
        Ok(behind)
    }
}
