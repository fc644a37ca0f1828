//! Penalties, bans, biases and stop texts in a search with beams: they change the log-probabilities behind each text by that text's own ids,
//! as transformers' `_beam_search` has it.

use super::super::causal::Steer;
use super::sampling::Sampling;
use super::vocabulary::Vocabulary;
use std::sync::Arc;

/// What steers the search for one prompt.
pub struct Steering {
    sampling: Arc<Sampling>,
    vocabulary: Arc<Vocabulary>,
    stops: Vec<String>,
    max_new_tokens: usize,
}

impl Steering {
    pub fn new(sampling: Arc<Sampling>, vocabulary: Arc<Vocabulary>, stops: &[String], max_new_tokens: usize) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { sampling, vocabulary, stops, max_new_tokens }
    }
}

impl Steer for Steering {
    fn change(&mut self, ids: &[u32], prompt: usize, log_probabilities: &mut [f32]) {
        let left = self.max_new_tokens.saturating_sub(ids.len().saturating_sub(prompt));
        self.sampling.process_beam(log_probabilities, ids, prompt, self.vocabulary.ends(), left);
    }

    /// Whether a stop text ends in the last token: before it there was none.
    fn ends(&mut self, ids: &[u32]) -> bool {
        let Some(longest) = self.stops.iter().map(String::len).max() else { return false };
        let mut tokens = ids.iter().rev().filter_map(|id| self.vocabulary.bytes(*id));
        let mut tail: Vec<&[u8]> = tokens.next().into_iter().collect();
        let mut before = 0;
        while before < longest
            && let Some(token) = tokens.next()
        {
            before += token.len();
            tail.push(token);
        }
        tail.reverse();
        let tail = tail.concat();
        self.stops.iter().any(|stop| tail.windows(stop.len()).any(|part| part == stop.as_bytes()))
    }
}
