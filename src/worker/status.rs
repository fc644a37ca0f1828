//! From what a pipeline tells of a partition to the status page and the gauges.

use crate::admin::{PartitionStatus, Paused, StatusBoard};
use crate::inference::{Memory, Results};
use crate::pipeline::PartitionView;
use crate::telemetry::{LoadedModel, ModelGauges, PartitionGauges};
use std::collections::BTreeMap;

/// `end` is the end of the log as Kafka last told it; `before` is what was last said of this partition.
pub fn status_of(view: PartitionView, end: Option<i64>, before: Option<&PartitionStatus>) -> PartitionStatus {
    let running = view.state == "running";
    // A halted partition stands where it was halted, and the log goes on.
    let stood = before.filter(|_| view.state == "halted");
    let next = if running { Some(view.next_offset) } else { stood.and_then(|stood| stood.next_offset) };
    let committed = if running { view.published_offset } else { stood.and_then(|stood| stood.committed_offset) };
    let end_offset = view.end_offset.max(end).max(stood.and_then(|stood| stood.end_offset));
    // Markers of transactions take offsets too: a log that was read to its end holds nothing, whatever the offsets say.
    let caught_up = running && view.undecided == 0 && view.end_offset.is_some() && view.end_offset == end_offset;
    let behind = |next: i64, end: i64| if caught_up { 0 } else { (end - next).max(0) };
    PartitionStatus {
        state: view.state.to_owned(),
        next_offset: next,
        committed_offset: committed,
        end_offset,
        lag_undecided: next.zip(end_offset).map(|(next, end)| behind(next, end)),
        lag_unpublished: next.zip(committed).map(|(next, committed)| (next - committed).max(0)),
        epoch: running.then_some(view.epoch),
        halted: view.reason,
        paused: view.pause.map(|pause| Paused { by: pause.by.clone(), reason: pause.reason.clone(), since: pause.since.clone() }),
    }
}

/// What is held now, by pipeline.
pub fn gauges(board: &StatusBoard) -> BTreeMap<String, Vec<PartitionGauges>> {
    let of = |(name, status): (String, PartitionStatus)| {
        let (topic, partition) = name.rsplit_once('/')?;
        Some(PartitionGauges {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            state: status.state,
            paused: status.paused.is_some(),
            undecided: status.lag_undecided,
            unpublished: status.lag_unpublished,
        })
    };
    board.snapshot().into_iter().map(|(pipeline, all)| (pipeline, all.into_iter().filter_map(of).collect())).collect()
}

/// What the models hold now.
pub fn models(results: &Results, memory: &Memory) -> ModelGauges {
    let counts = results.counts();
    // Two models of one name in different folders are one line.
    let mut loaded: BTreeMap<String, LoadedModel> = BTreeMap::new();
    for held in memory.held() {
        let of = loaded.entry(held.name).or_default();
        of.bytes += if held.loaded { held.bytes as u64 } else { 0 };
        of.unloads += held.unloads;
    }
    ModelGauges { cache_hits: counts.hits, cache_misses: counts.misses, cache_bytes: counts.bytes as u64, loaded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TopicPartition;

    fn view(state: &'static str) -> PartitionView {
        PartitionView {
            next_offset: 70,
            published_offset: Some(60),
            end_offset: Some(80),
            ..PartitionView::new(&TopicPartition::new("in", 3), state)
        }
    }

    /// Would catch: a lag that freezes when a partition is halted, an unpublished lag that is not P - K, markers counted as events.
    #[test]
    fn a_halted_partition_goes_on_falling_behind() {
        let running = status_of(view("running"), Some(100), None);
        assert_eq!((running.lag_undecided, running.lag_unpublished), (Some(30), Some(10)));
        let caught_up = status_of(view("running"), Some(80), None);
        assert_eq!(caught_up.lag_undecided, Some(0));
        assert!(running.paused.is_none());
        let pause =
            crate::store::Pause { topic: None, partition: None, reason: "why".into(), by: "ann".into(), since: "then".into() };
        let paused = status_of(PartitionView { pause: Some(pause.into()), ..view("running") }, Some(100), None).paused.unwrap();
        assert_eq!((&*paused.by, &*paused.reason, &*paused.since), ("ann", "why", "then"));
        let nothing_known = PartitionView { next_offset: -1, published_offset: None, end_offset: None, ..view("halted") };
        let halted = status_of(nothing_known.clone(), Some(150), Some(&running));
        assert_eq!((halted.lag_undecided, halted.lag_unpublished), (Some(80), Some(10)));
        let at_its_claim = status_of(nothing_known, Some(150), None);
        assert_eq!((at_its_claim.lag_undecided, at_its_claim.lag_unpublished), (None, None));
        let board = StatusBoard::default();
        board.replace("p", [("in/3".to_owned(), halted)].into());
        let gauges = &gauges(&board)["p"][0];
        assert_eq!((gauges.topic.as_str(), gauges.partition, gauges.state.as_str()), ("in", 3, "halted"));
    }
}
