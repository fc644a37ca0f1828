//! What one model thread runs texts with: the shared weights, its own cache and buffers, and the prefixes that it keeps.

use super::blocks::{Blocks, Sequence};
use super::model::{Causal, Scratch, Step};
use crate::inference::InferenceError;
use crate::inference::worked;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Beginnings that are worth keeping, such as that of a template; the same for all threads of a generator.
pub(super) type Remembered = Arc<Mutex<Vec<Arc<[u32]>>>>;

pub(super) struct Lane {
    pub(super) model: Arc<Causal>,
    pub(super) blocks: Blocks,
    pub(super) scratch: Scratch,
    /// Tokens that go through the network together.
    pub(super) budget: usize,
    remembered: Remembered,
    /// Those of the remembered beginnings that are computed.
    kept: Vec<(Arc<[u32]>, Sequence)>,
}

impl Lane {
    pub(super) fn new(model: Arc<Causal>, blocks: usize, budget: usize, remembered: Remembered) -> Self {
        let blocks = Blocks::new(model.spec(), blocks);
        Self { model, blocks, scratch: Scratch::default(), budget: budget.max(1), remembered, kept: Vec::new() }
    }

    /// Blocks for a text of `tokens`. Where `ids` begin with a remembered prefix the text shares its blocks and begins behind it; at
    /// least the last of `ids` is left to be computed. Where that prefix cannot be kept, the text computes it by itself in the same
    /// pieces, since where a text is cut shows in the last bits of its numbers. With the sequence goes how many of its ids somebody
    /// else had computed. `beside` blocks stay free for what comes behind. `None`: not enough blocks are free.
    pub(super) fn begin(&mut self, ids: &[u32], tokens: usize, beside: usize) -> Option<(Sequence, usize)> {
        self.begin_as(self.model.limit().is_long(ids.len()), ids, tokens, beside)
    }

    /// The same for ids that belong to a text which is a long one, or is not. A beginning that was computed as the other kind is of
    /// no use, and a text that may change its kind shares no blocks.
    pub(super) fn begin_as(&mut self, long: bool, ids: &[u32], tokens: usize, beside: usize) -> Option<(Sequence, usize)> {
        let limit = self.model.limit();
        let Some(prefix) = self.longest(ids).filter(|prefix| limit.is_long(prefix.len()) == long) else {
            let mut sequence = self.blocks.allocate(tokens)?;
            sequence.become_long(long);
            return Some((sequence, 0));
        };
        let shared = prefix.len().min(ids.len() - 1);
        let changes = limit.is_long(tokens) != long;
        if !changes && let Some(kept) = self.keep(&prefix, Blocks::needed_to_fork(shared, tokens) + beside) {
            return Some((self.blocks.fork(&self.kept[kept].1, shared, tokens)?, shared));
        }
        let mut sequence = self.blocks.allocate(tokens)?;
        sequence.become_long(long);
        match self.feed(&mut sequence, &prefix) {
            Ok(()) => sequence.shorten(shared),
            // The text itself will meet the same error, and tell it to somebody.
            Err(_) => sequence.shorten(0),
        }
        Some((sequence, 0))
    }

    /// The longest remembered prefix of `ids`. What is no longer remembered is given up.
    fn longest(&mut self, ids: &[u32]) -> Option<Arc<[u32]>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (_, sequence) in self.kept.extract_if(.., |(prefix, _)| !remembered.contains(prefix)) {
            self.blocks.release(sequence);
        }
        remembered.into_iter().filter(|prefix| ids.starts_with(prefix)).max_by_key(|prefix| prefix.len())
    }

    /// Where a prefix is kept; it is computed when it is met for the first time and there is room for it and as many
    /// blocks as the text takes.
    fn keep(&mut self, prefix: &Arc<[u32]>, blocks: usize) -> Option<usize> {
        if let Some(kept) = self.kept.iter().position(|(kept, _)| kept == prefix) {
            return Some(kept);
        }
        if Blocks::needed(prefix.len()) + blocks > self.blocks.free() {
            return None;
        }
        let mut sequence = self.blocks.allocate(prefix.len())?;
        self.model.reach(&mut sequence, prefix.len());
        match self.feed(&mut sequence, prefix) {
            Ok(()) => self.kept.push((Arc::clone(prefix), sequence)),
            // The text itself will meet the same error, and tell it to somebody.
            Err(_) => {
                self.blocks.release(sequence);
                return None;
            }
        }
        Some(self.kept.len() - 1)
    }

    /// Another text that begins with the `prompt` cached tokens of `from` and grows to `tokens`: it shares their blocks, or has a copy
    /// where it may have to write them anew. Takes [`Limit::beside`](super::limit::Limit::beside) blocks.
    pub(super) fn another(&mut self, from: &Sequence, prompt: usize, tokens: usize) -> Option<Sequence> {
        if !self.model.limit().crosses(prompt, tokens) {
            return self.blocks.fork(from, prompt, tokens);
        }
        let mut own = self.blocks.allocate(tokens)?;
        if let Err(_) | Ok(false) = self.blocks.copy(from, &mut own, 0).map(|()| own.len() == prompt) {
            self.blocks.release(own);
            return None;
        }
        Some(own)
    }

    /// Gives up what is kept, so that there is room; it is computed anew when it is met again.
    pub(super) fn forget(&mut self) {
        for (_, sequence) in self.kept.drain(..) {
            self.blocks.release(sequence);
        }
    }

    /// Computes ids of one sequence, as many together as the budget allows. The hidden state of the last is left in the scratch.
    pub(super) fn feed(&mut self, sequence: &mut Sequence, ids: &[u32]) -> Result<(), InferenceError> {
        for ids in ids.chunks(self.budget) {
            self.advance(&mut [Step { sequence, ids, all: false }])?;
        }
        Ok(())
    }

    /// One pass; a panic is an error. Leaves hidden states, and returns how many.
    pub(super) fn advance(&mut self, steps: &mut [Step<'_>]) -> Result<usize, InferenceError> {
        worked::add(steps.iter().map(|step| step.ids.len()).sum());
        let Self { model, blocks, scratch, .. } = self;
        catch_unwind(AssertUnwindSafe(|| model.advance(steps, blocks, scratch))).unwrap_or_else(|_| Err(panicked()))
    }

    /// Logits `[rows, vocabulary]` of rows that the last pass left; a panic is an error.
    pub(super) fn logits(&mut self, rows: Range<usize>) -> Result<&mut [f32], InferenceError> {
        let (model, scratch) = (&self.model, &mut self.scratch);
        catch_unwind(AssertUnwindSafe(move || model.logits(rows, scratch))).unwrap_or_else(|_| Err(panicked()))
    }
}

/// The message of a panic may quote what was in work, so it is not told.
pub(super) fn panicked() -> InferenceError {
    InferenceError::Poison("the model panicked".to_owned())
}
