//! The end: idle partitions, the drain, leaving the group.

use super::Driver;
use crate::event::TopicPartition;
use crate::pipeline::partition::{Partition, Phase, Running};
use crate::pipeline::{Ended, PartitionView};
use crate::source::SourceCommand;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use std::time::Duration;
use tokio::time::Instant;

/// How long the last words to Kafka may take.
const GOODBYE: Duration = Duration::from_secs(5);

impl Driver {
    pub(super) fn on_tick(&mut self) {
        let idle: Vec<TopicPartition> = self
            .partitions
            .iter_mut()
            .filter_map(|(partition, state)| {
                let running = state.running()?;
                (running.is_settled() && running.noted < running.published).then(|| partition.clone())
            })
            .collect();
        for partition in idle {
            self.note_published(&partition);
        }
        self.flush_idle();
        self.park();
        self.mind_budget();
        self.follow_swaps();
        self.tell_of_wants();
        self.mind_canary();
        self.tell_status();
    }

    /// Tells the board how all partitions stand.
    pub(super) fn tell_status(&self) {
        let views = self.partitions.values().map(|state| self.view(state)).collect();
        self.parts.observer.status(views, self.parts.budget.used());
    }

    fn view(&self, state: &Partition) -> PartitionView {
        let mut view = state.view(self.settings.mode);
        if let Phase::Running(running) = &state.phase {
            view.waits_for = self.swaps.waits_for(running);
            view.held = self.swaps.held(running).is_some();
        }
        view
    }

    pub(super) fn start_drain(&mut self) {
        tracing::info!(deadline = ?self.settings.drain, "Draining: what is in work is finished, nothing new is started.");
        self.draining = Some(Instant::now() + self.settings.drain);
        self.tell(SourceCommand::Pause(self.partitions.keys().cloned().collect()));
        self.flush_idle();
    }

    pub(super) fn ended(&mut self) -> Option<Ended> {
        if let Some(reason) = self.failed.take() {
            return Some(Ended::Failed(reason));
        }
        let halted = self.partitions.values().find_map(|state| match &state.phase {
            Phase::Halted(reason, _) => Some(reason.clone()),
            _ => None,
        });
        let all_halted = self.partitions.values().all(|state| matches!(state.phase, Phase::Halted(..))) && halted.is_some();
        let stood = self.all_halted_for(all_halted);
        if stood.zip(self.settings.ends_halted_after).is_some_and(|(stood, most)| stood >= most) {
            return halted.map(Ended::Halted);
        }
        let deadline = self.draining?;
        let lease = self.parts.source.lease.load();
        let settled = self.slices.is_empty()
            && self.decides.is_empty()
            && self.publish.is_none()
            && self.partitions.values_mut().all(|state| {
                let ours = lease.holds(&state.key.partition);
                let owes = |running: &Running| running.wants_flush() || running.folds_past() || running.wants_past_written();
                state.running().is_none_or(|running| running.is_settled() && !owes(running) || !ours)
            });
        let late = Instant::now() >= deadline;
        match halted {
            // Whoever starts the worker again must know that a partition stands still.
            Some(reason) if settled || late => Some(Ended::Halted(reason)),
            None if settled => Some(Ended::Drained),
            None if late => Some(Ended::Abandoned),
            _ => None,
        }
    }

    /// How long all partitions have been halted.
    fn all_halted_for(&mut self, all_halted: bool) -> Option<Duration> {
        if !all_halted {
            self.all_halted_since = None;
            return None;
        }
        let since = self.all_halted_since.get_or_insert_with(|| {
            if let Some(most) = self.settings.ends_halted_after.filter(|most| !most.is_zero()) {
                tracing::error!(stays = ?most, "All partitions are halted: the worker will end. A signal ends it at once.");
            }
            Instant::now()
        });
        Some(since.elapsed())
    }

    /// Notes Q, leaves the group, and waits a bounded while for the source to say so. Nothing that is said here may keep the worker: what is
    /// left unsaid is found by the next claim.
    pub(super) async fn leave(mut self, ended: Ended) -> Ended {
        self.slices.abort_all();
        self.folds.abort_all();
        let is_whole = matches!(ended, Ended::Drained | Ended::Halted(_));
        let notes = is_whole.then(|| self.last_notes());
        let (hint, publisher) = (self.last_hint(), self.parts.publisher.clone());
        // Side by side: one after the other, a silent Postgres and a silent Kafka would overstay the drain.
        let (noted, _hint, tidied) = tokio::join!(
            tokio::time::timeout(GOODBYE, OptionFuture::from(notes)),
            tokio::time::timeout(GOODBYE, hint),
            tokio::time::timeout(GOODBYE, publisher.tidy()),
        );
        if noted.is_err() {
            tracing::warn!("The published offsets were not all noted in time; they are only a late copy.");
        }
        if tidied.is_err() {
            tracing::warn!("What a transaction may have left open in Kafka was not closed in time.");
        }
        for partition in self.partitions.keys().cloned().collect::<Vec<_>>() {
            self.forget(&partition);
        }
        self.tell(SourceCommand::Stop);
        let goodbye = async { while self.parts.source.events.recv().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("The source did not end in time; the group will notice by itself.");
        }
        ended
    }

    /// Q of each partition, all at once.
    fn last_notes(&mut self) -> BoxFuture<'static, ()> {
        let store = &self.parts.store;
        let notes = self.partitions.values_mut().filter_map(|state| {
            let (store, key) = (store.clone(), state.key.clone());
            let running = state.running()?;
            let (claim, published) = (running.claim, running.published);
            Some(async move {
                if let Err(error) = store.published(&key, claim, published, true).await {
                    tracing::debug!(partition = %key.partition, %error, "The published offset was not noted; it is only a late copy.");
                }
            })
        });
        let notes = futures_util::future::join_all(notes.collect::<Vec<_>>());
        async move { drop(notes.await) }.boxed()
    }
}
