//! Pauses by an operator: of a paused partition nothing is fetched, folded or called; what is in work is finished, decided and published.
//!
//! They stand in Postgres and are asked for every second. While it is away the last that is known stays in force, and before the first
//! answer nothing is started: so a restart keeps a pause. Once all that was begun is over, what a partition has read beyond is dropped,
//! and with it goes its share of the memory budget; it stands then where a claim would find it. A resume starts it anew from there.

use super::Driver;
use crate::event::TopicPartition;
use crate::pipeline::partition::Running;
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

/// Before the first answer nothing starts: after so long it is told.
const SILENCE: Duration = Duration::from_secs(10);
/// How often it is told that they cannot be read, where that comes and goes.
const APART: Duration = Duration::from_secs(60);

/// What was told of a table that cannot be read.
#[derive(Default)]
struct Trouble {
    /// When it was asked for first.
    since: Option<Instant>,
    told_of_silence: bool,
    /// Whether a failure was told whose end was not.
    open: bool,
    told: Option<Instant>,
}

impl Trouble {
    /// Whether to tell that nothing has been heard for long.
    fn is_long(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let tell = now - since >= SILENCE && !self.told_of_silence;
        self.told_of_silence |= tell;
        tell
    }

    /// Whether to tell of a failure: the first of a row of them, unless the last was told just now.
    fn failed(&mut self, now: Instant) -> bool {
        let tell = !self.open && self.told.is_none_or(|told| now - told >= APART);
        if tell {
            (self.open, self.told) = (true, Some(now));
        }
        tell
    }

    /// Whether to tell that it is over.
    fn ended(&mut self) -> bool {
        std::mem::take(&mut self.open) | std::mem::take(&mut self.told_of_silence)
    }
}

/// What is known of the pauses.
#[derive(Default)]
pub(super) struct Pauses {
    /// The widest first; `None` before the first answer.
    known: Option<Vec<Arc<Pause>>>,
    pub(super) asking: Option<BoxFuture<'static, Result<Vec<Pause>, StoreError>>>,
    not_before: Option<Instant>,
    trouble: Trouble,
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
        if self.pauses.known.is_none() && self.pauses.trouble.is_long(Instant::now()) {
            tracing::warn!(
                pipeline = &*self.settings.provenance.pipeline,
                "What an operator has paused could not be read for {} s: nothing starts until it can. Look at Postgres, and at the right to read millrace.pause.",
                SILENCE.as_secs()
            );
        }
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
                if self.pauses.trouble.ended() {
                    tracing::info!(
                        pipeline = &*self.settings.provenance.pipeline,
                        "What an operator has paused can be read again."
                    );
                }
                let before = self.pauses.known.as_deref();
                if before.is_some_and(|known| known.iter().map(|pause| &**pause).eq(&found)) {
                    return;
                }
                self.tell_of_change(before.unwrap_or_default(), &found);
                self.pauses.known = Some(found.into_iter().map(Arc::new).collect());
                self.follow_pauses();
            }
            Err(StoreError::Fatal(detail)) if self.pauses.known.is_none() => self.failed = Some(detail),
            Err(error) if self.pauses.trouble.failed(Instant::now()) => {
                let pipeline = &*self.settings.provenance.pipeline;
                tracing::warn!(pipeline, %error, "What an operator has paused cannot be read; what is known stands, and is asked for every second.");
            }
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
                (false, parked) if parked || running.rewrites => {
                    running.rewrites = false;
                    running.started = without(Safety::ParkedStartsAnew);
                    start.push(partition.clone());
                }
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

    /// Drops what paused partitions have read and not begun, once what was begun is over. One that remembers more than it has written reads
    /// [S, P) once more first: what was folded ahead is in the states at hand, and a pause may outlast the topic's retention. A new run that
    /// stops in the midst of its past has written what it folded, and folds the rest when it is resumed.
    pub(super) fn park(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let folding = self.parts.folding.as_ref();
        let (mut still, mut again) = (Vec::new(), Vec::new());
        for (partition, state) in self.partitions.iter_mut().filter(|(_, state)| state.pause.is_some()) {
            let over = |running: &&mut Running| running.is_over() && (!running.parked || running.owes_states());
            let Some(running) = state.running().filter(over) else { continue };
            let owes = running.owes_states();
            self.parts.budget.free(running.charged_bytes());
            running.park(folding);
            if owes {
                running.rewrites = true;
                tracing::info!(%partition, from = running.fold_from, to = running.decided, "A paused partition reads events once more, to write the states that they left.");
                again.push(partition.clone());
            } else {
                if running.memory.is_some() && running.fold_from < running.decided {
                    let (from, to) = (running.fold_from, running.decided);
                    tracing::warn!(%partition, from, to, "A paused partition stands still before its past is folded: the log must keep what comes from there on until it is resumed.");
                }
                tracing::info!(%partition, "A paused partition stands still: all that was begun is decided and published.");
                still.push(partition.clone());
            }
        }
        if !still.is_empty() {
            self.tell(SourceCommand::Pause(still));
        }
        again.iter().for_each(|partition| self.start(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a worker that cannot read pauses and says nothing, one that says it every second, an end that is not told.
    #[test]
    fn trouble_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let (start, mut trouble) = (Instant::now(), Trouble::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!trouble.ended(), "nothing was told");
        assert!(trouble.failed(at(0)) && !trouble.failed(at(1)) && !trouble.failed(at(100)));
        assert!(trouble.ended() && !trouble.ended());
        assert!(trouble.failed(at(120)) && trouble.ended());
        assert!(!trouble.failed(at(130)) && !trouble.ended(), "it comes and goes");
        assert!(trouble.failed(at(181)));
    }

    /// Would catch: a worker that waits for its first answer and does not say so.
    #[test]
    fn silence_is_told_once_after_ten_seconds() {
        let (start, mut trouble) = (Instant::now(), Trouble::default());
        let mut at = |seconds| trouble.is_long(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(9), at(10), at(11)], [false, false, true, false]);
        assert!(trouble.ended());
    }
}
