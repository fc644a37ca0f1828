//! Sees when all partitions have come to their bounds, and drains the pipeline then.

use crate::event::TopicPartition;
use crate::pipeline::{Observer, PartitionView};
use crate::record::Mode;
use crate::source::bounded::Brought;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;

pub struct Finish<P> {
    wanted: Vec<TopicPartition>,
    mode: Mode,
    brought: Arc<Brought>,
    drain: CancellationToken,
    complete: AtomicBool,
    progress: P,
}

impl<P> Finish<P> {
    pub fn new(wanted: Vec<TopicPartition>, mode: Mode, brought: Arc<Brought>, drain: CancellationToken, progress: P) -> Self {
        Self { wanted, mode, brought, drain, complete: AtomicBool::new(false), progress }
    }

    /// Whether every partition came to its bound.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }
}

/// Nothing of it is left to read, to call, to decide or to publish. `to` is how far it was brought: what is on its way to Postgres is undecided
/// no more and not decided yet, and may be refused.
fn is_done(view: &PartitionView, mode: Mode, to: Option<i64>) -> bool {
    let published = mode == Mode::Postgres || view.published_offset == Some(view.next_offset);
    view.state == "running"
        && view.end_offset.is_some()
        && view.undecided == 0
        && published
        && to.is_none_or(|to| view.next_offset >= to)
}

impl<P: Fn(&[PartitionView]) + Send + Sync> Observer for Finish<P> {
    fn status(&self, views: Vec<PartitionView>, _budget_bytes: usize) {
        (self.progress)(&views);
        let of = |partition: &TopicPartition| {
            views.iter().find(|view| *view.topic == *partition.topic && view.partition == partition.partition)
        };
        let done =
            |partition: &TopicPartition| of(partition).is_some_and(|view| is_done(view, self.mode, self.brought.to(partition)));
        let halted = |partition| of(partition).is_some_and(|view| view.state == "halted");
        if self.wanted.iter().all(|partition| done(partition) || halted(partition)) {
            // One that is halted is told by how the pipeline ends.
            self.complete.store(self.wanted.iter().all(done), Ordering::Relaxed);
            self.drain.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: an end before a partition is read, called, decided or published; one that waits for a partition that is halted for ever.
    #[test]
    fn it_ends_when_nothing_is_left() {
        let partitions = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
        let view = |number: usize, change: fn(&mut PartitionView)| {
            let mut view = PartitionView::new(&partitions[number], "running");
            (view.next_offset, view.published_offset, view.end_offset) = (7, Some(7), Some(7));
            change(&mut view);
            view
        };
        let told = |views: Vec<PartitionView>| {
            let drain = CancellationToken::new();
            let brought = Arc::<Brought>::default();
            brought.bring(partitions[1].clone(), 7);
            let finish = Finish::new(partitions.to_vec(), Mode::Both, brought, drain.clone(), |_: &[PartitionView]| {});
            finish.status(views, 0);
            (drain.is_cancelled(), finish.is_complete())
        };
        let good = || view(0, |_| {});
        assert_eq!(told(vec![good(), view(1, |_| {})]), (true, true));
        assert_eq!(told(vec![good()]), (false, false), "one was not heard of");
        for change in [
            (|view| view.end_offset = None) as fn(&mut PartitionView),
            |view| view.undecided = 1,
            |view| view.published_offset = Some(6),
            // The last of it is on its way to Postgres.
            |view| (view.next_offset, view.published_offset) = (6, Some(6)),
            |view| view.state = "claiming",
        ] {
            assert_eq!(told(vec![good(), view(1, change)]), (false, false));
        }
        assert_eq!(told(vec![good(), view(1, |view| view.state = "halted")]), (true, false));
    }
}
