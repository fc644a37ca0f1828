//! A folder's tokeniser with our own limits: never any padding, bounded work for a text of any length, and windows over long texts.
//! It is read from `tokenizer.json`, or from the forms that older checkpoints have.

mod byte_pairs;
mod forms;
mod frame;
mod kind;
mod known;
mod marian;
mod sentence_piece;
mod settings;
#[cfg(test)]
mod tests;
mod word_piece;

pub use marian::{Marian, Source};
pub use settings::max_tokens;

pub(super) use self::forms::{check_tables, contained};
use super::InferenceError;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Tokenizer};

/// Characters looked at for each token that may be kept. An English word has about five; a text that needs more than this many
/// (long runs of blanks) is cut early and says so.
const CHARACTERS_A_TOKEN: usize = 32;

/// A text, or a pair of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub first: String,
    pub second: Option<String>,
}

impl Text {
    pub fn pair(first: impl Into<String>, second: impl Into<String>) -> Self {
        Self { first: first.into(), second: Some(second.into()) }
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self { first: text.into(), second: None }
    }
}

/// Which part of a text gives way when it is longer than the model sees. Of a single text it is always the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Give {
    /// The longer of a pair, token by token; both are kept in part.
    #[default]
    Longest,
    /// The first of a pair only.
    First,
    /// The second of a pair only.
    Second,
}

/// How a text that is longer than the model sees is brought before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    pub give: Give,
    /// Windows that overlap by this many tokens; `None` keeps the first window alone. [`Give::Longest`] cannot slide.
    pub stride: Option<usize>,
    /// Tokens of a window, special ones included, when fewer than the model sees are wanted.
    pub max_tokens: Option<usize>,
}

/// One text, or one window of it, as tokens, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Between 1 and the tokeniser's maximum.
    pub ids: Vec<u32>,
    /// The segment of each token.
    pub types: Vec<u32>,
    /// Bytes of each token in its text, always whole characters; empty for special tokens.
    pub offsets: Vec<(usize, usize)>,
    /// The word of each token by the pre-tokeniser, counted in its text; `None` for special tokens.
    pub words: Vec<Option<u32>>,
    /// 0 for the first text of a pair, 1 for the second, `None` for special tokens.
    pub sides: Vec<Option<u8>>,
    /// Whether some of the text was left out; with windows, of this window's text.
    pub truncated: bool,
}

/// A tokeniser that keeps at most a given number of tokens.
pub struct TextTokenizer {
    path: PathBuf,
    /// Without the step that adds special tokens: windows are cut before it.
    inner: Tokenizer,
    frame: Option<PostProcessorWrapper>,
    max_tokens: usize,
    /// Whether words of ASCII are known; found out when it is asked first.
    ascii: OnceLock<bool>,
}

impl TextTokenizer {
    /// Reads `folder/tokenizer.json`, or what is there of the older forms: `vocab.txt`, `vocab.json` with `merges.txt`, or a
    /// SentencePiece model. Padding and truncation that a file asks for are overridden.
    pub fn open(folder: &Path, max_tokens: usize) -> Result<Self, InferenceError> {
        let (path, inner) = forms::open(folder)?;
        Self::new(path, inner, max_tokens)
    }

