//! What is asked of a generator, and what it answers.

use super::ops::log_probability;

/// What to do next with a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    Token {
        id: u32,
        /// Natural logarithm, by the distribution that the token was picked from.
        log_probability: f32,
    },
    /// The text ends before another token.
    Stop,
}

/// Picks tokens. It runs on a model thread, between two steps of everybody's texts, so it must be quick. When it panics, its
/// request alone ends.
pub trait Choose: Send {
    /// Picks the next token from its logits, given all ids so far (prompt first, `prompt` of them).
    fn choose(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32]) -> Choice;
}

/// The likeliest token; the lower id where two are alike.
#[derive(Debug, Clone, Copy, Default)]
pub struct Greedy;

impl Choose for Greedy {
    fn choose(&mut self, _: &[u32], _: usize, logits: &mut [f32]) -> Choice {
        let best = crate::inference::best(logits);
        Choice::Token { id: best as u32, log_probability: log_probability(logits, best) }
    }
}

/// Steers a search with beams. It runs on a model thread as [`Choose`] does, and must be as quick.
pub trait Steer: Send {
    /// Changes the log-probabilities behind a text, given all its ids (prompt first, `prompt` of them).
    fn change(&mut self, ids: &[u32], prompt: usize, log_probabilities: &mut [f32]);

    /// Whether a text is whole with its last id, given its new ids; stop ids end one without it.
    fn ends(&mut self, ids: &[u32]) -> bool;
}

/// A text to go on with.
pub struct Request {
    /// The prompt, at least one id.
    pub ids: Vec<u32>,
    /// At least one.
    pub max_new_tokens: usize,
    /// A text ends when one of these is chosen; it is not part of the answer.
    pub stop_ids: Vec<u32>,
    pub choose: Box<dyn Choose>,
}

impl Request {
    /// The likeliest tokens.
    pub fn greedy(ids: Vec<u32>, max_new_tokens: usize, stop_ids: Vec<u32>) -> Self {
        Self { ids, max_new_tokens, stop_ids, choose: Box::new(Greedy) }
    }
}

/// A token that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    pub id: u32,
    pub log_probability: f32,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// `max_new_tokens` were chosen.
    Length,
    /// This id of `stop_ids` was chosen.
    StopId(u32),
    /// The chooser said so.
    Chooser,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// New tokens, without a stop id.
    pub tokens: Vec<Token>,
    pub finish: Finish,
    /// Ids of the prompt that did not have to be computed, since a remembered prefix had them.
    pub cached: usize,
}

impl Generated {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}
