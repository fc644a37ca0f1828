//! What keeps a pipeline from being ready: stages that fail again and again, partitions that wait or are halted.
//!
//! A halt is in the way of a worker with one pipeline alone. Where there are others it would take their functions out of a load balancer, on every worker
//! that holds a halted partition and for as long as it is halted: there the gauge, the alert, `/status` and the page tell it.

use crate::pipeline::PartitionView;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A failure that lasts longer is in the way.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// A stage that has not failed for so long, and has had nothing to do, is well again.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Since when what goes wrong has gone wrong. Time is an argument.
#[derive(Debug, Default)]
pub struct Hindrance {
    /// First and last failure of each stage since it last went well.
    failing: BTreeMap<&'static str, (Instant, Instant)>,
    claiming: Since,
    /// Those that stand for want of a version.
    held: Since,
    /// Whether the worker has other pipelines.
    has_neighbours: bool,
}

/// Partitions, and since when it is so.
type Since = BTreeMap<(String, i32), Instant>;

/// Those of which it is so now.
fn still(old: &Since, views: &[PartitionView], now: Instant, so: impl Fn(&PartitionView) -> bool) -> Since {
    let names = views.iter().filter(|view| so(view)).map(|view| (view.topic.clone(), view.partition));
    names.map(|name| (name.clone(), old.get(&name).copied().unwrap_or(now))).collect()
}

impl Hindrance {
    pub fn new(has_neighbours: bool) -> Self {
        Self { has_neighbours, ..Self::default() }
    }

    pub fn failed(&mut self, stage: &'static str, now: Instant) {
        self.failing.entry(stage).or_insert((now, now)).1 = now;
    }

    pub fn went_well(&mut self, stage: &'static str) {
        self.failing.remove(stage);
    }

    /// What is in the way now, in words.
    pub fn look(&mut self, views: &[PartitionView], now: Instant) -> Vec<String> {
        self.claiming = still(&self.claiming, views, now, |view| view.state == "claiming");
        self.held = still(&self.held, views, now, |view| view.held);
        // Without partitions there is nothing to decide or publish, and nobody to say that it went well.
        self.failing.retain(|_, (_, last)| !views.is_empty() && now.saturating_duration_since(*last) < FORGOTTEN);
        let lasts = |since: &Instant| now.saturating_duration_since(*since) > PATIENCE;
        let halted = views.iter().filter(|view| view.state == "halted" && !self.has_neighbours);
        let halted = halted.map(|view| format!("{}/{} is halted, /status says why", view.topic, view.partition));
        let waiting = self.claiming.iter().filter(|(_, since)| lasts(since));
        let waiting = waiting.map(|((topic, partition), _)| format!("{topic}/{partition} is not claimed yet"));
        let held = self.held.iter().filter(|(_, since)| lasts(since));
        let held =
            held.map(|((topic, partition), _)| format!("{topic}/{partition} stands for want of a version, /status says why"));
        let failing = self.failing.iter().filter(|(_, (first, _))| lasts(first));
        halted.chain(waiting).chain(held).chain(failing.map(|(stage, _)| format!("{stage} fails and is tried again"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TopicPartition;

    fn view(state: &'static str) -> PartitionView {
        PartitionView::new(&TopicPartition::new("in", 0), state)
    }

    /// Would catch: one failure that makes a worker unready, a stage that never recovers, a claim or a halt that nobody sees.
    #[test]
    fn what_lasts_is_in_the_way_until_it_goes_well() {
        let (mut hindrance, start) = (Hindrance::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        hindrance.failed("decide", start);
        assert!(hindrance.look(&[view("running")], later(2)).is_empty());
        hindrance.failed("decide", later(4));
        assert_eq!(hindrance.look(&[view("running")], later(4)), ["decide fails and is tried again"]);
        hindrance.went_well("decide");
        assert!(hindrance.look(&[view("running")], later(5)).is_empty());
        assert!(hindrance.look(&[view("claiming")], later(5)).is_empty());
        assert_eq!(hindrance.look(&[view("claiming")], later(9)), ["in/0 is not claimed yet"]);
        assert_eq!(hindrance.look(&[view("halted")], later(9)), ["in/0 is halted, /status says why"]);
        let stands = [PartitionView { held: true, ..view("running") }];
        assert!(hindrance.look(&stands, later(9)).is_empty());
        assert_eq!(hindrance.look(&stands, later(13)), ["in/0 stands for want of a version, /status says why"]);
        assert!(hindrance.look(&[view("running")], later(13)).is_empty(), "one that has not gone over yet serves");
        hindrance.failed("publish", later(9));
        assert!(hindrance.look(&[], later(20)).is_empty(), "nothing is held, so nothing fails");
    }

    /// Would catch: a halted pipeline that takes its neighbours' functions out of a load balancer, or that hides what else is in the way.
    #[test]
    fn a_halt_is_in_nobodys_way_beside_other_pipelines() {
        let (mut hindrance, start) = (Hindrance::new(true), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        let partitions = [view("halted"), PartitionView::new(&TopicPartition::new("in", 1), "claiming")];
        assert!(hindrance.look(&partitions, start).is_empty());
        assert_eq!(hindrance.look(&partitions, later(4)), ["in/1 is not claimed yet"]);
    }
}
