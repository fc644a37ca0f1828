//! Changes to the logits of one step, each as the class of transformers (`generation/logits_process.py`) that it is named after.
//! A token that is ruled out has minus infinity. Ids beyond the logits are passed over.

use std::collections::{HashMap, HashSet};

const OUT: f32 = f32::NEG_INFINITY;

fn set(logits: &mut [f32], id: u32, value: f32) {
    if let Some(logit) = logits.get_mut(id as usize) {
        *logit = value;
    }
}

/// Every token that stands in `ids` once: a positive logit is divided by the penalty, a negative one multiplied with it.
pub fn repetition(logits: &mut [f32], ids: &[u32], penalty: f32) {
    let seen: HashSet<u32> = ids.iter().copied().collect();
    for id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
        }
    }
}

/// As the OpenAI API has it: of what was generated, each token loses `frequency` for every time and `presence` once.
pub fn frequency_presence(logits: &mut [f32], generated: &[u32], frequency: f32, presence: f32) {
    let mut counts: HashMap<u32, f32> = HashMap::new();
    for id in generated {
        *counts.entry(*id).or_default() += 1.0;
    }
    for (id, count) in counts {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit -= count * frequency + presence;
        }
    }
}

/// No run of `size` tokens comes a second time.
pub fn no_repeat_ngram(logits: &mut [f32], ids: &[u32], size: usize) {
    let Some(start) = (ids.len() + 1).checked_sub(size).filter(|_| size > 0) else { return };
    let begun = &ids[start..];
    for run in ids.windows(size) {
        if run[..size - 1] == *begun {
            set(logits, run[size - 1], OUT);
        }
    }
}

/// None of these sequences is completed. A sequence that is an end token alone bans nothing.
pub fn bad_words(logits: &mut [f32], ids: &[u32], words: &[Vec<u32>], ends: &[u32]) {
    for word in words {
        if let Some((last, before)) = word.split_last()
            && ids.ends_with(before)
            && !(before.is_empty() && ends.contains(last))
        {
            set(logits, *last, OUT);
        }
    }
}

/// None of these tokens.
pub fn suppress(logits: &mut [f32], ids: &[u32]) {
    for id in ids {
        set(logits, *id, OUT);
    }
}

/// Only this token.
pub fn force(logits: &mut [f32], id: u32) {
    if (id as usize) < logits.len() {
        logits.fill(OUT);
        set(logits, id, 0.0);
    }
}

pub fn bias(logits: &mut [f32], biases: &[(u32, f32)]) {
    for (id, bias) in biases {
        if let Some(logit) = logits.get_mut(*id as usize) {
            *logit += bias;
        }
    }
}

pub fn temperature(logits: &mut [f32], temperature: f32) {
    for logit in logits {
        *logit /= temperature;
    }
}

/// Those below the k-th highest go; ties with it stay.
pub fn top_k(logits: &mut [f32], k: usize) {
    if k == 0 || k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, kth, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let kth = *kth;
    logits.iter_mut().filter(|logit| **logit < kth).for_each(|logit| *logit = OUT);
}

/// Probabilities in 64 bits; of logits that are all minus infinity, zeros.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(OUT, f32::max);
    if highest == OUT {
        return vec![0.0; logits.len()];
    }
    let mut all: Vec<f64> = logits.iter().map(|logit| f64::from(logit - highest).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter_mut().for_each(|p| *p /= sum);
    all
}

/// Ids that are not ruled out, by their logit, the lowest first; of equals the one with the lower id.
fn ascending(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).filter(|id| logits[*id] > OUT).collect();
    order.sort_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    order
}

/// The least probable go as long as together they have no more than `1 - p`; one stays.
pub fn top_p(logits: &mut [f32], p: f32) {
    let (order, probabilities) = (ascending(logits), softmax(logits));
    let mut sum = 0.0;
    for id in order.iter().take(order.len().saturating_sub(1)) {
        sum += probabilities[*id];
        if sum as f32 > 1.0 - p {
            break;
        }
        logits[*id] = OUT;
    }
}

/// Those go whose probability is below `p` times the highest.
pub fn min_p(logits: &mut [f32], p: f32) {
    let probabilities = softmax(logits);
    let least = probabilities.iter().copied().fold(0.0, f64::max) * f64::from(p);
    for (logit, probability) in logits.iter_mut().zip(probabilities) {
        if probability < least {
            *logit = OUT;
        }
    }
}

/// Locally typical sampling (Meister et al. 2022): tokens whose surprise is nearest to the entropy stay, until they have `mass`.
pub fn typical(logits: &mut [f32], mass: f32) {
    let probabilities = softmax(logits);
    let surprise = |id: usize| -probabilities[id].ln();
    let entropy: f64 = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    let mut order: Vec<usize> = (0..logits.len()).filter(|id| probabilities[*id] > 0.0).collect();
    let distance = |id: usize| ((surprise(id) - entropy).abs()) as f32;
    order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    let mut sum = 0.0;
    let reached = order.iter().position(|id| {
        sum += probabilities[*id];
        sum as f32 >= mass
    });
    let last = reached.unwrap_or(order.len().saturating_sub(1));
    let Some(limit) = order.get(last).map(|id| distance(*id)) else { return };
    for id in order.into_iter().skip(1).filter(|id| distance(*id) > limit) {
        logits[id] = OUT;
    }
}

/// The natural logarithms of the probabilities.
pub fn log_softmax(logits: &[f32]) -> impl Fn(u32) -> f32 + use<> {
    let highest = logits.iter().copied().fold(OUT, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let logits = logits.to_vec();
    move |id| logits.get(id as usize).map_or(OUT, |logit| (f64::from(logit - highest) - sum.ln()) as f32)
}
