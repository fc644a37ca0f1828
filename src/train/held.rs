//! Questions to measure on, with all windows of their contexts.

use super::batches::Example;
use super::metrics;
use super::questions::{Prepared, Questions};
use super::squad::{Given, Squad};

/// Tokens of an answer at most, as the function `answer` has it.
const ANSWER: usize = 15;

/// Questions with all windows of their contexts, to measure on.
#[derive(Clone)]
pub struct Held<'a> {
    questions: &'a Questions,
    squad: &'a Squad,
    pub windows: Vec<Example>,
    /// Of each window: its question, and where in the context it begins.
    places: Vec<(usize, usize)>,
}

impl<'a> Held<'a> {
    /// Windows overlap as those of the function `answer`.
    pub fn new(questions: &'a Questions, squad: &'a Squad) -> Self {
        let (mut windows, mut places) = (Vec::new(), Vec::new());
        for (number, of) in questions.prepared.iter().enumerate() {
            let (tokens, room) = (questions.contexts[of.context].ids.len(), questions.room(of));
            let stride = (questions.most / 2).min(128).min(room * 3 / 4);
            let mut start = 0;
            loop {
                windows.push(questions.window(of, start));
                places.push((number, start));
                if start + room >= tokens {
                    break;
                }
                start += room - stride;
            }
        }
        Self { questions, squad, windows, places }
    }

    /// What was asked, with the answers, as far as [`Held::f1`] follows from it.
    pub fn asked(&self) -> impl Iterator<Item = (&str, &[Given])> {
        let squad = self.squad;
        let asked = self.questions.prepared.iter().map(|of| &squad.asked[of.asked]);
        asked.map(|asked| (squad.contexts[asked.context].text.as_str(), asked.answers.as_slice()))
    }

    /// The mean F1 over words of the best spans; `logits` are those of the windows, start and end of each token.
    pub fn f1(&self, logits: &[Vec<f32>]) -> f64 {
        let questions = self.questions;
        // Where some questions have no answer, "none" may win.
        let none = self.squad.asked.iter().any(|asked| asked.answers.is_empty());
        let mut best = vec![(f32::NEG_INFINITY, 0, 0); questions.prepared.len()];
        let mut broken = vec![false; questions.prepared.len()];
        for (logits, &(number, from)) in logits.iter().zip(&self.places) {
            broken[number] |= !logits.iter().all(|x| x.is_finite());
            let of = &questions.prepared[number];
            let offset = questions.offset(of);
            let end = logits.len() / 2 - questions.frame.after.len();
            let no_answer = logits[0] + logits[1];
            for first in offset..end {
                for last in first..end.min(first + ANSWER) {
                    let score = logits[2 * first] + logits[2 * last + 1] - no_answer;
                    if score > best[number].0 {
                        best[number] = (score, from + first - offset, from + last - offset);
                    }
                }
            }
        }
        let of_question = |(of, &(score, first, last)): (&Prepared, &(f32, usize, usize))| {
            let asked = &self.squad.asked[of.asked];
            let (offsets, text) = (&questions.contexts[of.context].offsets, &self.squad.contexts[of.context].text);
            let given: Vec<&str> = asked.answers.iter().map(|given| given.text.as_str()).collect();
            let piece = || text.get(offsets.get(first)?.0..offsets.get(last)?.1);
            let found = if score > 0.0 || !none { piece().unwrap_or_default() } else { "" };
            metrics::squad(found, &given).f1
        };
        // What is no number is wrong.
        let sound = questions.prepared.iter().zip(&best).zip(broken).filter(|(_, broken)| !broken);
        sound.map(|(of, _)| of_question(of)).sum::<f64>() / questions.prepared.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::questions::tests::long;
    use crate::train::vocabulary::tests::small;
    use crate::train::vocabulary::tokenizer;

    /// Would catch: spans of one window read in another, or in the question.
    #[test]
    fn the_best_span_of_all_windows_is_the_answer() {
        let tokenizer = tokenizer(&small()).unwrap();
        let squad = long(true);
        let questions = Questions::new(&squad, &tokenizer, 96, 7).unwrap();
        let held = Held::new(&questions, &squad);
        let mark = tokenizer.token_to_id("!").unwrap();
        assert!(held.windows.len() > 4 && held.windows.iter().filter(|window| window.ids.contains(&mark)).count() <= 2);
        let logits = |token: u32| -> Vec<Vec<f32>> {
            let of = |window: &Example| window.ids.iter().flat_map(|id| [f32::from(u8::from(*id == token)); 2]).collect();
            held.windows.iter().map(of).collect()
        };
        assert_eq!(held.f1(&logits(mark)), 1.0);
        assert_eq!(held.f1(&logits(tokenizer.token_to_id("film").unwrap())), 0.0);
        let mut broken = logits(mark);
        broken[0][1] = f32::NAN;
        let left = held.f1(&broken);
        assert!((left - (1.0 - 1.0 / held.questions.prepared.len() as f64)).abs() < 1e-9, "{left}");
    }
}
