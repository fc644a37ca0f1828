//! Compute: slices through the function.

use super::canary::Scored;
use super::{Driver, SliceDone, current, finish};
use crate::function::Input;
use crate::pipeline::call::{Ended as SliceEnded, Item, SliceError, Suspect};
use crate::pipeline::partition::{Partition, Running};
use crate::pipeline::safety::{Safety, without};
use std::sync::Arc;

impl Driver {
    /// Cuts slices across partitions while the function has room: the oldest head goes first.
    pub(super) fn dispatch(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let limits = self.parts.function.spec().limits.clone();
        let pipeline = self.settings.provenance.pipeline.clone();
        // While a partition is on probation its next event is alone in work, over all partitions: else a death would not tell whose it was.
        let aligned_to = self.aligned_to();
        let mut probing = self.is_probing(aligned_to);
        let aligned_to = aligned_to.filter(|_| !(probing && without(Safety::ProbationWaits)));
        if probing && (!self.slices.is_empty() || !self.folds.is_empty() || self.has_named()) {
            return;
        }
        while self.slices.len() < if probing { 1 } else { limits.calls_in_flight } {
            let (mut items, mut taken, mut suspect) = (Vec::new(), Vec::new(), None);
            while items.len() < limits.slice && suspect.is_none() {
                let oldest = self
                    .partitions
                    .iter_mut()
                    .filter_map(|(partition, state)| {
                        let (incarnation, waits) = (state.incarnation, state.pause.is_some());
                        let running = state.running()?;
                        if waits || probing && (running.probation == 0 || !items.is_empty()) {
                            return None;
                        }
                        let head = running.buffer.head()?;
                        let first = match aligned_to {
                            None => running.buffer.head_ms()?,
                            Some(to) => Some(head.event.event_time_ms).filter(|time_ms| *time_ms <= to)?,
                        };
                        // Without its version it waits, and holds back nothing but its partition.
                        running.taking.version_of(&pipeline, head, &self.swaps.ready)?;
                        Some((first, partition.clone(), incarnation))
                    })
                    .min();
                let Some((_, partition, incarnation)) = oldest else { break };
                let Some(state) = self.partitions.get_mut(&partition) else { break };
                let key = state.key.clone();
                let Some(running) = state.running() else { break };
                let room = if running.probation > 0 { 1 } else { limits.slice - items.len() };
                let before = items.len();
                let Running { buffer, taking, .. } = &mut *running;
                let version_of = |input: &Input| {
                    let may_go = aligned_to.is_none_or(|to| input.event.event_time_ms <= to);
                    taking.version_of(&pipeline, input, &self.swaps.ready).filter(|_| may_go)
                };
                let taken_out = buffer.take_with(room, version_of);
                items.extend(taken_out.map(|(input, version)| Item { incarnation, version, input }));
                if let Some(last) = items.last() {
                    taking.put_to_work(last.input.event.raw.position.offset);
                }
                let count = items.len() - before;
                running.in_call += count;
                if running.probation > 0 {
                    running.probation -= 1;
                    suspect = items.last().map(|item| {
                        let offset = item.input.event.raw.position.offset;
                        let before =
                            running.suspected.filter(|(suspected, _)| *suspected == offset).map_or(0, |(_, times)| times);
                        running.named = Some(offset);
                        let named = self.named.entry(partition.clone()).or_default();
                        named.insert(offset, before + 1);
                        named.retain(|offset, _| *offset >= running.decided);
                        Suspect { key, claim: running.claim, offset, times: before + 1, stay: Arc::downgrade(&running.stay) }
                    });
                }
                taken.push((partition, incarnation, count));
            }
            if items.is_empty() {
                return;
            }
            let caller = self.caller.clone();
            probing |= suspect.is_some();
            self.slices.spawn(async move { SliceDone { taken, result: caller.run(items, suspect).await } });
        }
    }

