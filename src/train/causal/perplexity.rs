//! How well a network that serves guesses texts: windows that slide over each, where every token is guessed once, with what its window has
//! before it.

use super::data::Tokens;
use crate::inference::causal::{Causal, Scratch, log_probability};
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows whose logits are made at a time.
const GROUP: usize = 64;

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Perplexity {
    /// `Σ -ln P`.
    pub nats: f64,
    /// Tokens that were guessed.
    pub tokens: usize,
    /// Characters that they are written with.
    pub characters: usize,
}

impl Perplexity {
    /// Nats a token.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// `e` to the loss.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Bits a character: the same for networks whose tokens differ.
    pub fn bits(&self) -> f64 {
        self.nats / std::f64::consts::LN_2 / self.characters as f64
    }
}

/// How the windows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens of a window.
    pub len: usize,
    /// Tokens from the beginning of one to that of the next, at most `len`. The smaller, the more a token has before it.
    pub stride: usize,
}

/// One window: its text, where it begins and ends, and the first token that is guessed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    text: usize,
    begin: usize,
    end: usize,
    guessed: usize,
}

impl Windows {
    fn of(self, text: usize, tokens: usize) -> Vec<Window> {
        let (mut all, mut done) = (Vec::new(), 0);
        for begin in (0..tokens).step_by(self.stride) {
            let end = (begin + self.len).min(tokens);
            // The first token of a window has nothing before it.
            all.push(Window { text, begin, end, guessed: done.max(begin + 1) });
            done = end;
            if end == tokens {
                break;
            }
        }
        all
    }
}

/// Guesses all texts, on as many threads. What comes out does not depend on their number.
pub fn perplexity(model: &Causal, texts: &[Tokens], windows: Windows, threads: usize) -> Result<Perplexity> {
    let most = model.max_positions();
    ensure!((2..=most).contains(&windows.len), "windows of {} tokens; this model sees 2 to {most}", windows.len);
    ensure!((1..=windows.len).contains(&windows.stride), "a stride of {} for windows of {}", windows.stride, windows.len);
    if let Some(id) = texts.iter().flat_map(|text| &text.ids).find(|id| **id as usize >= model.vocabulary()) {
        anyhow::bail!("token id {id}; this model has ids below {}", model.vocabulary());
    }
    let all: Vec<Window> = texts.iter().enumerate().flat_map(|(i, text)| windows.of(i, text.ids.len())).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, f64, usize)>> {
        let (mut scratch, mut found) = (Scratch::default(), Vec::new());
        while let Some(window) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (nats, tokens) = one(model, &texts[window.text], *window, &mut scratch)?;
            found.push((window.text, nats, tokens));
        }
        Ok(found)
    };
    let found = std::thread::scope(|scope| -> Result<Vec<_>> {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut found = work()?;
        for other in others {
            found.extend(other.join().map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??);
        }
        Ok(found)
    });
    let mut found = found?;
    // Sums in one order, whoever was first.
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut sum = Perplexity { characters: texts.iter().map(|text| text.characters).sum(), ..Perplexity::default() };
    for (_, nats, tokens) in found {
        sum.nats += nats;
        sum.tokens += tokens;
    }
    ensure!(sum.tokens > 0, "there is no token to guess; a text needs two at least");
    ensure!(sum.nats.is_finite(), "a probability is not a number; the weights may be damaged");
    Ok(sum)
}

fn one(model: &Causal, text: &Tokens, window: Window, scratch: &mut Scratch) -> Result<(f64, usize)> {
    let Window { begin, end, guessed, .. } = window;
    let wanted: Vec<usize> = (guessed..end).filter(|at| text.guessed[*at]).collect();
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok((0.0, 0)) };
    model.encode(&[&text.ids[begin..*last]], scratch)?;
    let (mut nats, vocabulary) = (0.0, model.vocabulary());
    // The row before a token has the logits for it.
    for from in (first - 1..*last).step_by(GROUP) {
        let to = (from + GROUP).min(*last);
        let logits = model.logits(from - begin..to - begin, scratch)?;
        for (at, row) in (from + 1..=to).zip(logits.chunks_exact(vocabulary)) {
            if text.guessed[at] {
                nats -= f64::from(log_probability(row, text.ids[at] as usize));
            }
        }
    }
    Ok((nats, wanted.len()))
}

#[cfg(test)]
mod tests;