    /// From a tokeniser built elsewhere; `path` is named in errors.
    pub fn new(path: PathBuf, mut inner: Tokenizer, max_tokens: usize) -> Result<Self, InferenceError> {
        let malformed = |e: tokenizers::Error| InferenceError::Malformed { path: path.clone(), cause: e.to_string() };
        let frame = inner.get_post_processor().cloned();
        if let Some(frame) = &frame {
            frame::check(frame).map_err(|cause| InferenceError::Malformed { path: path.clone(), cause })?;
        }
        inner.with_padding(None).with_truncation(None).map_err(malformed)?;
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let needed = frame.as_ref().map_or(0, |frame| frame.added_tokens(false));
        if max_tokens <= needed {
            let cause = format!("it adds {needed} special tokens to a text, but the model sees only {max_tokens}");
            return Err(InferenceError::Unsupported { path, cause });
        }
        Ok(Self { path, inner, frame, max_tokens, ascii: OnceLock::new() })
    }

    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One more than the highest id the tokeniser can give.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// The id of a token such as `[MASK]`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, InferenceError> {
        contained(|| self.inner.decode(ids, skip_special)).map_err(InferenceError::Poison)
    }

    /// A single text, its end cut off where it is too long.
    pub fn encode(&self, text: &str) -> Result<Tokens, InferenceError> {
        let mut windows = self.windows(&Text::from(text), &Cut::default())?;
        Ok(windows.swap_remove(0))
    }

    /// The ids of a text without special tokens, and whether its end was cut off.
    pub fn plain(&self, text: &str, max_tokens: usize) -> Result<(Vec<u32>, bool), InferenceError> {
        let (encoding, cut) = self.part(text, Some(max_tokens))?;
        let ids = encoding.get_ids();
        Ok((ids[..ids.len().min(max_tokens)].to_vec(), cut || ids.len() > max_tokens))
    }

    /// The windows of a text, at least one, in order.
    pub fn windows(&self, text: &Text, cut: &Cut) -> Result<Vec<Tokens>, InferenceError> {
        let most = cut.max_tokens.unwrap_or(self.max_tokens).min(self.max_tokens);
        let added = self.frame.as_ref().map_or(0, |frame| frame.added_tokens(text.second.is_some()));
        let Some(room) = most.checked_sub(added).filter(|&room| room > 0) else {
            return Err(InferenceError::Poison(format!("windows of {most} tokens leave no room beside {added} special ones")));
        };
        let looked_at = cut.stride.is_none().then_some(most);
        let (first, first_cut) = self.part(&text.first, looked_at)?;
        let Some(second) = &text.second else {
            let parts = slide(first.len(), room, cut.stride)?;
            let cut_off = first_cut || (parts.len() == 1 && parts[0].end < first.len());
            return parts.into_iter().map(|part| self.framed(text, take(&first, part), None, cut_off)).collect();
        };
        let (second, second_cut) = self.part(second, looked_at)?;
        let (lengths, give) = ((first.len(), second.len()), cut.give);
        let lost = first_cut || second_cut;
        if give == Give::Longest {
            let (a, b) = longest_first(lengths, room);
            let cut_off = lost || (a, b) != lengths;
            return Ok(vec![self.framed(text, take(&first, 0..a), Some(take(&second, 0..b)), cut_off)?]);
        }
        let (kept, slid) = if give == Give::First { (&second, &first) } else { (&first, &second) };
        let Some(rest) = room.checked_sub(kept.len()).filter(|&rest| rest > 0 || slid.is_empty()) else {
            let tokens = kept.len();
            return Err(InferenceError::Poison(format!(
                "the part that is kept whole has {tokens} tokens; {room} is the limit for both"
            )));
        };
        let parts = slide(slid.len(), rest, cut.stride)?;
        let cut_off = lost || (parts.len() == 1 && parts[0].end < slid.len());
        let one = |part: Range<usize>| {
            let (kept, slid) = (kept.clone(), take(slid, part));
            let (a, b) = if give == Give::First { (slid, kept) } else { (kept, slid) };
            self.framed(text, a, Some(b), cut_off)
        };
        parts.into_iter().map(one).collect()
    }

    /// The tokens of a text without special ones, and whether it was cut before it was tokenised.
    fn part(&self, text: &str, most: Option<usize>) -> Result<(Encoding, bool), InferenceError> {
        let kept = most.map_or(text, |most| head(text, most.saturating_mul(CHARACTERS_A_TOKEN)));
        let encoding = contained(|| self.inner.encode(kept, false)).map_err(InferenceError::Poison)?;
        Ok((encoding, kept.len() < text.len()))
    }

    fn framed(&self, text: &Text, first: Encoding, second: Option<Encoding>, truncated: bool) -> Result<Tokens, InferenceError> {
        let framed = || match &self.frame {
            Some(frame) => frame.process(first, second, true),
            None => <dyn PostProcessor>::default_process(std::iter::once(first).chain(second).collect(), true)
                .map(|parts| Encoding::merge(parts, false)),
        };
        let encoding = contained(framed).map_err(InferenceError::Poison)?;
        if encoding.is_empty() {
            return Err(InferenceError::Poison("the text has no token that the model knows".to_owned()));
        }
        let side = |side: &Option<usize>| side.map(|side| side.min(1) as u8);
        let sides: Vec<Option<u8>> = encoding.get_sequence_ids().iter().map(side).collect();
        let whole = |(&offsets, side): (&(usize, usize), &Option<u8>)| match (side, &text.second) {
            (Some(0), _) => whole_characters(&text.first, offsets),
            (Some(_), Some(second)) => whole_characters(second, offsets),
            _ => offsets,
        };
        Ok(Tokens {
            ids: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
            offsets: encoding.get_offsets().iter().zip(&sides).map(whole).collect(),
            words: encoding.get_word_ids().to_vec(),
            sides,
            truncated,
        })
    }
}

/// Both ends moved back to the beginning of a character, as transformers counts them: a blank that a byte-level tokeniser put before a
/// text takes nothing of its first character.
fn whole_characters(text: &str, (start, end): (usize, usize)) -> (usize, usize) {
    (text.floor_char_boundary(start), text.floor_char_boundary(end))
}

/// Some consecutive tokens of a text.
fn take(encoding: &Encoding, part: Range<usize>) -> Encoding {
    Encoding::new(
        encoding.get_ids()[part.clone()].to_vec(),
        encoding.get_type_ids()[part.clone()].to_vec(),
        encoding.get_tokens()[part.clone()].to_vec(),
        encoding.get_word_ids()[part.clone()].to_vec(),
        encoding.get_offsets()[part.clone()].to_vec(),
        encoding.get_special_tokens_mask()[part.clone()].to_vec(),
        encoding.get_attention_mask()[part].to_vec(),
        Vec::new(),
        ahash::AHashMap::default(),
    )
}

/// Where the windows of `length` tokens begin and end: each at most `room`, overlapping by `stride`, the last one ending at the end.
fn slide(length: usize, room: usize, stride: Option<usize>) -> Result<Vec<Range<usize>>, InferenceError> {
    let mut window = 0..length.min(room);
    let mut windows = Vec::from([window.clone()]);
    let Some(stride) = stride else { return Ok(windows) };
    if length > room && stride >= room {
        return Err(InferenceError::Poison(format!("windows of {room} tokens cannot overlap by {stride}")));
    }
    while window.end < length {
        let start = window.end - stride;
        window = start..(start + room).min(length);
        windows.push(window.clone());
    }
    Ok(windows)
}

/// How many tokens of a pair stay when the longer one gives way, token by token; of equals the first gives.
fn longest_first((first, second): (usize, usize), room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let half = room / 2;
    if first <= half {
        (first, room - first)
    } else if second <= room - half {
        (room - second, second)
    } else {
        (half, room - half)
    }
}

/// The first `characters` characters.
fn head(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}
