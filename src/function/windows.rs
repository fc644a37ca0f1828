//! Texts before the model: cut, in windows, or refused; and the answers back with their texts.

use super::CallError;
use super::control::harmless;
use super::options::TooLong;
use super::texts::call_error;
use crate::event::Rejection;
use crate::inference::{Answer, Cut, Encoder, Head, Text, Tokens};
use serde_json::{Map, Value};

/// One window: its tokens (without `ids` and `types`, which went to the network) and what the model says.
pub struct Window {
    pub tokens: Tokens,
    pub answer: Answer,
}

/// What an answer says of how its text was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Tokens that the network saw, special ones included, over all windows.
    pub tokens: usize,
    /// Whether some of the text was not seen.
    pub truncated: bool,
    pub windows: usize,
}

impl Seen {
    pub fn of(windows: &[Window]) -> Self {
        Self {
            tokens: windows.iter().map(|window| window.answer.tokens).sum(),
            truncated: windows.iter().any(|window| window.answer.truncated),
            windows: windows.len(),
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            truncated: self.truncated || other.truncated,
            windows: self.windows.max(other.windows),
        }
    }

    /// Puts it into an answer's fields: `tokens`, `truncated`, and `windows` where there may be several.
    pub fn tell(self, fields: &mut Map<String, Value>, too_long: TooLong) {
        fields.insert("tokens".into(), self.tokens.into());
        fields.insert("truncated".into(), self.truncated.into());
        if too_long == TooLong::Window {
            fields.insert("windows".into(), self.windows.into());
        }
    }
}

/// A text, or a pair, whose control tokens are words.
pub fn text(encoder: &Encoder, first: String, second: Option<String>) -> Text {
    let clean = |text| harmless(encoder.tokenizer(), text, None);
    Text { first: clean(first), second: second.map(clean) }
}

/// How texts that are too long are cut. Windows overlap by `stride` tokens, a quarter of what the model sees by default.
pub fn cut(encoder: &Encoder, too_long: TooLong, stride: Option<usize>) -> Cut {
    let stride = stride.unwrap_or(encoder.max_tokens() / 4);
    match too_long {
        TooLong::Truncate => Cut::default(),
        TooLong::Window => Cut { stride: Some(stride), ..Cut::default() },
        // All of the text is tokenised, so that its length can be told.
        TooLong::Reject => Cut { stride: Some(0), ..Cut::default() },
    }
}

/// What is wrong with a `stride` for windows of this model.
pub fn check_stride(encoder: &Encoder, stride: Option<usize>) -> Result<(), String> {
    let half = encoder.max_tokens() / 2;
    match stride {
        Some(stride) if stride > half => {
            Err(format!("option `stride` is {stride}; windows may overlap by {half} tokens at most, half of what the model sees"))
        }
        _ => Ok(()),
    }
}

/// The windows of texts by the policy; where it is `reject`, the refusal of one that is too long.
pub async fn windows(
    encoder: &Encoder,
    texts: Vec<Text>,
    cut: Cut,
    too_long: TooLong,
) -> Result<Vec<Result<Vec<Tokens>, Rejection>>, CallError> {
    let windows = encoder.windows(texts, cut).await.map_err(call_error)?;
    let limit = encoder.max_tokens();
    let one = |windows: Vec<Tokens>| {
        let truncated = windows.iter().any(|window| window.truncated);
        if too_long != TooLong::Reject || (windows.len() == 1 && !truncated) {
            return Ok(windows);
        }
        let special = windows[0].sides.iter().filter(|side| side.is_none()).count();
        let own: usize = windows.iter().map(|window| window.ids.len() - special.min(window.ids.len())).sum();
        let more = if truncated { "more than " } else { "" };
        let detail = format!("{more}{} tokens; the limit of the model is {limit}, special ones included", own + special);
        Err(Rejection::new("text_too_long", detail).at("text"))
    };
    Ok(windows.into_iter().map(one).collect())
}

/// Whether a text, or one of a pair, has no token but unknown ones: what the model says of it is as sure as ever, and means nothing.
fn strange(encoder: &Encoder, windows: &[Tokens]) -> bool {
    let unknown = encoder.tokenizer().unknown();
    let known = |side: u8| {
        let of_side = |window: &Tokens| {
            window.ids.iter().zip(&window.sides).any(|(id, of)| *of == Some(side) && unknown.is_none_or(|unknown| *id != unknown))
        };
        windows.iter().any(of_side)
    };
    let paired = windows.iter().any(|window| window.sides.contains(&Some(1)));
    !known(0) || (paired && !known(1))
}

/// Of each text that was not refused, whether it is strange.
pub fn strange_ones(encoder: &Encoder, texts: &[Result<Vec<Tokens>, Rejection>]) -> Vec<bool> {
    texts.iter().map(|windows| windows.as_ref().is_ok_and(|windows| strange(encoder, windows))).collect()
}

/// Asks the model about all windows at once and gives each text its own back.
pub async fn answers(encoder: &Encoder, head: Head, mut texts: Vec<Vec<Tokens>>) -> Result<Vec<Vec<Window>>, CallError> {
    let take = |window: &mut Tokens| Tokens {
        ids: std::mem::take(&mut window.ids),
        types: std::mem::take(&mut window.types),
        truncated: window.truncated,
        ..Tokens::default()
    };
    let asked: Vec<Tokens> = texts.iter_mut().flatten().map(take).collect();
    let mut answers = encoder.answer_windows(head, asked).await.map_err(call_error)?.into_iter();
    let of_text = |windows: Vec<Tokens>| -> Option<Vec<Window>> {
        windows.into_iter().map(|tokens| answers.next().map(|answer| Window { tokens, answer })).collect()
    };
    let all: Option<Vec<Vec<Window>>> = texts.into_iter().map(of_text).collect();
    all.ok_or_else(|| CallError::Fatal("the model gave fewer answers than it was asked for".to_owned()))
}

/// Puts answers in the places of those texts that were not refused.
pub fn in_place<Q, A>(asked: Vec<Result<Q, Rejection>>, answers: impl IntoIterator<Item = A>) -> Vec<Result<A, Rejection>> {
    let mut answers = answers.into_iter();
    let missing = || Rejection::new("no_answer", "the model gave no answer");
    asked.into_iter().map(|asked| asked.and_then(|_| answers.next().ok_or_else(missing))).collect()
}

/// The mean of what the windows of a text say, weighted by their tokens.
pub fn weighted(windows: &[Window], of: impl Fn(&Window) -> Vec<f32>) -> Vec<f32> {
    if let [only] = windows {
        return of(only);
    }
    let all = Seen::of(windows).tokens.max(1) as f32;
    let mut mean = Vec::new();
    for window in windows {
        let (row, share) = (of(window), window.answer.tokens as f32 / all);
        mean.resize(row.len(), 0.0);
        mean.iter_mut().zip(&row).for_each(|(mean, value)| *mean += value * share);
    }
    mean
}

/// The cosine of two vectors of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Places from the greatest value down; equals in their order.
pub fn ranked(values: &[f32]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    places
}

/// Softmax with the greatest subtracted.
pub fn softmax(values: &mut [f32]) {
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - greatest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}
