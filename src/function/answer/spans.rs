//! Spans on one scale over all windows, as the evaluation script of SQuAD 2.0 does: a span's score is its start logit and its end
//! logit, less both logits of "no answer" in the same window. The best twenty, each once, are normalised together.

use super::{Found, Options};
use crate::function::chars::{Chars, Span};
use crate::function::texts::rounded;
use crate::function::windows::Window;
use std::collections::HashMap;
use std::ops::Range;

/// Spans that share the probability between them.
pub const KEPT: usize = 20;

/// The tokens of a window's context.
pub fn context(window: &Window) -> Range<usize> {
    let sides = &window.tokens.sides;
    let start = sides.iter().position(|side| *side == Some(1)).unwrap_or(sides.len());
    let length = sides[start..].iter().take_while(|side| **side == Some(1)).count();
    start..start + length
}

/// The token that stands for "no answer": the first special one, or the last where that is none (XLNet).
pub fn null(window: &Window) -> usize {
    let sides = &window.tokens.sides;
    if sides.first().is_some_and(Option::is_none) { 0 } else { sides.len().saturating_sub(1) }
}

/// The logits of a token as start and as end.
pub fn logits(window: &Window, token: usize) -> (f64, f64) {
    (f64::from(window.answer.values[2 * token]), f64::from(window.answer.values[2 * token + 1]))
}

/// Bytes of the context from one token to another; with `words` from the first one's word to the other's.
pub fn bytes(window: &Window, (first, last): (usize, usize), words: bool) -> Range<usize> {
    let tokens = &window.tokens;
    let (mut start, mut end) = (tokens.offsets[first].0, tokens.offsets[last].1);
    if words && tokens.words[first].is_some() && tokens.words[last].is_some() {
        let inside = context(window);
        let of = |word: usize| inside.clone().filter(move |i| tokens.words[*i] == tokens.words[word]);
        start = of(first).map(|i| tokens.offsets[i].0).min().unwrap_or(start);
        end = of(last).map(|i| tokens.offsets[i].1).max().unwrap_or(end);
    }
    start..end.max(start)
}

pub fn answers(options: &Options, chars: &Chars<'_>, windows: &[Window]) -> Vec<Found> {
    let kept = KEPT.max(2 * options.top_k + 10);
    // The same piece may stand in two windows, or be reached through several tokens of a word: its best score counts.
    let mut pieces: HashMap<(usize, usize), f64> = HashMap::new();
    for window in windows {
        let (none_start, none_end) = logits(window, null(window));
        for (score, tokens) in best(window, options.max_answer_len, kept) {
            let bytes = bytes(window, tokens, options.align_to_words);
            let of_piece = pieces.entry((bytes.start, bytes.end)).or_insert(f64::NEG_INFINITY);
            *of_piece = of_piece.max(score - none_start - none_end);
        }
    }
    let mut found = ranked(chars, pieces, kept);
    if options.handle_impossible_answer {
        found.push((Span { start: 0, end: 0, text: String::new() }, 0.0));
    }
    merged(shares(found).into_iter())
}

/// The best pieces of the context, by their bytes, with their scores.
pub fn ranked(chars: &Chars<'_>, pieces: HashMap<(usize, usize), f64>, kept: usize) -> Vec<(Span, f64)> {
    let mut pieces: Vec<((usize, usize), f64)> = pieces.into_iter().collect();
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    pieces.truncate(kept);
    let mut found: Vec<(Span, f64)> = pieces.into_iter().map(|((start, end), score)| (chars.span(start..end), score)).collect();
    found.retain(|(span, _)| !span.text.is_empty());
    found
}

/// Their softmax.
pub fn shares(mut found: Vec<(Span, f64)>) -> Vec<(Span, f64)> {
    let greatest = found.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
    found.iter_mut().for_each(|(_, score)| *score = (*score - greatest).exp());
    let sum: f64 = found.iter().map(|(_, score)| score).sum();
    found.iter_mut().for_each(|(_, score)| *score /= sum);
    found
}

/// The best spans of a window: start, end and the sum of their logits.
fn best(window: &Window, longest: usize, kept: usize) -> Vec<(f64, (usize, usize))> {
    let inside = context(window);
    let mut spans = Vec::new();
    for first in inside.clone() {
        let start = logits(window, first).0;
        let ends = first..inside.end.min(first.saturating_add(longest));
        spans.extend(ends.map(|last| (start + logits(window, last).1, (first, last))));
    }
    spans.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    spans.truncate(kept);
    spans
}

/// The same text in several places is one answer, at its best place, with the scores summed; letters' cases are equal.
pub fn merged(spans: impl Iterator<Item = (Span, f64)>) -> Vec<Found> {
    let mut found: Vec<(String, Found)> = Vec::new();
    for (Span { start, end, text }, score) in spans {
        let lower = text.to_lowercase();
        match found.iter_mut().find(|(known, _)| *known == lower) {
            Some((_, known)) => known.score += score,
            None => found.push((lower, Found { answer: text, score, start, end })),
        }
    }
    let mut found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
    found.iter_mut().for_each(|found| found.score = rounded(found.score as f32));
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found
}
