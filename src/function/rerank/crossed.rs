//! By a cross-encoder: its head reads the query with each text.

use super::{Candidates, Rerank, Scored};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::control::harmless;
use crate::function::options::TooLong;
use crate::function::texts::call_error;
use crate::function::windows::{self, Seen, Window, answers, in_place};
use crate::inference::{Answer, Cut, Give, Head, Problem, Text};

impl Rerank {
    /// By the head that reads the query with each text.
    pub(super) async fn crossed(&self, asks: &[Candidates]) -> Result<Vec<Scored>, CallError> {
        let (encoder, policy) = (&*self.encoder, self.options.too_long);
        let pair = |query: &String, text: &String| windows::text(encoder, query.clone(), Some(text.clone()));
        let mut pairs: Vec<Text> = Vec::new();
        let mut refused = Vec::with_capacity(asks.len());
        for ask in asks {
            let refusal = (policy == TooLong::Window).then(|| self.long_query(&ask.query)).flatten();
            if refusal.is_none() {
                pairs.extend(ask.texts.iter().map(|text| pair(&ask.query, text)));
            }
            refused.push(refusal);
        }
        // Of a pair that must not be too long the text is what is told; in windows the query stands whole.
        let cut = windows::cut(encoder, policy, self.options.stride);
        let cut = match policy {
            TooLong::Truncate => Cut::default(),
            TooLong::Window => {
                Cut { give: Give::Second, stride: cut.stride.map(|stride| stride.min(encoder.max_tokens() / 4)), ..cut }
            }
            TooLong::Reject => Cut { stride: None, ..cut },
        };
        let answered = match policy {
            TooLong::Truncate => {
                let answers = encoder.answer_texts(Head::Logits, pairs, cut).await.map_err(call_error)?;
                let one = |answer: Answer| {
                    Ok((answer.values[0], Seen { tokens: answer.tokens, truncated: answer.truncated, windows: 1 }))
                };
                answers.into_iter().map(one).collect()
            }
            TooLong::Window | TooLong::Reject => {
                let mut asked = windows::windows(encoder, pairs, cut, policy).await?;
                let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
                let answered = answers(encoder, Head::Logits, tokens).await?;
                let best = |windows: Vec<Window>| {
                    let logits = windows.iter().map(|window| window.answer.values[0]);
                    (logits.fold(f32::NEG_INFINITY, f32::max), Seen::of(&windows))
                };
                in_place(asked, answered.into_iter().map(best))
            }
        };
        let mut answered: std::vec::IntoIter<Result<(f32, Seen), Rejection>> = answered.into_iter();
        let one = |(ask, refused): (&Candidates, Option<Rejection>)| {
            if let Some(refused) = refused {
                return Err(refused);
            }
            let own: Vec<_> = answered.by_ref().take(ask.texts.len()).collect();
            let (mut seen, mut scores) = (Seen::default(), Vec::with_capacity(own.len()));
            for (place, answer) in own.into_iter().enumerate() {
                let (logit, of_text) = answer.map_err(|refused| refused.at(format!("texts.{place}")))?;
                seen = seen.and(of_text);
                scores.push(logit);
            }
            Ok((scores, seen))
        };
        Ok(asks.iter().zip(refused).map(one).collect())
    }

    /// Refuses a query beside which windows of a text have no room.
    fn long_query(&self, query: &str) -> Option<Rejection> {
        let most = self.encoder.max_tokens() / 2;
        let clean = harmless(self.encoder.tokenizer(), query.to_owned(), None);
        match self.encoder.tokenizer().plain(&clean, most) {
            Ok((_, true)) => {
                let detail =
                    format!("more than {most} tokens, which is half of what the model sees; the texts need the other half");
                Some(Rejection::new("query_too_long", detail).at("query"))
            }
            // Who tokenises it next tells the error.
            _ => None,
        }
    }

    /// What is told of a logit. A model of numbers gives them on their own scale; it has no sigmoid.
    pub(super) fn shown(&self, score: f32) -> f32 {
        let is_plain = !self.cross || self.options.raw_scores || self.encoder.problem() == Some(Problem::Regression);
        if is_plain { score } else { 1.0 / (1.0 + (-score).exp()) }
    }
}
