//! Texts as vectors: with a prompt before them, cut, in windows or refused, shortened, of length 1 or as the network gave them.

pub(super) mod prompted;

use super::control::harmless;
use super::options::TooLong;
use super::texts::call_error;
use super::windows::{self, Seen, answers, check_stride, in_place};
use super::{CallError, task};
use crate::event::Rejection;
use crate::inference::{Encoder, Head, Text};
use std::collections::HashMap;
use std::sync::Arc;

/// How texts become vectors.
#[derive(Debug, Clone)]
pub struct Reading {
    pub too_long: TooLong,
    /// Tokens by which windows overlap.
    pub stride: Option<usize>,
    /// What stands before each text.
    pub prompt: String,
    /// So many numbers of a vector, the first; `None` is all.
    pub dimensions: Option<usize>,
    /// Whether vectors have length 1.
    pub normalize: bool,
}

impl Reading {
    /// For texts that are cut at their end; their vectors are whole and of length 1.
    pub fn plain(too_long: TooLong, stride: Option<usize>) -> Self {
        Self { too_long, stride, prompt: String::new(), dimensions: None, normalize: true }
    }

    /// What is wrong with it for a model.
    pub fn check(&self, encoder: &Encoder) -> Result<(), String> {
        check_stride(encoder, self.stride)?;
        self.check_prompt(encoder)?;
        let most = encoder.dimensions();
        match self.dimensions {
            Some(wanted) if !(1..=most).contains(&wanted) => {
                Err(format!("option `dimensions` is {wanted}; the model's vectors have {most} numbers, write 1 to {most}"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a prompt that leaves windows too little room, since it stands before each of them.
    pub fn check_prompt(&self, encoder: &Encoder) -> Result<(), String> {
        let half = encoder.max_tokens() / 2;
        if self.too_long != TooLong::Window || self.prompt.is_empty() {
            return Ok(());
        }
        match encoder.tokenizer().plain(&self.prompt, half).map_err(|error| error.to_string())? {
            (_, true) => Err(format!(
                "the prompt has more than {half} tokens, half of what the model sees; each window of a text has it: shorten it, or leave out `too_long`"
            )),
            _ => Ok(()),
        }
    }

    /// Tokens that the network sees of a text, roughly and rather too many.
    pub fn cost(&self, encoder: &Encoder, text: &str) -> usize {
        let (most, read) = (encoder.max_tokens(), task::tokens(text));
        let prompt = if self.prompt.is_empty() { 0 } else { task::tokens(&self.prompt) };
        match self.too_long {
            TooLong::Window => task::windowed(read, prompt.min(most / 2), most, self.stride.unwrap_or(most / 4)),
            TooLong::Truncate | TooLong::Reject => (read + prompt).min(most),
        }
    }

    fn head(&self) -> Head {
        if self.normalize { Head::Embed } else { Head::Pooled }
    }

    /// The numbers of a vector that are wanted.
    fn shortened(&self, mut vector: Vec<f32>) -> Vec<f32> {
        if let Some(wanted) = self.dimensions.filter(|wanted| *wanted < vector.len()) {
            vector.truncate(wanted);
            if self.normalize {
                to_length_1(&mut vector);
            }
        }
        vector
    }
}

/// The prompt that options name: a text, or one of the model's own; where they name none, the one that the folder has for such texts, as in
/// sentence-transformers. An empty text is none at all.
pub fn prompt(encoder: &Encoder, text: Option<&str>, name: Option<&str>) -> Result<String, String> {
    match (text, name) {
        (Some(_), Some(_)) => Err("options `prompt` and `prompt_name` are two places for one thing; give one of them".to_owned()),
        (Some(text), None) if text.contains('\0') => Err("option `prompt` holds U+0000".to_owned()),
        (Some(text), None) => Ok(text.to_owned()),
        (None, None) => Ok(encoder.prompts().by_default().unwrap_or_default().to_owned()),
        (None, Some(name)) => encoder.prompts().get(name).map(str::to_owned).ok_or_else(|| {
            let known: Vec<&str> = encoder.prompts().names().collect();
            match known[..] {
                [] => format!(
                    "option `prompt_name` is {name:?}, but the model's folder names no prompts; write the text as `prompt`"
                ),
                _ => format!("option `prompt_name` is {name:?}; the model knows {}", known.join(", ")),
            }
        }),
    }
}

/// The vectors of one text: one a window, with the window's tokens.
#[derive(Debug)]
pub struct Vectors {
    windows: Vec<(Vec<f32>, usize)>,
    pub seen: Seen,
}

impl Vectors {
    /// Of each window, shortened.
    pub fn each(&self, how: &Reading) -> Vec<Vec<f32>> {
        self.windows.iter().map(|(vector, _)| how.shortened(vector.clone())).collect()
    }

    /// One for the whole text: the mean of its windows' vectors, weighted by their tokens, then of length 1 again (as OpenAI's guide to
    /// embedding texts that are longer than the context has it).
    pub fn whole(&self, how: &Reading) -> Vec<f32> {
        let [(first, _), rest @ ..] = &self.windows[..] else { return Vec::new() };
        if rest.is_empty() {
            return how.shortened(first.clone());
        }
        let all = self.windows.iter().map(|(_, tokens)| *tokens).sum::<usize>().max(1) as f32;
        let mut mean = vec![0.0; first.len()];
        for (vector, tokens) in &self.windows {
            mean.iter_mut().zip(vector).for_each(|(mean, value)| *mean += value * (*tokens as f32 / all));
        }
        if how.normalize {
            to_length_1(&mut mean);
        }
        how.shortened(mean)
    }
}

/// A vector of zeros, such as the mean of two that are opposite, stays as it is.
fn to_length_1(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// The vectors of texts, in order; where they must not be too long, the refusal of one that is. Equal texts are computed once.
pub async fn vectors(
    encoder: &Encoder,
    texts: Vec<String>,
    how: &Reading,
) -> Result<Vec<Result<Arc<Vectors>, Rejection>>, CallError> {
    let mut known = HashMap::new();
    let (mut once, mut places) = (Vec::new(), Vec::with_capacity(texts.len()));
    for text in texts {
        let place = *known.entry(text).or_insert_with_key(|text| {
            once.push(harmless(encoder.tokenizer(), format!("{}{text}", how.prompt), None));
            once.len() - 1
        });
        places.push(place);
    }
    let found: Vec<Result<Arc<Vectors>, Rejection>> = match how.too_long {
        TooLong::Truncate => {
            let answers = encoder.answer(how.head(), once).await.map_err(call_error)?;
            let one = |answer: crate::inference::Answer| {
                let seen = Seen { tokens: answer.tokens, truncated: answer.truncated, windows: 1 };
                Ok(Arc::new(Vectors { windows: vec![(answer.values, seen.tokens)], seen }))
            };
            answers.into_iter().map(one).collect()
        }
        policy => {
            let mut asked = match policy {
                TooLong::Window if !how.prompt.is_empty() => prompted::windows(encoder, once, how).await?,
                _ => {
                    let cut = windows::cut(encoder, policy, how.stride);
                    windows::windows(encoder, once.into_iter().map(Text::from).collect(), cut, policy).await?
                }
            };
            let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
            let answered = answers(encoder, how.head(), tokens).await?;
            let one = |windows: Vec<windows::Window>| {
                let seen = Seen::of(&windows);
                let windows = windows.into_iter().map(|window| (window.answer.values, window.answer.tokens)).collect();
                Arc::new(Vectors { windows, seen })
            };
            in_place(asked, answered.into_iter().map(one))
        }
    };
    let all: Option<Vec<_>> = places.into_iter().map(|place| found.get(place).cloned()).collect();
    all.ok_or_else(|| CallError::Fatal("the model gave fewer answers than it was asked for".to_owned()))
}

/// Vectors of length 1 of texts that are cut where they are too long, with what was seen of each.
pub async fn embeddings(encoder: &Encoder, texts: Vec<String>) -> Result<Vec<(Arc<[f32]>, Seen)>, CallError> {
    let how = Reading::plain(TooLong::Truncate, None);
    let one = |of: Result<Arc<Vectors>, Rejection>| match of {
        Ok(of) => Ok((of.whole(&how).into(), of.seen)),
        Err(refused) => Err(CallError::Fatal(refused.detail.into())),
    };
    vectors(encoder, texts, &how).await?.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(windows: &[(&[f32], usize)]) -> Vectors {
        let seen = Seen { tokens: 0, truncated: false, windows: windows.len() };
        Vectors { windows: windows.iter().map(|(vector, tokens)| (vector.to_vec(), *tokens)).collect(), seen }
    }

    /// Would catch: windows that count alike, a vector that is shortened and has no longer length 1, a division by zero.
    #[test]
    fn windows_are_weighted_by_their_tokens() {
        let how = |dimensions, normalize| Reading { dimensions, normalize, ..Reading::plain(TooLong::Window, None) };
        let two = of(&[(&[1.0, 0.0], 30), (&[0.0, 1.0], 10)]);
        let mean = two.whole(&how(None, false));
        assert_eq!(mean, [0.75, 0.25]);
        let unit = two.whole(&how(None, true));
        assert!((unit[0] / unit[1] - 3.0).abs() < 1e-6 && (unit[0].hypot(unit[1]) - 1.0).abs() < 1e-6);
        assert_eq!((two.whole(&how(Some(1), true)), two.whole(&how(Some(1), false))), (vec![1.0], vec![0.75]));
        assert_eq!(two.each(&how(Some(1), true)), [[1.0], [0.0]], "what is nothing but zeros stays");
        assert_eq!(of(&[(&[1.0], 5), (&[-1.0], 5)]).whole(&how(None, true)), [0.0]);
        assert_eq!(of(&[(&[0.6, 0.8], 5)]).whole(&how(None, true)), [0.6, 0.8], "one window is as it was");
    }
}
