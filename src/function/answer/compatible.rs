//! The scores of the question-answering pipeline of transformers 4.57.1: start and end probabilities inside each window, multiplied.
//! Spans with the score 0, which that pipeline gives when it finds nothing else, are left out.

use super::spans::{bytes, context, logits, merged, null};
use super::{Found, Options};
use crate::function::chars::{Chars, Span};
use crate::function::windows::Window;

pub fn answers(options: &Options, chars: &Chars<'_>, windows: &[Window]) -> Vec<Found> {
    let kept = if options.align_to_words { options.top_k.saturating_mul(2).saturating_add(10) } else { options.top_k };
    let mut none = f64::INFINITY;
    let mut found: Vec<(Span, f64)> = Vec::new();
    for window in windows {
        let (inside, null) = (context(window), null(window));
        let seen: Vec<usize> = std::iter::once(null).chain(inside.clone()).collect();
        let starts = probabilities(&seen.iter().map(|i| logits(window, *i).0).collect::<Vec<_>>());
        let ends = probabilities(&seen.iter().map(|i| logits(window, *i).1).collect::<Vec<_>>());
        none = none.min(starts[0] * ends[0]);
        let mut spans = Vec::new();
        for first in 1..seen.len() {
            for last in first..seen.len().min(first.saturating_add(options.max_answer_len)) {
                spans.push((starts[first] * ends[last], (seen[first], seen[last])));
            }
        }
        spans.sort_by(|a, b| b.0.total_cmp(&a.0));
        spans.truncate(kept);
        let piece = |(score, tokens)| (chars.span(bytes(window, tokens, options.align_to_words)), score);
        found.extend(spans.into_iter().filter(|(score, _)| *score > 0.0).map(piece));
    }
    if options.handle_impossible_answer {
        found.push((Span { start: 0, end: 0, text: String::new() }, none));
    }
    merged(found.into_iter())
}

fn probabilities(logits: &[f64]) -> Vec<f64> {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
