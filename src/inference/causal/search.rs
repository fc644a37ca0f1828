//! A beam search on one thread's lane: one place in the cache a beam, and where texts branch, the copy of what they have in common.

use super::beams::{BeamOptions, Beams, Hypothesis};
use super::blocks::{Blocks, Sequence};
use super::job::Search;
use super::lane::{Lane, panicked};
use super::limit::Limit;
use super::model::Step;
use super::ops::log_softmax;
use crate::inference::InferenceError;
use crate::inference::worked::Meter;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A search in work.
pub(super) struct Searching {
    job: Search,
    beams: Beams,
    /// One for each beam; behind the prompt their blocks are their own.
    places: Vec<Sequence>,
    /// Holds the blocks of the other beams while the prompt is computed.
    reserve: Option<Sequence>,
}

/// Blocks that a search takes: a whole text, and what each other beam adds behind the prompt.
pub(super) fn blocks(limit: Limit, prompt: usize, max_new_tokens: usize, options: BeamOptions) -> usize {
    let tokens = prompt + max_new_tokens;
    let others = options.beams.saturating_sub(1).saturating_mul(limit.beside(prompt, tokens));
    Blocks::needed(tokens).saturating_add(others)
}

impl Searching {
    /// Takes a search in, or hands it back when there are not enough blocks.
    pub(super) fn begin(lane: &mut Lane, job: Search) -> Result<Self, Search> {
        let tokens = job.ids.len() + job.max_new_tokens;
        let others = (job.options.beams - 1) * lane.model.limit().beside(job.ids.len(), tokens);
        let Some(reserve) = lane.blocks.allocate(others * super::BLOCK) else {
            return Err(job);
        };
        let Some((first, _)) = lane.begin(&job.ids, tokens, 0) else {
            lane.blocks.release(reserve);
            return Err(job);
        };
        let beams = Beams::new(job.options, job.stop_ids.clone(), job.max_new_tokens);
        Ok(Self { job, beams, places: vec![first], reserve: Some(reserve) })
    }

    /// Where its tokens are counted.
    pub(super) fn meter(&self) -> Meter {
        self.job.meter.clone()
    }

    pub(super) fn cancelled(&self) -> bool {
        self.job.reply.is_closed()
    }

    /// One pass. Whether the search is at its end.
    pub(super) fn turn(&mut self, lane: &mut Lane) -> Result<bool, InferenceError> {
        let prompt = self.job.ids.len();
        if self.places[0].len() >= prompt {
            self.grow(lane)?;
        }
        let done = self.places[0].len();
        let last: Vec<u32> = self.beams.last().collect();
        let mut steps: Vec<Step<'_>> = if done < prompt {
            let ids = &self.job.ids[done..prompt.min(done + lane.budget)];
            vec![Step { sequence: &mut self.places[0], ids, all: false }]
        } else {
            self.places
                .iter_mut()
                .zip(&last)
                .map(|(sequence, id)| Step { sequence, ids: std::slice::from_ref(id), all: false })
                .collect()
        };
        let rows = lane.advance(&mut steps)?;
        if self.places[0].len() < prompt {
            return Ok(false);
        }
        let width = lane.model.vocabulary();
        let logits = lane.logits(0..rows)?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(InferenceError::Poison("a logit is not a finite number".to_owned()));
        }
        logits.chunks_exact_mut(width).for_each(log_softmax);
        match self.chosen(logits, width)? {
            None => Ok(true),
            Some(parents) => self.follow(lane, &parents).map(|()| false),
        }
    }

    /// From which text each of the next ones comes, given log-probabilities that nobody has changed; a panic of who steers is an error.
    fn chosen(&mut self, log_probabilities: &mut [f32], width: usize) -> Result<Option<Vec<usize>>, InferenceError> {
        let (beams, job) = (&mut self.beams, &mut self.job);
        let Some(steer) = &mut job.steer else { return Ok(beams.advance(log_probabilities, |_| false)) };
        let prompt = job.ids.len();
        let work = || {
            for (text, row) in beams.texts().zip(log_probabilities.chunks_exact_mut(width)) {
                steer.change(&[&job.ids, text].concat(), prompt, row);
                // What is no number is out of the question, as what is forbidden is.
                row.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = f32::NEG_INFINITY);
            }
            beams.advance(log_probabilities, |ids| steer.ends(ids))
        };
        catch_unwind(AssertUnwindSafe(work)).map_err(|_| panicked())
    }

    /// Computes the open texts anew, but for their last ids, when these make long texts of them.
    fn grow(&mut self, lane: &mut Lane) -> Result<(), InferenceError> {
        let ids = &self.job.ids;
        for (sequence, text) in self.places.iter_mut().zip(self.beams.texts()) {
            let tokens = ids.len() + text.len();
            if lane.model.limit().is_long(tokens) && !sequence.is_long() {
                lane.model.reach(sequence, tokens);
                lane.feed(sequence, &[ids, &text[..text.len().saturating_sub(1)]].concat())?;
            }
        }
        Ok(())
    }

    /// Gives each open text its place: that of the text it comes from, or a copy of it.
    fn follow(&mut self, lane: &mut Lane, parents: &[usize]) -> Result<(), InferenceError> {
        let prompt = self.job.ids.len();
        let tokens = prompt + self.job.max_new_tokens;
        // A place that stood empty when the others were computed anew has nothing in common with them.
        let common = if lane.model.limit().crosses(prompt, tokens) { 0 } else { prompt };
        if let Some(reserve) = self.reserve.take() {
            // All of them begin as the prompt does.
            lane.blocks.release(reserve);
            for _ in 1..self.job.options.beams {
                let place = lane.another(&self.places[0], prompt, tokens);
                self.places.push(place.ok_or_else(|| InferenceError::Poison("the cache has no room for a beam".to_owned()))?);
            }
        }
        // The first child keeps the place of its parent, the others take those of texts without children.
        let mut old: Vec<Option<Sequence>> = self.places.drain(..).map(Some).collect();
        let mut free: Vec<usize> = (0..old.len()).filter(|place| !parents.contains(place)).collect();
        let mut from = vec![None; parents.len()];
        let mut at: Vec<usize> = Vec::with_capacity(parents.len());
        for (child, &parent) in parents.iter().enumerate() {
            if at.contains(&parent) {
                from[child] = Some(parent);
                at.extend(free.pop());
            } else {
                at.push(parent);
            }
        }
        let mut result = Ok(());
        for (&place, parent) in at.iter().zip(&from) {
            if let Some(parent) = parent
                && let Some(mut target) = old[place].take()
            {
                if let Some(source) = &old[*parent] {
                    result = result.and(lane.blocks.copy(source, &mut target, common));
                }
                old[place] = Some(target);
            }
        }
        self.places = at.into_iter().chain(free).filter_map(|place| old[place].take()).collect();
        result
    }

    /// Answers, and gives the blocks back.
    pub(super) fn end(self, lane: &mut Lane, result: Result<(), InferenceError>) {
        self.places.into_iter().chain(self.reserve).for_each(|place| lane.blocks.release(place));
        let whole: Result<Vec<Hypothesis>, InferenceError> = result.map(|()| self.beams.whole());
        // A caller that has gone away needs no answer.
        self.job.reply.send(whole).ok();
    }
}
