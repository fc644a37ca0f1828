//! From what a pipeline tells of a partition to the status page and the gauges.

use super::logs::Log;
use crate::admin::{InForce, PartitionStatus, Paused, StatusBoard};
use crate::inference::{Memory, Registry, Results};
use crate::pipeline::PartitionView;
use crate::store::Taken;
use crate::telemetry::{LoadedModel, ModelGauges, PartitionGauges};
use std::collections::BTreeMap;

/// `log` is what the log has, as Kafka last told it; `before` is what was last said of this partition.
pub fn status_of(
    view: PartitionView,
    log: Option<Log>,
    before: Option<&PartitionStatus>,
    owner: &str,
    now_ms: i64,
) -> PartitionStatus {
    let running = view.state == "running";
    // A halted partition stands where it was halted, and the log goes on.
    let stood = before.filter(|_| view.state == "halted");
    let next = (view.next_offset >= 0).then_some(view.next_offset).or(stood.and_then(|stood| stood.next_offset));
    let committed = if running { view.published_offset } else { stood.and_then(|stood| stood.committed_offset) };
    let end_offset = view.end_offset.max(log.map(|log| log.bounds.high)).max(stood.and_then(|stood| stood.end_offset));
    // Markers of transactions take offsets too: a log that was read to its end holds nothing, whatever the offsets say. The end that the source tells is
    // behind the last event; how far it has read beyond that, Kafka's client tells.
    let read_to = view.end_offset.max(log.and_then(|log| log.read_to));
    let caught_up = running && view.undecided == 0 && view.end_offset.is_some() && read_to >= end_offset;
    let behind = |next: i64, end: i64| if caught_up { 0 } else { (end - next).max(0) };
    let lag_undecided = next.zip(end_offset).map(|(next, end)| behind(next, end));
    let behind_since_ms = behind_since(lag_undecided, view.oldest_ms, before, now_ms);
    PartitionStatus {
        lag_seconds: lag_undecided.map(|_| behind_since_ms.map_or(0.0, |since| (now_ms - since).max(0) as f64 / 1000.0)),
        behind_since_ms,
        owner: owner.to_owned(),
        waits: view.paused,
        state: view.state.to_owned(),
        next_offset: next,
        committed_offset: committed,
        start_offset: log.map(|log| log.bounds.low),
        end_offset,
        lag_undecided,
        lag_unpublished: next.zip(committed).map(|(next, committed)| (next - committed).max(0)),
        fold_from: view.fold_from,
        state_bytes: view.state_bytes,
        epoch: running.then_some(view.epoch),
        halted: view.reason,
        version: view.version.map(in_force),
        waits_for: view.waits_for,
        paused: view.pause.map(|pause| Paused { by: pause.by.clone(), reason: pause.reason.clone(), since: pause.since.clone() }),
    }
}

fn in_force(taken: Taken) -> InForce {
    let canary = taken.canary.as_ref();
    InForce {
        version: taken.version.to_string(),
        canary: canary.map(|canary| canary.version.to_string()),
        share: canary.map(|canary| canary.share),
        from_offset: taken.from_offset,
    }
}

/// The timestamp of the oldest event that is not decided. When none is held, what was said before is not too late, since the log is in
/// order; and when nothing was said, the partition is behind since now.
fn behind_since(lag: Option<i64>, oldest_ms: Option<i64>, before: Option<&PartitionStatus>, now_ms: i64) -> Option<i64> {
    if lag? == 0 {
        return None;
    }
    // A producer may write any number, or none (-1).
    let oldest = oldest_ms.filter(|ms| (0..=now_ms).contains(ms));
    oldest.or_else(|| before.and_then(|before| before.behind_since_ms)).or(Some(now_ms))
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
            version: status.version.map(|of| (of.version, of.canary.unwrap_or_default())),
            waits_for: status.waits_for.is_some(),
            undecided: status.lag_undecided,
            unpublished: status.lag_unpublished,
            behind_seconds: status.lag_seconds,
            // The next claim reads from S, where there is one: retention comes to that first.
            headroom: status
                .next_offset
                .zip(status.start_offset)
                .map(|(next, start)| next.min(status.fold_from.unwrap_or(next)) - start),
            state_bytes: status.state_bytes.map(|bytes| bytes as i64),
        })
    };
    board.snapshot().into_iter().map(|(pipeline, all)| (pipeline, all.into_iter().filter_map(of).collect())).collect()
}

