//! `fill`: the words that fit where a text has its model's mask token.

use super::control::harmless;
use super::fields::Fields;
use super::options::{List, TooLong};
use super::task::{MAX_ITEMS, Task};
use super::texts::{call_error, rounded};
use super::windows::{self, Seen, ranked, softmax};
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
    /// `truncate` (default), `window` or `reject`. A window stands around the masks, so that none is cut off; what is beyond it is not seen.
    pub too_long: TooLong,
}

impl Default for Options {
    fn default() -> Self {
        Self { top_k: 5, targets: None, too_long: TooLong::default() }
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

    /// What the network sees of a text, with a mask at least.
    fn seen(&self, mut windows: Vec<Tokens>) -> Result<Tokens, Rejection> {
        let is_mask = |id: &&u32| **id == self.mask;
        match windows.iter().flat_map(|window| &window.ids).filter(is_mask).count() {
            0 => {
                let detail = format!("the text has no {} among the tokens that the model sees", self.mask_token);
                Err(Rejection::new("no_mask", detail).at("text"))
            }
            1..=MAX_MASKS if windows.len() < 2 => Ok(windows.pop().unwrap_or_default()),
            1..=MAX_MASKS => around(&windows, self.mask, self.encoder.max_tokens()).ok_or_else(|| {
                let detail = format!("the first {0} and the last are further apart than the model sees", self.mask_token);
                Rejection::new("text_too_long", detail).at("text")
            }),
            masks => {
                let detail = format!("{masks} times {}; the limit is {MAX_MASKS}", self.mask_token);
                Err(Rejection::new("too_many_masks", detail).at("text"))
            }
        }
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
    const PARAMETERS: &'static [&'static str] = &["top_k", "targets", "too_long"];
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
        let policy = self.options.too_long;
        // All of a text is tokenised, in windows that have nothing in common, where masks may stand anywhere.
        let cut = Cut { stride: (policy != TooLong::Truncate).then_some(0), ..Cut::default() };
        let windows = windows::windows(&self.encoder, asks.into_iter().map(clean).collect(), cut, policy).await?;
        let checked: Vec<Result<Tokens, Rejection>> =
            windows.into_iter().map(|windows| windows.and_then(|windows| self.seen(windows))).collect();
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
        Prediction { key: None, fields, label: None, score, model: None }
    }

    fn bare(fields: &Value) -> Value {
        fields["fills"].clone()
    }

    fn example(&self) -> Value {
        json!(format!("Paris is a {} in France.", self.mask_token))
    }
}

/// One window with all masks of a text, in its middle as far as the text's ends allow, out of windows that follow each other; `None` where
/// they are too far apart.
fn around(windows: &[Tokens], mask: u32, most: usize) -> Option<Tokens> {
    let first = windows.first()?;
    let special = |side: &&Option<u8>| side.is_none();
    let lead = first.sides.iter().take_while(special).count();
    let end = first.ids.len() - first.sides.iter().rev().take_while(special).count();
    let own = |window: &Tokens| lead..(window.ids.len() + end).saturating_sub(first.ids.len()).max(lead);
    let ids: Vec<u32> = windows.iter().flat_map(|window| &window.ids[own(window)]).copied().collect();
    let room = most.saturating_sub(lead + first.ids.len() - end).min(ids.len());
    let masks = |id: &u32| *id == mask;
    let (begins, ends) = (ids.iter().position(masks)?, ids.iter().rposition(masks)? + 1);
    if ends - begins > room {
        return None;
    }
    let start = usize::midpoint(begins, ends).saturating_sub(room / 2).min(ids.len() - room);
    let kind = first.types.get(lead).copied().unwrap_or_default();
    let framed = |before: &[u32], inside: &[u32], behind: &[u32]| [before, inside, behind].concat();
    Some(Tokens {
        ids: framed(&first.ids[..lead], &ids[start..start + room], &first.ids[end..]),
        types: framed(first.types.get(..lead)?, &vec![kind; room], first.types.get(end..)?),
        truncated: room < ids.len(),
        ..Tokens::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Would catch: a mask that is cut off, tokens that are left out inside of the window, a window of another length than the model sees.
        #[test]
        fn a_window_has_all_masks(length in 1usize..60, room in 1usize..12, masks in prop::collection::vec(0usize..60, 1..4)) {
            const MASK: u32 = 1_000;
            let mut text: Vec<u32> = (0..length as u32).collect();
            masks.iter().for_each(|at| text[at % length] = MASK);
            let window = |part: &[u32]| Tokens {
                ids: [&[900], part, &[901, 902]].concat(),
                types: [vec![2], vec![0; part.len()], vec![1, 2]].concat(),
                sides: [vec![None], vec![Some(0); part.len()], vec![None; 2]].concat(),
                ..Tokens::default()
            };
            let windows: Vec<Tokens> = text.chunks(room).map(window).collect();
            let (first, last) = (text.iter().position(|id| *id == MASK).unwrap(), text.iter().rposition(|id| *id == MASK).unwrap());
            let found = around(&windows, MASK, room + 3);
            prop_assert_eq!(found.is_some(), last - first < room);
            if let Some(found) = found {
                prop_assert_eq!(found.ids.len(), room.min(length) + 3);
                prop_assert_eq!(found.types.len(), found.ids.len());
                let inside = &found.ids[1..found.ids.len() - 2];
                prop_assert!(text.windows(inside.len()).any(|part| part == inside));
                let count = |ids: &[u32]| ids.iter().filter(|id| **id == MASK).count();
                prop_assert_eq!(count(inside), count(&text));
                prop_assert_eq!((found.ids[0], &found.ids[found.ids.len() - 2..], found.truncated), (900, &[901, 902][..], length > room));
            }
        }
    }
}
