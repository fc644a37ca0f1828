//! How the next token is chosen, and where chance comes from.

use super::processors as p;
use sha2::{Digest, Sha256};

/// The order is that of transformers: penalties and bans first, in any case; then, where chance decides, temperature, top-k, top-p, min-p,
/// typical. `logit_bias` comes behind the penalties, so that each token moves by as much as is said; with beams it is transformers'
/// `sequence_bias`, which comes before them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token always.
    pub temperature: f32,
    /// 0: all.
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub typical_p: f32,
    /// 1: none. Over the prompt too.
    pub repetition_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    /// 0: none.
    pub no_repeat_ngram_size: usize,
    pub bad_words: Vec<Vec<u32>>,
    /// Tokens before an end token may come.
    pub min_new_tokens: usize,
    /// The first token.
    pub forced_bos: Option<u32>,
    /// The last token, when `max_new_tokens` is reached.
    pub forced_eos: Option<u32>,
    pub suppress: Vec<u32>,
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    /// Greedy, without any change to the logits.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            no_repeat_ngram_size: 0,
            bad_words: Vec::new(),
            min_new_tokens: 0,
            forced_bos: None,
            forced_eos: None,
            suppress: Vec::new(),
            logit_bias: Vec::new(),
        }
    }
}

impl Sampling {
    /// Penalties, bans and biases. `left` is how many tokens may still come, this one included.
    pub fn process(&self, logits: &mut [f32], ids: &[u32], prompt: usize, ends: &[u32], left: usize) {
        self.rules(logits, ids, prompt, ends, left);
        p::bias(logits, &self.logit_bias);
    }

    /// The same for a text of a search with beams, in transformers' order: biases first (`_get_logits_processor` of 4.57 and 5).
    pub fn process_beam(&self, log_probabilities: &mut [f32], ids: &[u32], prompt: usize, ends: &[u32], left: usize) {
        p::bias(log_probabilities, &self.logit_bias);
        self.rules(log_probabilities, ids, prompt, ends, left);
    }

    fn rules(&self, logits: &mut [f32], ids: &[u32], prompt: usize, ends: &[u32], left: usize) {
        let generated = ids.get(prompt..).unwrap_or(&[]);
        if self.repetition_penalty != 1.0 {
            p::repetition(logits, ids, self.repetition_penalty);
        }
        if self.frequency_penalty != 0.0 || self.presence_penalty != 0.0 {
            p::frequency_presence(logits, generated, self.frequency_penalty, self.presence_penalty);
        }
        p::no_repeat_ngram(logits, ids, self.no_repeat_ngram_size);
        p::bad_words(logits, ids, &self.bad_words, ends);
        if generated.len() < self.min_new_tokens {
            p::suppress(logits, ends);
        }
        if let Some(id) = self.forced_bos.filter(|_| generated.is_empty()) {
            p::force(logits, id);
        }
        if let Some(id) = self.forced_eos.filter(|_| left == 1) {
            p::force(logits, id);
        }
        p::suppress(logits, &self.suppress);
    }

    /// Temperature and the filters behind it.
    pub fn filter(&self, logits: &mut [f32]) {
        if self.temperature != 1.0 {
            p::temperature(logits, self.temperature);
        }
        p::top_k(logits, self.top_k);
        if self.top_p < 1.0 {
            p::top_p(logits, self.top_p);
        }
        if self.min_p > 0.0 {
            p::min_p(logits, self.min_p);
        }
        if self.typical_p < 1.0 {
            p::typical(logits, self.typical_p);
        }
    }

    /// One of the tokens that are not ruled out; `None` when all are. `chance` is at least 0 and below 1.
    pub fn pick(&self, logits: &[f32], chance: f64) -> Option<u32> {
        let best = (0..logits.len()).filter(|id| logits[*id] > f32::NEG_INFINITY);
        let best = best.reduce(|best, id| if logits[id] > logits[best] { id } else { best })?;
        if self.temperature == 0.0 {
            return u32::try_from(best).ok();
        }
        let mut sum = 0.0;
        let reached = p::softmax(logits).into_iter().position(|probability| {
            sum += probability;
            probability > 0.0 && sum > chance
        });
        u32::try_from(reached.unwrap_or(best)).ok()
    }
}

/// The seed of an event: the same event with the same function and the same settings is answered with the same words. Below 2^53,
/// so that every reader of JSON keeps it.
pub fn seed_of(event: &str, function: &str, settings: &str) -> u64 {
    let mut sha = Sha256::new();
    for part in [event, function, settings] {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    let digest: [u8; 32] = sha.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 11
}

/// A number from 0 to below 1 for each step of a seed. A counter through SplitMix64's last function, written out here: the same
/// seed gives the same numbers in every version, and no step depends on another.
pub fn chance(seed: u64, step: u64) -> f64 {
    let mixed = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let z = mixed(mixed(seed).wrapping_add((step + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (z >> 11) as f64 / (1u64 << 53) as f64
}
