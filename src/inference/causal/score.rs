//! Log-probabilities of given texts: the prefix is computed once, the continuations together.

use super::blocks::{Blocks, Sequence};
use super::job::Score;
use super::lane::{Lane, panicked};
use super::model::Step;
use super::ops::log_probability;
use crate::inference::InferenceError;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rows whose logits are made at a time; more only take memory.
pub(super) const GROUP: usize = 32;

/// A continuation in work.
struct Text {
    index: usize,
    sequence: Sequence,
    /// Its tokens that are computed.
    done: usize,
}

/// Continuations that are computed after the same keys: a network may turn long texts otherwise than short ones.
struct Group<'a> {
    prefix: &'a [u32],
    continuations: Vec<&'a [u32]>,
}

/// Answers a job, or hands it back when there are not enough blocks.
pub(super) fn answer(lane: &mut Lane, job: Score) -> Result<(), Score> {
    if job.blocks() > lane.blocks.free() {
        return Err(job);
    }
    let limit = lane.model.limit();
    let mut scored = vec![Vec::new(); job.continuations.len()];
    // Long texts first: they remember nothing of a short beginning, and the blocks that the short ones then keep are counted.
    for long in [true, false] {
        // Tokens that are computed; the last of a continuation is only looked up.
        let ours = |c: &&Vec<u32>| limit.is_long(job.prefix.len() + c.len() - 1) == long;
        let group =
            Group { prefix: &job.prefix, continuations: job.continuations.iter().filter(ours).map(Vec::as_slice).collect() };
        if group.continuations.is_empty() {
            continue;
        }
        let beside = Blocks::needed_to_fork(job.prefix.len(), job.longest());
        let Some((mut prefix, _)) = lane.begin_as(long, &job.prefix, job.prefix.len(), beside) else {
            return Err(job);
        };
        let mut texts = Vec::new();
        let result = catch_unwind(AssertUnwindSafe(|| scores(lane, &group, &mut prefix, &mut texts)));
        // Whatever happened, the blocks come back.
        lane.blocks.release(prefix);
        texts.into_iter().for_each(|text: Text| lane.blocks.release(text.sequence));
        match result.unwrap_or_else(|_| Err(panicked())) {
            Ok(scores) => {
                let places = (0..job.continuations.len()).filter(|i| ours(&&job.continuations[*i]));
                places.zip(scores).for_each(|(place, scores)| scored[place] = scores);
            }
            Err(error) => {
                job.reply.send(Err(error)).ok();
                return Ok(());
            }
        }
    }
    // A caller that has gone away needs no answer.
    job.reply.send(Ok(scored)).ok();
    Ok(())
}

fn scores(
    lane: &mut Lane,
    job: &Group<'_>,
    prefix: &mut Sequence,
    texts: &mut Vec<Text>,
) -> Result<Vec<Vec<f32>>, InferenceError> {
    lane.feed(prefix, &job.prefix[prefix.len()..])?;
    let logits = lane.model.logits(0..1, &mut lane.scratch)?;
    let first = |continuation: &&[u32]| vec![log_probability(logits, continuation[0] as usize)];
    let mut scores: Vec<Vec<f32>> = job.continuations.iter().map(first).collect();
    let mut waiting = job.continuations.iter().enumerate().filter(|(_, c)| c.len() > 1).peekable();
    loop {
        while let Some((index, continuation)) = waiting.peek()
            && texts.len() < lane.budget
            && let Some(sequence) = lane.blocks.fork(prefix, job.prefix.len(), job.prefix.len() + continuation.len() - 1)
        {
            texts.push(Text { index: *index, sequence, done: 0 });
            waiting.next();
        }
        if texts.is_empty() {
            break;
        }
        pass(lane, job, texts, &mut scores)?;
        for text in texts.extract_if(.., |text| text.done + 1 == job.continuations[text.index].len()) {
            lane.blocks.release(text.sequence);
        }
    }
    let all = scores.iter().map(Vec::len).eq(job.continuations.iter().map(|c| c.len()));
    match scores.iter().flatten().all(|score| score.is_finite()) {
        true if all => Ok(scores),
        true => Err(InferenceError::Poison("the cache has no room for a continuation".to_owned())),
        false => Err(InferenceError::Poison("a log-probability is not a finite number".to_owned())),
    }
}

/// One pass for the texts in work, as far as the budget goes.
fn pass(lane: &mut Lane, job: &Group<'_>, texts: &mut [Text], scores: &mut [Vec<f32>]) -> Result<(), InferenceError> {
    let mut taken = 0;
    let mut steps = Vec::new();
    // Which token of which continuation each row predicts.
    let mut targets = Vec::new();
    for text in texts {
        let ids = job.continuations[text.index];
        // Cut every `budget` ids whoever else is there, so that the numbers of a text do not depend on others.
        let count = (ids.len() - 1 - text.done).min(lane.budget);
        if taken > 0 && taken + count > lane.budget {
            break;
        }
        taken += count;
        let range = text.done..text.done + count;
        targets.extend(ids[range.start + 1..=range.end].iter().map(|id| (text.index, *id)));
        steps.push(Step { sequence: &mut text.sequence, ids: &ids[range], all: true });
        text.done += count;
    }
    lane.advance(&mut steps)?;
    for (group, targets) in targets.chunks(GROUP).enumerate() {
        let logits = lane.model.logits(group * GROUP..group * GROUP + targets.len(), &mut lane.scratch)?;
        for (logits, (index, id)) in logits.chunks_exact(lane.model.vocabulary()).zip(targets) {
            scores[*index].push(log_probability(logits, *id as usize));
        }
    }
    Ok(())
}
