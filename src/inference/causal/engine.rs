//! One model thread's texts: who is admitted, what goes through the network together, and what becomes of each.

use super::blocks::{BLOCK, Blocks, Sequence};
use super::job::{Generate, Job, Other};
use super::lane::{Lane, panicked};
use super::limit::Limit;
use super::model::Step;
use super::request::{Choice, Finish, Generated, Token};
use super::score;
use super::search::Searching;
use crate::inference::InferenceError;
use crate::inference::worked::{Meter, within};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A text that is being written.
struct Running {
    sequence: Sequence,
    /// Prompt and new ids; those behind `sequence.len()` are not computed yet.
    ids: Vec<u32>,
    prompt: usize,
    cached: usize,
    tokens: Vec<Token>,
    job: Generate,
    /// Holds the blocks of the other answers to this prompt while it is computed.
    reserve: Option<Sequence>,
    /// Set when the text is at its end.
    ended: Option<Result<Finish, InferenceError>>,
}

/// Blocks that a prompt takes whose answers, one and `others` more, have up to `tokens` with it.
pub(super) fn blocks(limit: Limit, prompt: usize, tokens: usize, others: usize) -> usize {
    Blocks::needed(tokens).saturating_add(others.saturating_mul(limit.beside(prompt, tokens)))
}

pub(super) struct Engine {
    lane: Lane,
    running: Vec<Running>,
    /// Beam searches; each goes through the network by itself, its beams together.
    searching: Vec<Searching>,
}

impl Engine {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, running: Vec::new(), searching: Vec::new() }
    }

    /// The cache and the buffers, when nothing is in work.
    pub(super) fn into_lane(self) -> Lane {
        self.lane
    }

    /// Texts in work.
    pub(super) fn running(&self) -> usize {
        self.running.len() + self.searching.len()
    }

    /// Takes a job in when there are blocks for it, else hands it back. Scores are answered at once.
    pub(super) fn admit(&mut self, job: Job) -> Result<(), Job> {
        if job.cancelled() {
            return Ok(());
        }
        let job = match self.start(job) {
            // Nobody will give blocks back but the prefixes.
            Err(job) if self.running() == 0 => {
                self.lane.forget();
                self.start(job)
            }
            other => other,
        };
        match job {
            Err(job) if self.running() == 0 => {
                job.fail(InferenceError::Poison("the cache has no room for it".to_owned()));
                Ok(())
            }
            other => other,
        }
    }

    fn start(&mut self, job: Job) -> Result<(), Job> {
        match job {
            Job::Score(job) => within(&job.meter.clone(), || score::answer(&mut self.lane, job)).map_err(Job::Score),
            Job::Search(job) => match Searching::begin(&mut self.lane, job) {
                Ok(search) => {
                    self.searching.push(search);
                    Ok(())
                }
                Err(job) => Err(Job::Search(job)),
            },
            Job::Generate(mut job) => {
                let tokens = job.ids.len() + job.max_new_tokens;
                let others = job.others.len() * self.lane.model.limit().beside(job.ids.len(), tokens);
                let Some(reserve) = self.lane.blocks.allocate(others * BLOCK) else {
                    return Err(Job::Generate(job));
                };
                let Some((sequence, cached)) = self.lane.begin(&job.ids, tokens, 0) else {
                    self.lane.blocks.release(reserve);
                    return Err(Job::Generate(job));
                };
                let ids = std::mem::take(&mut job.ids);
                let prompt = ids.len();
                self.running.push(Running {
                    sequence,
                    ids,
                    prompt,
                    cached,
                    tokens: Vec::new(),
                    job,
                    reserve: Some(reserve),
                    ended: None,
                });
                Ok(())
            }
        }
    }

    /// One pass through the network for all texts in work, and one token for each whose ids are computed.
    pub(super) fn turn(&mut self) {
        for text in self.running.iter_mut().filter(|text| text.job.cancelled()) {
            text.ended = Some(Err(InferenceError::Closed("nobody waits for the answer".to_owned())));
        }
        self.part();
        for text in &mut self.running {
            self.lane.model.reach(&mut text.sequence, text.ids.len());
        }
        let feeds = self.feeds();
        if let Err(error) = self.pass(&feeds) {
            // Somebody's fault, and the others shall not have it: each goes alone.
            for (index, count) in feeds.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                let mut alone = vec![0; self.running.len()];
                alone[index] = count;
                if self.running.len() == 1 {
                    self.running[0].ended = Some(Err(error.clone()));
                } else if let Err(own) = self.pass(&alone) {
                    self.running[index].ended = Some(Err(own));
                }
            }
        }
        self.part();
        for mut search in std::mem::take(&mut self.searching) {
            let nobody = || Err(InferenceError::Closed("nobody waits for the answer".to_owned()));
            match if search.cancelled() { nobody() } else { within(&search.meter(), || search.turn(&mut self.lane)) } {
                Ok(false) => self.searching.push(search),
                Ok(true) => search.end(&mut self.lane, Ok(())),
                Err(error) => search.end(&mut self.lane, Err(error)),
            }
        }
    }

    /// How many ids of each text go through the network now: one of those that are written, and of prompts in their order what fits
    /// into the budget beside each other, or one that does not. A prompt is cut every `budget` ids whoever else is there, so that
    /// its numbers do not depend on others.
    fn feeds(&self) -> Vec<usize> {
        let budget = self.lane.budget;
        let mut taken = 0;
        let feed = |text: &Running| {
            let count = (text.ids.len() - text.sequence.len()).min(budget);
            if count > 1 && taken > 0 && taken + count > budget {
                return 0;
            }
            taken += if count > 1 { count } else { 0 };
            count
        };
        self.running.iter().map(feed).collect()
    }

    fn pass(&mut self, feeds: &[usize]) -> Result<(), InferenceError> {
        let fed = self.running.iter_mut().enumerate().zip(feeds).filter(|(_, count)| **count > 0);
        let mut texts: Vec<(&mut Running, usize, usize)> = fed.map(|((place, text), count)| (text, *count, place)).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let mut steps: Vec<Step<'_>> = texts
            .iter_mut()
            .map(|(text, count, _)| {
                let Running { sequence, ids, .. } = &mut **text;
                let done = sequence.len();
                Step { ids: &ids[done..done + *count], sequence, all: false }
            })
            .collect();
        let rows = self.lane.advance(&mut steps)?;
        texts.iter().for_each(|(text, count, _)| text.job.meter.add(*count));
        let logits = self.lane.logits(0..rows)?;
        let width = logits.len() / rows;
        let mut parting = Vec::new();
        for ((text, _, place), logits) in texts.into_iter().zip(logits.chunks_exact_mut(width)) {
            if text.sequence.len() == text.ids.len() {
                if !text.job.others.is_empty() {
                    // A chooser may change the logits that it is given.
                    parting.push((place, text.part(), logits.to_vec()));
                }
                text.choose(logits);
            }
        }
        for (place, (parted, reserve), logits) in parting {
            reserve.into_iter().for_each(|reserve| self.lane.blocks.release(reserve));
            self.several(place, parted, &logits);
        }
        Ok(())
    }

    /// Puts the other answers to a prompt that is computed now to work, each behind a copy of it.
    fn several(&mut self, place: usize, parted: Parted, logits: &[f32]) {
        let prompt = parted.ids.len();
        for other in parted.others {
            let tokens = prompt + parted.max_new_tokens;
            let from = self.running.get(place);
            let sequence = from.and_then(|text| self.lane.another(&text.sequence, prompt, tokens));
            let Some(sequence) = sequence else {
                other.reply.send(Err(InferenceError::Poison("the cache has no room for another answer".to_owned()))).ok();
                continue;
            };
            let job = Generate {
                ids: Vec::new(),
                max_new_tokens: parted.max_new_tokens,
                stop_ids: parted.stop_ids.clone(),
                choose: other.choose,
                others: Vec::new(),
                stream: None,
                meter: parted.meter.clone(),
                reply: other.reply,
            };
            let ids = parted.ids.clone();
            let mut text = Running { sequence, ids, prompt, cached: prompt, tokens: Vec::new(), job, reserve: None, ended: None };
            text.choose(&mut logits.to_vec());
            self.running.push(text);
        }
    }

    /// Answers those at their end and frees their blocks.
    fn part(&mut self) {
        let mut index = 0;
        while index < self.running.len() {
            let Some(ended) = self.running[index].ended.take() else {
                index += 1;
                continue;
            };
            let Running { sequence, tokens, cached, job, reserve, .. } = self.running.remove(index);
            self.lane.blocks.release(sequence);
            reserve.into_iter().for_each(|reserve| self.lane.blocks.release(reserve));
            if let Err(error) = &ended {
                // Those that have not begun fail with it.
                job.others.into_iter().for_each(|other| _ = other.reply.send(Err(error.clone())));
            }
            // A caller that has gone away needs no answer.
            job.reply.send(ended.map(|finish| Generated { tokens, finish, cached })).ok();
        }
    }
}