    /// Whether an event that was named as a suspect is not decided yet.
    pub(super) fn has_named(&mut self) -> bool {
        self.partitions.values_mut().filter_map(Partition::running).any(|running| running.named.is_some())
    }

    /// Whether the next event is to be alone in work: then nothing more is folded either, or what is folded ahead elsewhere, which may be all of
    /// a long past, would never leave it alone.
    pub(super) fn wants_quiet(&mut self) -> bool {
        let some = self.partitions.values_mut().filter_map(Partition::running).any(|running| running.probation > 0);
        if !some || without(Safety::ProbedWithoutFolds) {
            return false;
        }
        let aligned_to = self.aligned_to();
        self.is_probing(aligned_to)
    }

    /// Whether a partition on probation has an event that may go, is in work or is not decided yet. While its next one is not folded, is too
    /// far ahead of the others, or waits for its version, it is their turn.
    fn is_probing(&mut self, aligned_to: Option<i64>) -> bool {
        let (pipeline, ready) = (self.settings.provenance.pipeline.clone(), &self.swaps.ready);
        let is_ahead = |running: &Running| {
            let Some(head) = running.buffer.head() else { return false };
            let lacks_version = running.taking.version_of(&pipeline, head, ready).is_none();
            if lacks_version && running.in_call == 0 {
                return true;
            }
            let waits = aligned_to.is_some_and(|to| head.event.event_time_ms > to);
            waits && running.in_call == 0 && !without(Safety::ProbationWaits)
        };
        let has_work = |running: &Running| match &running.memory {
            Some(memory) if without(Safety::ProbedWithoutFolds) && !memory.is_idle() => true,
            _ => running.in_call > 0 || running.buffer.head().is_some(),
        };
        let is_probed = |running: &Running| running.probation > 0 && has_work(running) && !is_ahead(running);
        // Of one that is paused nothing comes any more, but what is in work.
        let probed = |state: &mut Partition| {
            let waits = state.pause.is_some();
            let running = state.running()?;
            Some(running.named.is_some() || is_probed(running) && !(waits && running.in_call == 0))
        };
        !without(Safety::AloneInWork) && self.partitions.values_mut().filter_map(probed).any(|probed| probed)
    }

    pub(super) fn on_slice(&mut self, done: SliceDone) {
        for (partition, incarnation, count) in &done.taken {
            if let Some(running) = current(&mut self.partitions, partition, *incarnation) {
                running.in_call -= count;
            }
        }
        match done.result {
            Ok(endings) => self.on_endings(endings),
            Err(SliceError::GivenUp { version, ended, left }) => {
                self.on_endings(ended);
                for (partition, incarnation) in left {
                    if current(&mut self.partitions, &partition, incarnation).is_some() {
                        tracing::warn!(%partition, version = &*version, "Calls of a version that is wanted no more were given up; the partition is claimed anew.");
                        self.reclaim(partition, self.settings.backoff);
                    }
                }
            }
            Err(SliceError::Superseded) => {
                for (partition, incarnation, _) in done.taken {
                    if current(&mut self.partitions, &partition, incarnation).is_some() {
                        self.superseded(partition);
                    }
                }
            }
            Err(SliceError::Fatal { detail, by }) => self.fail_by(detail, by),
        }
    }

    fn on_endings(&mut self, endings: Vec<SliceEnded>) {
        let (mut charged, wish, mut scored) = (0, self.swaps.wish(), Scored::default());
        for SliceEnded { partition, incarnation, offset, version, ending } in endings {
            if wish.is_some() {
                self.watch.count(wish.as_deref(), &version, &ending);
                scored.add(&version, &ending);
            }
            if let Some(running) = current(&mut self.partitions, &partition, incarnation) {
                charged += finish(running, offset, ending);
            }
        }
        self.parts.budget.charge(charged);
        scored.tell(&*self.parts.observer);
        self.judge_canary();
    }
}
