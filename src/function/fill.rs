//! `fill`: the words that fit where a text has its model's mask token.

use super::control::harmless;
use super::fields::Fields;
use super::options::List;
use super::task::{MAX_ITEMS, Task};
use super::texts::{call_error, rounded};
use super::windows::{Seen, ranked, softmax};
use super::{CallError, Prediction};
use crate::event::Rejection;
use crate::inference::{Answer, Cut, Encoder, Head, Text, Tokens};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Mask tokens of a text at most: each costs a score for every word of the vocabulary.
const MAX_MASKS: usize = 16;
/// Texts that are answered together, for the same reason.
const TOGETHER: usize = 32;

/// Options of `fill`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Words in the answer, best first. Default 5.
    pub top_k: usize,
    /// Only these words are scored; one that is not a token of the model counts as its first token. Default: the whole vocabulary.
    pub targets: Option<List>,
}

impl Default for Options {
    fn default() -> Self {
        Self { top_k: 5, targets: None }
    }
}

/// A text with mask tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked(pub String);

impl<T: AsRef<str>> From<T> for Masked {
    fn from(text: T) -> Self {
        Self(text.as_ref().to_owned())
    }
}

/// A word for a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Filling {
    /// The text with the word in it.
    pub sequence: String,
    /// Its probability among all words.
    pub score: f64,
    pub token: u32,
    pub token_str: String,
}

/// The words for each mask of a text, in order, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    pub masks: Vec<Vec<Filling>>,
    /// Tokens that the network saw.
    pub tokens: usize,
    pub truncated: bool,
}

/// Fields: `fills` (`sequence`, `score`, `token`, `token_str`; lists of them where a text has several masks), `tokens`, `truncated`.
pub struct Fill {
    encoder: Arc<Encoder>,
    options: Options,
    mask: u32,
    mask_token: String,
    targets: Option<Vec<u32>>,
}

impl Fill {
    fn filled(&self, ids: &[u32], answer: Answer) -> Result<Filled, Rejection> {
        let masks: Vec<usize> = (0..ids.len()).filter(|i| ids[*i] == self.mask).collect();
        let width = answer.values.len() / masks.len().max(1);
        let seen = Seen { tokens: answer.tokens, truncated: answer.truncated, windows: 1 };
        let one = |(place, row): (&usize, &[f32])| {
            let mut scores = row.to_vec();
            softmax(&mut scores);
            let tokens: Vec<u32> = self.targets.clone().unwrap_or_else(|| (0..width as u32).collect());
            let of_tokens: Vec<f32> = tokens.iter().map(|token| scores[*token as usize]).collect();
            let best = ranked(&of_tokens).into_iter().take(self.options.top_k);
            best.map(|i| self.filling(ids, *place, tokens[i], of_tokens[i], masks.len() == 1)).collect()
        };
        let fills: Result<_, Rejection> = masks.iter().zip(answer.values.chunks_exact(width.max(1))).map(one).collect();
        Ok(Filled { masks: fills?, tokens: seen.tokens, truncated: seen.truncated })
    }

    fn filling(&self, ids: &[u32], place: usize, token: u32, score: f32, single: bool) -> Result<Filling, Rejection> {
        let mut ids = ids.to_vec();
        ids[place] = token;
        let written = |ids: &[u32], skip: bool| {
            let text = self.encoder.tokenizer().decode(ids, skip);
            text.map_err(|_| Rejection::new("undecodable", "the tokeniser cannot write its own tokens").at("text"))
        };
        Ok(Filling { sequence: written(&ids, single)?, score: rounded(score), token, token_str: written(&[token], false)? })
    }
}

