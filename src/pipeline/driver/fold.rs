//! Fold: the events of each partition into the states of their keys, in the order of the log, ahead of the calls.

use super::{Driver, current, finish};
use crate::event::{Event, TopicPartition};
use crate::function::Input;
use crate::pipeline::memory::{AfterFold, FoldError, Folder, Then, Waiting};
use crate::pipeline::partition::{Phase, Running};
use std::time::Duration;
use tokio::time::Instant;

/// Events that are folded together: their keys are read in one query.
const SLICE: usize = if cfg!(test) { 8 } else { 1_000 };
/// Events of a partition that are folded and not called yet, about; the fold waits then.
const AHEAD: usize = if cfg!(test) { 12 } else { 4_000 };
/// A partition that has been idle for so long writes what its states have changed, so that nobody has to fold it again.
const IDLE: Duration = Duration::from_secs(1);

/// What came of folding some events of a partition.
pub(super) struct FoldDone {
    partition: TopicPartition,
    incarnation: u64,
    events: usize,
    result: Result<Vec<AfterFold>, FoldError>,
}

/// Where an event goes once it is read: to the fold, where there is one, else to the calls.
pub(super) fn take(running: &mut Running, event: Event, then: Then) {
    match &mut running.memory {
        Some(memory) => {
            if then == Then::Replayed {
                memory.replayed_bytes += event.cost_bytes();
            }
            memory.waiting.push_back(Waiting { event, then });
        }
        None if then == Then::Score => running.buffer.push(event.raw.timestamp_ms, Input::plain(event)),
        None => {}
    }
}

impl Driver {
    /// Folds what waits. Not while a suspect is in work, since a death would be counted against it, nor while one is about to be.
    pub(super) fn start_folds(&mut self) {
        let Some(folding) = self.parts.folding.clone() else { return };
        if self.draining.is_some() || self.has_named() || self.wants_quiet() {
            return;
        }
        let bytes = folding.bytes / self.partitions.len().max(1);
        for (partition, state) in &mut self.partitions {
            if state.rests() {
                continue;
            }
            let (incarnation, key) = (state.incarnation, &state.key);
            let Phase::Running(running) = &mut state.phase else { continue };
            let ready = running.buffer.len();
            let Some(memory) = &mut running.memory else { continue };
            memory.share_bytes = bytes;
            if memory.in_fold > 0 || memory.waiting.is_empty() || ready >= AHEAD || memory.is_full() {
                continue;
            }
            let (events, states) = memory.take(SLICE);
            let folder = Folder { store: self.parts.store.clone(), key: key.clone(), backoff: self.settings.backoff, bytes };
            let (partition, count) = (partition.clone(), events.len());
            self.folds.spawn(async move {
                let result = folder.fold(states, events).await;
                FoldDone { partition, incarnation, events: count, result }
            });
        }
    }

    pub(super) fn on_fold(&mut self, done: FoldDone) {
        let FoldDone { partition, incarnation, events, result } = done;
        let Some(running) = current(&mut self.partitions, &partition, incarnation) else { return };
        let Some(memory) = &mut running.memory else { return };
        memory.in_fold -= events;
        memory.used = Instant::now();
        let (mut charged, mut freed) = (0, 0);
        match result {
            Ok(folded) => {
                for event in folded {
                    match event {
                        AfterFold::Scored(input) => running.buffer.push(input.event.raw.timestamp_ms, *input),
                        AfterFold::Replayed { bytes } => freed += bytes,
                        AfterFold::Ended { offset, ending } => charged += finish(running, offset, ending),
                        AfterFold::Rejected(raw, rejection) => {
                            let ending = self.caller.dead(&raw, &rejection);
                            charged += finish(running, raw.position.offset, ending);
                        }
                    }
                }
            }
            Err(FoldError::Halt(reason)) => return self.halt(&partition, reason),
            Err(FoldError::Fatal(reason)) => {
                self.failed = Some(reason);
                return;
            }
        }
        if let Some(memory) = &mut running.memory {
            memory.replayed_bytes -= freed;
        }
        running.write_past();
        self.parts.budget.charge(charged);
        self.parts.budget.free(freed);
        self.mind_budget();
    }

    /// A decide that stands still, for states that nobody writes while a partition is idle, while it folds a long past, or when it stops in the
    /// midst of one.
    pub(super) fn flush_idle(&mut self) {
        let (draining, now) = (self.draining.is_some(), Instant::now());
        for state in self.partitions.values_mut() {
            let stops = draining || state.pause.is_some();
            let idle = if stops { Duration::ZERO } else { IDLE };
            let Some(running) = state.running() else { continue };
            running.write_past();
            if running.wants_flush() && running.memory.as_ref().is_some_and(|memory| now - memory.used >= idle) {
                running.flush();
            }
            if stops && (draining || !running.is_rewriting()) && running.wants_past_written() {
                running.flush();
            }
        }
    }
}
