//! Kafka and Postgres, asked now and then, so that an idle worker too knows when one of them is away.

use super::hindrance::PATIENCE;
use crate::admin::Readiness;
use crate::event::TopicPartition;
use crate::pipeline::Settings;
use crate::publisher::Publisher;
use crate::source::Lease;
use crate::store::Store;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(2);
/// An answer that takes longer will not come any more, as on a connection that was dropped without a word: then another is asked for.
const GIVE_UP: Duration = Duration::from_secs(20);

/// The ends of the logs of the partitions that are held, as Kafka last told them.
#[derive(Debug, Default)]
pub struct Ends(Mutex<BTreeMap<TopicPartition, i64>>);

impl Ends {
    pub fn of(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(partition).copied()
    }

    fn replace(&self, ends: BTreeMap<TopicPartition, i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ends;
    }
}

/// Asks Kafka for the topic and for the ends of what is held, halted partitions among them.
pub async fn follow_kafka(
    settings: Arc<Settings>,
    (topic, publisher, lease, ends): (String, Arc<dyn Publisher>, Arc<ArcSwap<Lease>>, Arc<Ends>),
    readiness: Arc<Readiness>,
    closing: CancellationToken,
) {
    let ask = || {
        let (topic, publisher, lease, ends) = (topic.clone(), publisher.clone(), lease.load_full(), ends.clone());
        async move {
            publisher.partition_count(&topic).await.map_err(|error| error.to_string())?;
            publisher.tidy().await;
            let mut found = BTreeMap::new();
            for partition in lease.partitions.keys() {
                let bounds = publisher.bounds(partition).await.map_err(|error| error.to_string())?;
                found.insert(partition.clone(), bounds.high);
            }
            ends.replace(found);
            Ok(())
        }
        .boxed()
    };
    follow(&format!("Kafka for {}", settings.provenance.pipeline), ask, &readiness, &closing).await;
}

/// Asks Postgres for a pipeline's run.
pub async fn follow_postgres(
    settings: Arc<Settings>,
    store: Arc<dyn Store>,
    readiness: Arc<Readiness>,
    closing: CancellationToken,
) {
    let ask = || {
        let (settings, store) = (settings.clone(), store.clone());
        async move { store.current_run(&settings.provenance.pipeline).await.map(drop).map_err(|error| error.to_string()) }.boxed()
    };
    follow(&format!("Postgres for {}", settings.provenance.pipeline), ask, &readiness, &closing).await;
}

/// Blocks readiness while the answers fail, or do not come, for longer than a worker has patience.
async fn follow(
    name: &str,
    ask: impl Fn() -> BoxFuture<'static, Result<(), String>>,
    readiness: &Readiness,
    closing: &CancellationToken,
) {
    let mut failing: Option<Instant> = None;
    let watch = async {
        loop {
            let asked = Instant::now();
            let mut answer = ask();
            let answer = match tokio::time::timeout(PATIENCE, &mut answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    readiness.block(name, "does not answer");
                    let late = tokio::time::timeout(GIVE_UP, answer).await;
                    late.unwrap_or_else(|_| Err("does not answer".to_owned()))
                }
            };
            match answer {
                Ok(()) => {
                    failing = None;
                    readiness.clear(name);
                }
                Err(detail) => {
                    if failing.get_or_insert(asked).elapsed() > PATIENCE {
                        readiness.block(name, &detail);
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! { () = closing.cancelled() => {}, () = watch => {} }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Would catch: a neighbour that never answers and blocks nothing, a block that stays when it is back.
    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_is_away_blocks_until_it_is_back() {
        let (readiness, closing, back) =
            (Arc::new(Readiness::new([])), CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn({
            let (readiness, closing, back) = (readiness.clone(), closing.clone(), back.clone());
            async move {
                let ask = || {
                    let back = back.clone();
                    async move {
                        if !back.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_secs(15)).await;
                            return Err("timed out".to_owned());
                        }
                        Ok(())
                    }
                    .boxed()
                };
                follow("Kafka", ask, &readiness, &closing).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(readiness.missing(), ["Kafka: does not answer"]);
        back.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(readiness.missing().is_empty(), "{:?}", readiness.missing());
        closing.cancel();
        task.await.unwrap();
    }

    /// Would catch: an answer that never comes and is waited for without end, though the next one would come.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_lost_is_asked_for_again() {
        let (readiness, closing, asked) = (Readiness::new([]), CancellationToken::new(), AtomicBool::new(false));
        let ask = || match asked.swap(true, Ordering::Relaxed) {
            false => std::future::pending().boxed(),
            true => std::future::ready(Ok(())).boxed(),
        };
        let look = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(readiness.missing(), ["Postgres: does not answer"]);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(readiness.missing().is_empty(), "{:?}", readiness.missing());
            closing.cancel();
        };
        tokio::join!(follow("Postgres", ask, &readiness, &closing), look);
    }
}