impl Task for Fill {
    const NAME: &'static str = "fill";
    const VERSION: u32 = 1;
    const FIELDS: &'static [&'static str] = &["text"];
    const PARAMETERS: &'static [&'static str] = &["top_k", "targets"];
    type Model = Encoder;
    type Options = Options;
    type Ask = Masked;
    type Answer = Filled;

    fn new(encoder: Arc<Encoder>, options: Options) -> Result<Self, String> {
        let Some(mask) = encoder.mask_token() else {
            return Err("the model has no head for masked words, or its tokeniser no mask token".to_owned());
        };
        if !(1..=MAX_ITEMS).contains(&options.top_k) {
            return Err(format!("option `top_k` is {}; it must be 1 to {MAX_ITEMS}", options.top_k));
        }
        let tokenizer = encoder.tokenizer();
        let token = |target: &String| {
            let own = tokenizer.id(target);
            own.or_else(|| tokenizer.plain(target, 1).ok().and_then(|(ids, _)| ids.first().copied()))
        };
        let targets = match &options.targets {
            None => None,
            Some(targets) => {
                let mut ids: Vec<u32> = targets.0.iter().filter_map(token).collect();
                ids.sort_unstable();
                ids.dedup();
                if ids.is_empty() {
                    return Err("option `targets` names no word that the model knows".to_owned());
                }
                Some(ids)
            }
        };
        let mask_token = tokenizer.token(mask).unwrap_or_default();
        Ok(Self { encoder, options, mask, mask_token, targets })
    }

    fn model(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    fn ask(&self, fields: &Fields<'_>) -> Result<Masked, Rejection> {
        fields.text("text").map(Masked)
    }

    fn texts(ask: &Masked) -> Vec<(&'static str, Option<usize>, &str)> {
        vec![("text", None, &ask.0)]
    }

    async fn answer(&self, asks: Vec<Masked>) -> Result<Vec<Result<Filled, Rejection>>, CallError> {
        let clean = |ask: Masked| Text::from(harmless(self.encoder.tokenizer(), ask.0, Some(&self.mask_token)));
        let windows = self.encoder.windows(asks.into_iter().map(clean).collect(), Cut::default()).await.map_err(call_error)?;
        let checked = windows.into_iter().map(|mut windows| {
            let window = windows.pop().unwrap_or_default();
            match window.ids.iter().filter(|id| **id == self.mask).count() {
                0 => {
                    let detail = format!("the text has no {} among the tokens that the model sees", self.mask_token);
                    Err(Rejection::new("no_mask", detail).at("text"))
                }
                1..=MAX_MASKS => Ok(window),
                masks => {
                    let detail = format!("{masks} times {}; the limit is {MAX_MASKS}", self.mask_token);
                    Err(Rejection::new("too_many_masks", detail).at("text"))
                }
            }
        });
        let checked: Vec<Result<Tokens, Rejection>> = checked.collect();
        let good: Vec<&Tokens> = checked.iter().filter_map(|one| one.as_ref().ok()).collect();
        let mut filled = Vec::with_capacity(good.len());
        for some in good.chunks(TOGETHER) {
            let asked = some.iter().map(|window| (*window).clone()).collect();
            let answers = self.encoder.answer_windows(Head::Mask, asked).await.map_err(call_error)?;
            filled.extend(some.iter().zip(answers).map(|(window, answer)| self.filled(&window.ids, answer)));
        }
        let mut filled = filled.into_iter();
        let missing = || CallError::Fatal("the model gave fewer answers than it was asked for".to_owned());
        let place = |one: Result<Tokens, Rejection>| match one {
            Ok(_) => filled.next().ok_or_else(missing),
            Err(refused) => Ok(Err(refused)),
        };
        checked.into_iter().map(place).collect()
    }

    fn prediction(&self, answer: Filled) -> Prediction {
        let one =
            |of: &Filling| json!({ "sequence": of.sequence, "score": of.score, "token": of.token, "token_str": of.token_str });
        let masks: Vec<Value> = answer.masks.iter().map(|fills| fills.iter().map(one).collect()).collect();
        let score = answer.masks.first().filter(|_| masks.len() == 1).and_then(|fills| fills.first()).map(|best| best.score);
        let fills = if masks.len() == 1 { masks.into_iter().next().unwrap_or_default() } else { masks.into() };
        let mut fields = Map::new();
        fields.insert("fills".into(), fills);
        fields.insert("tokens".into(), answer.tokens.into());
        fields.insert("truncated".into(), answer.truncated.into());
        Prediction { key: None, fields, label: None, score }
    }

    fn bare(fields: &Value) -> Value {
        fields["fills"].clone()
    }

    fn example(&self) -> Value {
        json!(format!("Paris is a {} in France.", self.mask_token))
    }
}
