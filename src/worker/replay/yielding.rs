//! Waits while the live pipeline is behind.

use crate::config::Pipeline;
use crate::event::TopicPartition;
use crate::publisher::Publisher;
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the live pipeline is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A partition that is behind and decides nothing for so long is halted, or nobody works on it: there is nothing to wait for.
const STILL: Duration = Duration::from_secs(60);

/// The live pipeline, as far as it is looked at.
pub struct Live {
    pub pipeline: Pipeline,
    pub store: Arc<dyn Store>,
    pub publisher: Arc<dyn Publisher>,
}

impl Live {
    /// Says that the replay has to wait from `bound` events on, and that it may go on at half of it.
    pub async fn give_way(self, bound: i64, wait: watch::Sender<bool>, end: CancellationToken) {
        let mut watched = Watched::default();
        loop {
            match self.standing().await {
                Ok(standing) => self.look(&mut watched, &standing, bound, &wait),
                Err(error) => tracing::debug!(error, "How far the live pipeline is cannot be told; it is looked at again."),
            }
            if tokio::time::timeout(LOOK, end.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    fn look(&self, watched: &mut Watched, standing: &[Standing], bound: i64, wait: &watch::Sender<bool>) {
        let waits = *wait.borrow();
        let (behind, still) = watched.behind(Instant::now(), waits, standing);
        let pipeline = &self.pipeline.name;
        if !still.is_empty() {
            let partitions = still.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            tracing::warn!(
                pipeline,
                partitions,
                seconds = STILL.as_secs(),
                "Partitions of the live pipeline are behind and stand still: the replay does not wait for them. Look whether they are halted, or no worker runs."
            );
        }
        let now = if waits { behind > bound / 2 } else { behind > bound };
        if now == waits {
            return;
        }
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

    /// Partitions that nobody has paused. A pipeline without rows has none.
    async fn standing(&self) -> Result<Vec<Standing>, String> {
        let name = &self.pipeline.name;
        let Some(run) = self.store.current_run(name).await.map_err(|error| error.to_string())? else { return Ok(Vec::new()) };
        let pauses = self.store.pauses(name).await.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        for topic in &self.pipeline.topic {
            for (number, row) in self.store.partitions(name, run, topic).await.map_err(|error| error.to_string())? {
                let partition = TopicPartition::new(topic.as_str(), number);
                if pauses.iter().any(|pause| pause.covers(&partition)) {
                    continue;
                }
                let bounds = self.publisher.bounds(&partition).await.map_err(|error| error.to_string())?;
                all.push(Standing { partition, next_offset: row.next_offset, behind: (bounds.high - row.next_offset).max(0) });
            }
        }
        Ok(all)
    }
}

/// Where a partition of the live pipeline stands.
struct Standing {
    partition: TopicPartition,
    next_offset: i64,
    /// Events that are not decided, about: offsets may have gaps.
    behind: i64,
}

/// What is known of partitions that do not move.
#[derive(Default)]
struct Watched {
    /// Where each stood, and since when: of the wait that is going on.
    waited: BTreeMap<TopicPartition, (i64, Instant)>,
    /// Those that are not waited for, until they move.
    still: BTreeMap<TopicPartition, i64>,
}

impl Watched {
    /// How far all are behind that move, and who does not any more.
    fn behind(&mut self, now: Instant, waits: bool, standing: &[Standing]) -> (i64, Vec<TopicPartition>) {
        if !waits {
            self.waited.clear();
        }
        let (mut behind, mut newly) = (0, Vec::new());
        for one in standing.iter().filter(|one| one.behind > 0) {
            if self.still.get(&one.partition) == Some(&one.next_offset) {
                continue;
            }
            self.still.remove(&one.partition);
            if waits && self.stands_still(now, one) {
                self.still.insert(one.partition.clone(), one.next_offset);
                // One offset may be the marker of a transaction, which is never decided.
                newly.extend((one.behind > 1).then(|| one.partition.clone()));
                continue;
            }
            behind += one.behind;
        }
        (behind, newly)
    }

    fn stands_still(&mut self, now: Instant, one: &Standing) -> bool {
        let stood = self.waited.entry(one.partition.clone()).or_insert((one.next_offset, now));
        if stood.0 != one.next_offset {
            *stood = (one.next_offset, now);
        }
        now.duration_since(stood.1) >= STILL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: i32, next_offset: i64, behind: i64) -> Standing {
        Standing { partition: TopicPartition::new("t", number), next_offset, behind }
    }

    /// Would catch: a replay that waits for ever for a halted partition or a retired pipeline, one that gives up on a pipeline which is slow and
    /// moves, one that does not give way any more when the pipeline goes on.
    #[tokio::test(start_paused = true)]
    async fn who_stands_still_is_not_waited_for() {
        let (mut watched, begin) = (Watched::default(), Instant::now());
        let mut seen = |after_s: u64, waits: bool, standing: &[Standing]| {
            let (behind, newly) = watched.behind(begin + Duration::from_secs(after_s), waits, standing);
            (behind, newly.iter().map(|partition| partition.partition).collect::<Vec<_>>())
        };
        assert_eq!(seen(0, false, &[at(0, 10, 500), at(1, 10, 1), at(2, 10, 300)]), (801, vec![]));
        // A time before the wait does not count.
        assert_eq!(seen(100, true, &[at(0, 10, 500), at(1, 10, 1), at(2, 10, 300)]), (801, vec![]));
        assert_eq!(seen(159, true, &[at(0, 10, 500), at(1, 10, 1), at(2, 20, 900)]), (1_401, vec![]));
        // Its lag grows, and it moves: it is waited for.
        assert_eq!(seen(160, true, &[at(0, 10, 500), at(1, 10, 1), at(2, 20, 900)]), (900, vec![0]));
        assert_eq!(seen(161, true, &[at(0, 10, 700), at(1, 10, 1), at(2, 21, 950)]), (950, vec![]));
        assert_eq!(seen(162, false, &[at(0, 10, 700), at(2, 30, 0)]), (0, vec![]));
        assert_eq!(seen(163, false, &[at(0, 11, 699), at(2, 30, 0)]), (699, vec![]));
        assert_eq!(seen(164, true, &[at(0, 11, 699)]), (699, vec![]));
        assert_eq!(seen(224, true, &[at(0, 11, 699)]), (0, vec![0]));
    }
}
