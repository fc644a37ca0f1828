//! By the sentences that say most of a text. Nothing is written anew, so nothing can be invented, and the same text always gives the same
//! summary.

use super::choose;
use super::sentences::{join, split};
use super::{Document, Options, Sentence, Summary};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::chars::Chars;
use crate::function::task::MAX_ITEMS;
use crate::function::texts::rounded;
use crate::function::vectors::embeddings;
use crate::function::windows::Seen;
use crate::inference::Encoder;
use std::ops::Range;
use std::sync::Arc;

/// Chooses sentences.
pub struct Extract {
    encoder: Arc<Encoder>,
    max_sentences: Option<usize>,
    ratio: Option<f64>,
    relevance: f32,
}

impl Extract {
    pub fn new(encoder: Arc<Encoder>, options: &Options) -> Result<Self, String> {
        if options.max_sentences == Some(0) {
            return Err("option `max_sentences` must be at least 1".to_owned());
        }
        if options.ratio.is_some_and(|ratio| !(ratio > 0.0 && ratio <= 1.0)) {
            return Err("option `ratio` must be more than 0 and at most 1".to_owned());
        }
        let relevance = options.relevance.unwrap_or(0.7);
        if !(0.0..=1.0).contains(&relevance) {
            return Err("option `relevance` must be 0 to 1".to_owned());
        }
        Ok(Self { encoder, max_sentences: options.max_sentences, ratio: options.ratio, relevance })
    }

    /// Sentences of a summary out of so many.
    fn wanted(&self, sentences: usize) -> usize {
        let most = self.max_sentences.unwrap_or(if self.ratio.is_some() { usize::MAX } else { 3 });
        let share = self.ratio.map_or(usize::MAX, |ratio| ((sentences as f64 * ratio).ceil() as usize).max(1));
        most.min(share).min(sentences)
    }

    fn summary(&self, text: &str, sentences: &[Range<usize>], vectors: &[(Arc<[f32]>, Seen)]) -> Summary {
        let seen = vectors.iter().fold(Seen::default(), |all, (_, seen)| all.and(*seen));
        let rows: Vec<&[f32]> = vectors.iter().map(|(vector, _)| &**vector).collect();
        let chars = Chars::new(text);
        let chosen = choose::choose(&rows, self.wanted(sentences.len()), self.relevance);
        let one = |(place, score): (usize, f32)| {
            let span = chars.span(sentences[place].clone());
            Sentence { text: span.text, start: span.start, end: span.end, score: rounded(score) }
        };
        let sentences: Vec<Sentence> = chosen.into_iter().map(one).collect();
        let summary_text = join(sentences.iter().map(|sentence| sentence.text.as_str()));
        Summary { summary_text, sentences, tokens: seen.tokens, truncated: seen.truncated, ..Summary::default() }
    }

    /// One answer or refusal for each, in order.
    pub async fn answer(&self, asks: Vec<Document>) -> Result<Vec<Result<Summary, Rejection>>, CallError> {
        let split = |ask: &Document| {
            let sentences = split(&ask.0);
            match sentences.len() {
                0..=MAX_ITEMS => Ok(sentences),
                more => Err(Rejection::new("too_many_items", format!("{more} sentences; the limit is {MAX_ITEMS}")).at("text")),
            }
        };
        let texts: Vec<Result<Vec<Range<usize>>, Rejection>> = asks.iter().map(split).collect();
        let of_text = |(ask, sentences): (&Document, &Result<Vec<Range<usize>>, Rejection>)| -> Vec<String> {
            let sentences = sentences.as_deref().unwrap_or_default();
            sentences.iter().map(|sentence| ask.0[sentence.clone()].to_owned()).collect()
        };
        let all = asks.iter().zip(&texts).flat_map(of_text).collect();
        let vectors = embeddings(&self.encoder, all).await?;
        let mut rest = vectors.as_slice();
        let mut summaries = Vec::with_capacity(asks.len());
        for (ask, sentences) in asks.into_iter().zip(texts) {
            summaries.push(sentences.map(|sentences| {
                let (own, after) = rest.split_at(sentences.len().min(rest.len()));
                rest = after;
                self.summary(&ask.0, &sentences, own)
            }));
            // A choice among a thousand sentences takes some tens of milliseconds, in which nothing else of this thread goes on.
            tokio::task::yield_now().await;
        }
        Ok(summaries)
    }
}
