//! Search with beams, as transformers does it since 4.50, so that outputs agree token for token. Pure.
//!
//! A step takes the best continuations of all running hypotheses together: enough that as many as there are beams go on running even if
//! every end is among them. What has ended competes for the places of the finished by its score divided by a power of its length.

use super::options::{EarlyStopping, GenerateOptions};
use super::rules;

/// A score that stands for "not there". Finite, and as large as transformers', since differences of lesser scores vanish in it.
const NOWHERE: f32 = -1e9;

#[derive(Clone)]
struct Hypothesis {
    /// With the start token.
    written: Vec<u32>,
    score: f32,
}

#[derive(Clone)]
struct Finished {
    hypothesis: Hypothesis,
    /// Whether it has ended; the first ones are placeholders.
    ended: bool,
}

/// The search for one text.
pub struct Beams<'a> {
    options: &'a GenerateOptions,
    running: Vec<Hypothesis>,
    finished: Vec<Finished>,
    /// Whether what is running may still become better than what is finished.
    improvable: bool,
    done: bool,
}

impl<'a> Beams<'a> {
    pub fn new(options: &'a GenerateOptions) -> Self {
        // All but the first are nowhere, else each beam would go the same way.
        let score = |beam: usize| if beam == 0 { 0.0 } else { NOWHERE };
        let hypothesis = |score: f32| Hypothesis { written: vec![options.start], score };
        let nothing = Finished { hypothesis: hypothesis(NOWHERE), ended: false };
        Self {
            options,
            running: (0..options.beams).map(|beam| hypothesis(score(beam))).collect(),
            finished: vec![nothing; options.beams],
            improvable: true,
            done: false,
        }
    }

    pub fn done(&self) -> bool {
        self.done
    }

    /// The token that each running hypothesis has written last.
    pub fn tokens(&self) -> impl Iterator<Item = u32> {
        self.running.iter().map(|h| h.written.last().copied().unwrap_or(self.options.start))
    }

    /// One step, with the logits behind each running hypothesis. Says which hypothesis each of the new ones continues.
    pub fn advance(&mut self, logits: &mut [f32]) -> Vec<usize> {
        let (options, beams) = (self.options, self.options.beams);
        let vocabulary = logits.len() / beams;
        for (hypothesis, row) in self.running.iter().zip(logits.chunks_exact_mut(vocabulary)) {
            log_softmax(row);
            rules::apply(options, &hypothesis.written, row);
            if options.renormalize {
                log_softmax(row);
            }
            row.iter_mut().for_each(|v| *v += hypothesis.score);
        }
        let candidates = best(logits, beams * (1 + options.ends.len()).max(2));
        let length = self.running[0].written.len();
        let ends = |at: usize| options.ends.contains(&((at % vocabulary) as u32)) || length == options.max_new_tokens;
        let ended: Vec<bool> = candidates.iter().map(|&at| ends(at)).collect();
        let scores: Vec<f32> = candidates.iter().map(|&at| logits[at]).collect();
        let continued = |choice: usize, score: f32| {
            let mut written = self.running[candidates[choice] / vocabulary].written.clone();
            written.push((candidates[choice] % vocabulary) as u32);
            Hypothesis { written, score }
        };

        // What ended does not run on.
        let lowered: Vec<f32> = scores.iter().zip(&ended).map(|(s, &e)| s + if e { NOWHERE } else { 0.0 }).collect();
        let chosen = best(&lowered, beams);
        let running: Vec<Hypothesis> = chosen.iter().map(|&choice| continued(choice, lowered[choice])).collect();
        let parents = chosen.iter().map(|&choice| candidates[choice] / vocabulary).collect();

        let full = self.finished.iter().all(|f| f.ended) && options.early_stopping == EarlyStopping::Yes;
        let penalty = f64::from(length as u32).powf(f64::from(options.length_penalty)) as f32;
        for (choice, score) in scores.iter().enumerate() {
            // Only the best count; the rest are there so that enough can run on.
            let ended = ended[choice] && choice < beams;
            let closed = [full, !self.improvable, !ended].into_iter().filter(|closed| *closed).count();
            let score = (0..closed).fold(score / penalty, |score, _| score + NOWHERE);
            self.finished.push(Finished { hypothesis: continued(choice, score), ended });
        }
        let scores: Vec<f32> = self.finished.iter().map(|f| f.hypothesis.score).collect();
        self.finished = best(&scores, beams).into_iter().map(|at| self.finished[at].clone()).collect();
        self.running = running;
        self.close(length, ended.iter().all(|ended| *ended));
        parents
    }

    /// Whether to go on, when `length` tokens are written.
    fn close(&mut self, length: usize, nothing_runs: bool) {
        let options = self.options;
        let hopeful = match options.early_stopping {
            EarlyStopping::Never if options.length_penalty > 0.0 => options.max_new_tokens,
            _ => length,
        };
        let possible = self.running[0].score / f64::from(hopeful as u32).powf(f64::from(options.length_penalty)) as f32;
        let worst = self.finished.iter().map(|f| f.hypothesis.score).fold(f32::INFINITY, f32::min);
        self.improvable &= self.finished.iter().any(|f| possible > if f.ended { worst } else { NOWHERE });
        let full = self.finished.iter().all(|f| f.ended) && options.early_stopping == EarlyStopping::Yes;
        self.done = !self.improvable || full || nothing_runs;
    }

    /// The best output, without the start token.
    pub fn output(&self) -> &[u32] {
        &self.finished[0].hypothesis.written[1..]
    }
}

/// The places of the `count` largest values, the largest first; of equal ones the earlier first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let order = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    let mut places: Vec<usize> = (0..values.len()).collect();
    if count < places.len() {
        places.select_nth_unstable_by(count, order);
        places.truncate(count);
    }
    places.sort_unstable_by(order);
    places
}

fn log_softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|v| (v - max).exp()).sum();
    let log = sum.ln();
    row.iter_mut().for_each(|v| *v = *v - max - log);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a forbidden word whose share is lost, where the folder says that the others get it (`renormalize_logits`).
    #[test]
    fn what_may_come_is_a_distribution_again() {
        let options = |renormalize: bool| GenerateOptions { forbidden: vec![vec![3]], renormalize, ..rules::tests::options() };
        // Probabilities 1/8, 1/8, 1/4 and, forbidden, 1/2.
        let score = |renormalize: bool| {
            let options = options(renormalize);
            let mut beams = Beams::new(&options);
            beams.advance(&mut [1.0f32, 1.0, 2.0, 4.0].map(f32::ln));
            beams.running[0].score
        };
        assert!((score(false) - 0.25f32.ln()).abs() < 1e-6 && (score(true) - 0.5f32.ln()).abs() < 1e-6);
    }
}
