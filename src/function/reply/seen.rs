//! What the models see of messages: their beginning, all of them in windows, or nothing where they must not be too long.

use super::{Message, Reply};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::control::harmless;
use crate::function::options::TooLong;
use crate::function::texts::call_error;
use crate::function::vectors::{Reading, vectors};
use crate::function::windows::{self, Seen, answers, weighted};
use crate::inference::{Answer, Encoder, Head, Text, Together};

/// A message as the models see it.
pub struct Read {
    pub together: Together,
    /// Of the model that needs most.
    pub windows: usize,
}

impl Reply {
    /// A text whose control tokens are words to the encoder and to the heads.
    pub(super) fn clean(&self, text: &str) -> String {
        let own = harmless(self.encoder.tokenizer(), text.to_owned(), None);
        self.heads.all().iter().fold(own, |text, head| harmless(head.tokenizer(), text, None))
    }

    /// One for each message, in order.
    pub(super) async fn read(&self, asks: &[Message]) -> Result<Vec<Result<Read, Rejection>>, CallError> {
        let heads = self.heads.all();
        let texts = asks.iter().map(|ask| self.clean(&ask.text)).collect();
        let seen = self.encoder.answer_heads(&heads, texts).await.map_err(call_error)?;
        if seen.len() != asks.len() {
            return Err(CallError::Fatal("the model gave fewer answers than it was asked for".to_owned()));
        }
        let mut all: Vec<Result<Read, Rejection>> = seen.into_iter().map(|together| Ok(Read { together, windows: 1 })).collect();
        let cut = |one: &Result<Read, Rejection>| one.as_ref().is_ok_and(|one| one.together.truncated);
        let long: Vec<usize> = (0..all.len()).filter(|place| cut(&all[*place])).collect();
        match self.options.too_long {
            _ if long.is_empty() => {}
            TooLong::Truncate => {}
            TooLong::Reject => {
                for place in long {
                    let field = if asks[place].place.is_some() { "messages" } else { "text" };
                    all[place] = Err(Rejection::new("text_too_long", self.limits_of(&heads)).at(field));
                }
            }
            TooLong::Window => {
                let texts: Vec<String> = long.iter().map(|place| self.clean(&asks[*place].text)).collect();
                for (place, read) in long.into_iter().zip(self.in_windows(&heads, texts).await?) {
                    all[place] = read;
                }
            }
        }
        Ok(all)
    }

    /// What the models see, for whoever has written more.
    fn limits_of(&self, heads: &[&Encoder]) -> String {
        let all = std::iter::once(&*self.encoder).chain(heads.iter().copied());
        let limits: Vec<String> = all.map(|model| format!("{} sees {}", model.id(), model.max_tokens())).collect();
        format!("more tokens, special ones included, than each of its models sees: {}", limits.join(", "))
    }

    async fn in_windows(&self, heads: &[&Encoder], texts: Vec<String>) -> Result<Vec<Result<Read, Rejection>>, CallError> {
        let (policy, stride) = (TooLong::Window, self.options.stride);
        let mut scores: Vec<Vec<Vec<f32>>> = vec![Vec::new(); texts.len()];
        let mut of_heads = vec![Seen::default(); texts.len()];
        for head in heads {
            let asked = texts.iter().map(|text| Text::from(text.as_str())).collect();
            // Another encoder may see less: its windows overlap by no more than half of it.
            let stride = stride.map(|stride| stride.min(head.max_tokens() / 2));
            let windows = windows::windows(head, asked, windows::cut(head, policy, stride), policy).await?;
            let windows = windows.into_iter().map(Result::unwrap_or_default).collect();
            let answered = answers(head, Head::Classify, windows).await?;
            for ((of_text, seen), windows) in scores.iter_mut().zip(&mut of_heads).zip(answered) {
                of_text.push(weighted(&windows, |window| window.answer.values.clone()));
                *seen = seen.and(Seen::of(&windows));
            }
        }
        let how = Reading::plain(policy, stride);
        let found = vectors(&self.encoder, texts, &how).await?;
        let mut all = Vec::with_capacity(found.len());
        for ((found, scores), of_heads) in found.into_iter().zip(scores).zip(of_heads) {
            all.push(found.map(|found| {
                let (own, seen) = (found.seen, found.seen.and(of_heads));
                let embedding = Answer { values: found.whole(&how), tokens: own.tokens, truncated: own.truncated };
                Read { together: Together { embedding, scores, truncated: seen.truncated }, windows: seen.windows }
            }));
        }
        Ok(all)
    }
}
