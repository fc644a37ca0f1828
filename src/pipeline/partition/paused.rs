//! What a pause makes of a partition: over, read once more for its states, parked.

use super::{Partition, Phase, Running};
use crate::flow::{Buffer, Ledger};
use crate::pipeline::memory::{Folding, Memory};
use crate::pipeline::safety::{Safety, without};

impl Running {
    /// Whether all that was begun is decided, written and published. What was read and not begun may be there.
    pub fn is_over(&self) -> bool {
        let rewriting = self.is_rewriting();
        let folds = self.memory.as_ref().is_some_and(|memory| memory.in_fold > 0 || rewriting && !memory.has_replayed());
        self.is_settled() && !folds && !self.ledger.is_ready() && !self.wants_flush() && !self.wants_past_written()
    }

    /// Whether it is paused and reads [S, P) once more.
    pub fn is_rewriting(&self) -> bool {
        self.rewrites && !self.parked
    }

    /// Whether [S, P) must be read once more before S can reach P: the states at hand have events from P on in them, or are not at hand. Where
    /// it is the long past of a new run it waits for the resume, as everything else does.
    pub fn owes_states(&self) -> bool {
        let is_short = self.memory.as_ref().is_some_and(|memory| memory.is_short(self.fold_from, self.decided));
        is_short && self.fold_from < self.decided && !self.rewrites && !without(Safety::ParkedOwesNothing)
    }

    /// Whether an event is one that a partition which is paused does not take: all of [S, P) has come then.
    pub fn passes_over(&mut self, offset: i64) -> bool {
        let beyond = self.is_rewriting() && offset >= self.decided;
        if let Some(memory) = self.memory.as_mut().filter(|_| beyond) {
            memory.next = memory.next.max(self.decided);
        }
        beyond
    }

    /// Whether the source has given all that a partition which is paused reads once more.
    pub fn has_reread(&self) -> bool {
        self.is_rewriting() && self.memory.as_ref().is_none_or(|memory| memory.next >= self.decided)
    }

    /// Drops what was read and not begun: it stands where a claim would find it, and is read again from there.
    pub fn park(&mut self, folding: Option<&Folding>) {
        self.ledger = Ledger::new(self.decided);
        self.buffer = Buffer::default();
        self.memory = folding.map(|folding| Memory::new(folding, self.fold_from, self.decided));
        let start = self.start();
        if let Some(open) = &mut self.open {
            open.stand(start, self.decided);
        }
        self.end = None;
        self.started = without(Safety::ParkedStartsAnew);
        self.paused = true;
        self.parked = true;
    }
}

impl Partition {
    /// Whether an operator has it paused, and nothing of it is folded meanwhile.
    pub fn rests(&self) -> bool {
        let rewriting = matches!(&self.phase, Phase::Running(running) if running.is_rewriting());
        self.pause.is_some() && !rewriting
    }
}