/// What the models hold now.
pub fn models(results: &Results, memory: &Memory, registry: &Registry) -> ModelGauges {
    let counts = results.counts();
    // Two models of one name in different folders are one line.
    let mut loaded: BTreeMap<String, LoadedModel> = BTreeMap::new();
    for held in memory.held() {
        let of = loaded.entry(held.name).or_default();
        of.bytes += if held.loaded { held.bytes as u64 } else { 0 };
        of.unloads += held.unloads;
    }
    ModelGauges {
        cache_hits: counts.hits,
        cache_misses: counts.misses,
        cache_bytes: counts.bytes as u64,
        loaded,
        open: registry.loaded(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TopicPartition;
    use crate::source::LogBounds;

    fn view(state: &'static str) -> PartitionView {
        PartitionView {
            next_offset: 70,
            published_offset: Some(60),
            end_offset: Some(80),
            ..PartitionView::new(&TopicPartition::new("in", 3), state)
        }
    }

    fn log(end: Option<i64>) -> Option<Log> {
        end.map(|high| Log { bounds: LogBounds { low: 5, high }, read_to: None })
    }

    /// Would catch: a lag that freezes when a partition is halted, an unpublished lag that is not P - K, markers counted as events.
    #[test]
    fn a_halted_partition_goes_on_falling_behind() {
        let of = |view, end: Option<i64>, before: Option<&PartitionStatus>| status_of(view, log(end), before, "w", 10_000);
        let running = of(view("running"), Some(100), None);
        assert_eq!((running.lag_undecided, running.lag_unpublished), (Some(30), Some(10)));
        let caught_up = of(view("running"), Some(80), None);
        assert_eq!(caught_up.lag_undecided, Some(0));
        assert!(running.paused.is_none());
        let pause =
            crate::store::Pause { topic: None, partition: None, reason: "why".into(), by: "ann".into(), since: "then".into() };
        let paused = of(PartitionView { pause: Some(pause.into()), ..view("running") }, Some(100), None).paused.unwrap();
        assert_eq!((&*paused.by, &*paused.reason, &*paused.since), ("ann", "why", "then"));
        let nothing_known = PartitionView { next_offset: -1, published_offset: None, end_offset: None, ..view("halted") };
        let halted = of(nothing_known.clone(), Some(150), Some(&running));
        assert_eq!((halted.lag_undecided, halted.lag_unpublished), (Some(80), Some(10)));
        let at_its_claim = of(nothing_known, Some(150), None);
        assert_eq!((at_its_claim.lag_undecided, at_its_claim.lag_unpublished), (None, None));
        let its_row_told = of(PartitionView { fold_from: Some(30), ..view("halted") }, Some(150), None);
        assert_eq!((its_row_told.lag_undecided, its_row_told.lag_unpublished), (Some(80), None));
        let board = StatusBoard::default();
        board.replace("p", [("in/3".to_owned(), halted), ("in/4".to_owned(), its_row_told)].into());
        assert_eq!(gauges(&board)["p"][1].headroom, Some(25), "S is 30, and the log begins at 5");
        let gauges = &gauges(&board)["p"][0];
        assert_eq!(gauges.headroom, Some(65), "P is 70, and the log begins at 5");
        assert_eq!((gauges.topic.as_str(), gauges.partition, gauges.state.as_str()), ("in", 3, "halted"));
    }

    /// Would catch: a quiet topic that producers write in transactions, whose last marker is an event which is waited for without end; one whose events are
    /// taken for markers because an end was told before they came.
    #[test]
    fn markers_at_the_end_are_nothing_to_wait_for() {
        let lag = |read_to, end, view| {
            let log = Log { bounds: LogBounds { low: 5, high: end }, read_to };
            status_of(view, Some(log), None, "w", 10_000).lag_undecided
        };
        assert_eq!(lag(Some(81), 81, view("running")), Some(0));
        assert_eq!(lag(Some(81), 83, view("running")), Some(13));
        assert_eq!(lag(None, 81, view("running")), Some(11));
        assert_eq!(lag(Some(81), 81, PartitionView { undecided: 2, ..view("running") }), Some(11));
        assert_eq!(lag(Some(81), 81, PartitionView { end_offset: None, ..view("running") }), Some(11), "of an earlier stay");
    }

    /// Would catch: an age that is negative, stays when the partition is caught up, or begins anew when a halt has let go of the events.
    #[test]
    fn the_lag_in_seconds_is_the_age_of_the_oldest_event_that_is_not_decided() {
        let waits = |oldest_ms| PartitionView { undecided: 1, oldest_ms, ..view("running") };
        let first = status_of(waits(Some(4_000)), log(Some(100)), None, "w", 10_000);
        assert_eq!((first.lag_seconds, first.owner.as_str()), (Some(6.0), "w"));
        for strange in [Some(-1), Some(i64::MAX), None] {
            let lag = status_of(waits(strange), log(Some(100)), None, "w", 10_000).lag_seconds;
            assert_eq!(lag, Some(0.0), "behind since now, {strange:?}");
        }
        let halted = PartitionView { next_offset: -1, published_offset: None, end_offset: None, ..view("halted") };
        assert_eq!(status_of(halted, log(Some(120)), Some(&first), "w", 20_000).lag_seconds, Some(16.0));
        let caught_up = status_of(view("running"), log(Some(80)), Some(&first), "w", 20_000);
        assert_eq!((caught_up.lag_seconds, caught_up.behind_since_ms), (Some(0.0), None));
        let unknown = PartitionView { end_offset: None, ..view("running") };
        assert_eq!(status_of(unknown, None, None, "w", 1).lag_seconds, None);
    }
}
