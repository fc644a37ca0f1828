//! Pauses by an operator: of a paused partition nothing is fetched, folded or called; what is in work is finished, decided and published.
//!
//! They stand in Postgres and are asked for every second. While it is away the last that is known stays in force, and before the first
//! answer nothing is started: so a restart keeps a pause. Once all that was begun is over, what a partition has read beyond is dropped,
//! and with it goes its share of the memory budget; it stands then where a claim would find it. A resume starts it anew from there.

use super::Driver;
use crate::event::TopicPartition;
use crate::pipeline::safety::{Safety, without};
use crate::source::SourceCommand;
use crate::store::{Pause, StoreError, pause_of};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the table is looked at.
const OFTEN: Duration = Duration::from_secs(1);

/// What is known of the pauses.
#[derive(Default)]
pub(super) struct Pauses {
    /// The widest first; `None` before the first answer.
    known: Option<Vec<Arc<Pause>>>,
    pub(super) asking: Option<BoxFuture<'static, Result<Vec<Pause>, StoreError>>>,
    not_before: Option<Instant>,
}

impl Pauses {
    /// The pause of a partition.
    pub(super) fn of(&self, partition: &TopicPartition) -> Option<Arc<Pause>> {
        pause_of(self.known.as_deref()?, partition).cloned()
    }

    /// Whether a partition may not be started: it is paused, or nothing is known yet.
    pub(super) fn hold(&self, partition: &TopicPartition) -> bool {
        match self.known.as_deref() {
            Some(known) => pause_of(known, partition).is_some(),
            None => !without(Safety::PausesUnknown),
        }
    }
}

impl Driver {
    /// Asks, now and then.
    pub(super) fn ask_for_pauses(&mut self) {
        if self.pauses.asking.is_some() || self.pauses.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let (store, pipeline) = (self.parts.store.clone(), self.settings.provenance.pipeline.clone());
        self.pauses.asking = Some(async move { store.pauses(&pipeline).await }.boxed());
    }

    pub(super) fn on_pauses(&mut self, answer: Result<Vec<Pause>, StoreError>) {
        self.pauses.not_before = Some(Instant::now() + OFTEN);
        match answer {
            Ok(found) => {
                let before = self.pauses.known.as_deref();
                if before.is_some_and(|known| known.iter().map(|pause| &**pause).eq(&found)) {
                    return;
                }
                self.tell_of_change(before.unwrap_or_default(), &found);
                self.pauses.known = Some(found.into_iter().map(Arc::new).collect());
                self.follow_pauses();
            }
            Err(StoreError::Fatal(detail)) if self.pauses.known.is_none() => self.failed = Some(detail),
            Err(error) => {
                tracing::debug!(%error, "What an operator has paused could not be asked; what is known stands.");
            }
        }
    }

    fn tell_of_change(&self, before: &[Arc<Pause>], now: &[Pause]) {
        let pipeline = &*self.settings.provenance.pipeline;
        let same = |one: &Pause, other: &Pause| (&one.topic, one.partition) == (&other.topic, other.partition);
        for pause in now.iter().filter(|pause| !before.iter().any(|known| **known == **pause)) {
            let (by, reason, since) = (&*pause.by, &*pause.reason, &*pause.since);
            tracing::warn!(
                pipeline,
                what = pause.what(),
                by,
                reason,
                since,
                "Paused by an operator: what is in work is finished, nothing new is begun until `millrace resume`."
            );
            if self.settings.align.is_some() && (pause.topic.is_some() || pause.partition.is_some()) {
                tracing::warn!(
                    pipeline,
                    "The pipeline is aligned: its other partitions wait for the one that is paused as soon as they are too far ahead of it."
                );
            }
        }
        for gone in before.iter().filter(|known| !now.iter().any(|pause| same(pause, known))) {
            tracing::info!(pipeline, what = gone.what(), "Resumed by an operator.");
        }
    }

    /// Brings every partition in line with what is known.
    fn follow_pauses(&mut self) {
        let (mut pause, mut start) = (Vec::new(), Vec::new());
        let Self { pauses, partitions, .. } = self;
        for (partition, state) in partitions {
            state.pause = pauses.of(partition);
            let paused = state.pause.is_some();
            let Some(running) = state.running() else { continue };
            match (paused, running.parked) {
                (true, false) if !running.paused => {
                    running.paused = true;
                    pause.push(partition.clone());
                }
                (false, true) => start.push(partition.clone()),
                // Paused and not parked yet: the budget lets it go on.
                _ => {}
            }
        }
        if !pause.is_empty() {
            self.tell(SourceCommand::Pause(pause));
        }
        if self.draining.is_none() {
            start.iter().for_each(|partition| self.start(partition));
        }
        self.mind_budget();
    }

    /// Drops what paused partitions have read and not begun, once what was begun is over.
    pub(super) fn park(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let folding = self.parts.folding.as_ref();
        for state in self.partitions.values_mut().filter(|state| state.pause.is_some()) {
            let Some(running) = state.running().filter(|running| !running.parked && running.is_over()) else { continue };
            self.parts.budget.free(running.charged_bytes());
            running.park(folding);
            tracing::info!(partition = %state.key.partition, "A paused partition stands still: all that was begun is decided and published.");
        }
    }
}