/// The other answers to a prompt, and what they begin with.
struct Parted {
    ids: Vec<u32>,
    max_new_tokens: usize,
    stop_ids: Vec<u32>,
    meter: Meter,
    others: Vec<Other>,
}

impl Running {
    /// Takes the other answers out, with the blocks that are kept for them.
    fn part(&mut self) -> (Parted, Option<Sequence>) {
        let others = std::mem::take(&mut self.job.others);
        let (max_new_tokens, stop_ids, meter) = (self.job.max_new_tokens, self.job.stop_ids.clone(), self.job.meter.clone());
        (Parted { ids: self.ids.clone(), max_new_tokens, stop_ids, meter, others }, self.reserve.take())
    }

    /// Picks the next token from logits, and ends the text when that is its end.
    fn choose(&mut self, logits: &mut [f32]) {
        if logits.iter().any(|logit| !logit.is_finite()) {
            self.ended = Some(Err(InferenceError::Poison("a logit is not a finite number".to_owned())));
            return;
        }
        let width = logits.len();
        let (choose, ids, prompt) = (&mut self.job.choose, &self.ids, self.prompt);
        let choice = catch_unwind(AssertUnwindSafe(|| choose.choose(ids, prompt, logits)));
        let (id, log_probability) = match choice {
            Err(_) => {
                self.ended = Some(Err(panicked()));
                return;
            }
            Ok(Choice::Stop) => {
                self.ended = Some(Ok(Finish::Chooser));
                return;
            }
            Ok(Choice::Token { id, log_probability }) => (id, log_probability),
        };
        if id as usize >= width {
            self.ended = Some(Err(InferenceError::Poison(format!("token id {id} was chosen; this model has ids below {width}"))));
        } else if self.job.stop_ids.contains(&id) {
            self.ended = Some(Ok(Finish::StopId(id)));
        } else {
            let token = Token { id, log_probability };
            self.ids.push(id);
            self.tokens.push(token);
            if let Some(stream) = &self.job.stream {
                // Who has gone away is found at the next turn.
                stream.send(token).ok();
            }
            if self.tokens.len() == self.job.max_new_tokens {
                self.ended = Some(Ok(Finish::Length));
            }
        }
    }
}
