//! Options of `reply`, and a reply as it is written down.

use super::read;
use crate::function::options::TooLong;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Suggestions at most.
const MOST: usize = 100;
/// Words that a message may lack at most.
const MOST_WORDS: usize = 100;
/// Suggestions that are rewritten at most.
const MOST_REWRITTEN: usize = 10;

/// Options that one request may change.
pub const PARAMETERS: [&str; 10] = [
    "top_k",
    "min_score",
    "diversity",
    "one_per_intent",
    "intent_bonus",
    "context_words",
    "skip_sent",
    "rewrite_top",
    "too_long",
    "stride",
];

/// Options of `reply`. One of `bank` and `replies` must be given.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// A file of approved replies, .jsonl, .csv or .tsv, with the columns `text`, `id`, `intent`, `tags` and `when`, of which `text` must be there. A relative path starts at the folder of the
    /// configuration, without one at the working folder. It is read once, at the start.
    pub bank: Option<PathBuf>,
    /// The replies themselves: texts, or tables with the same fields.
    pub replies: Option<Vec<Entry>>,
    /// Suggestions at most, 1 to 100. Default 3.
    pub top_k: usize,
    /// Least cosine of a suggestion with the message, -1 to 1; where no reply has it, none is suggested. Default 0.35: between what
    /// MiniLM gives to messages on a subject of the bank (0.5 and more) and to others (below 0.25).
    pub min_score: f32,
    /// How much it counts that a suggestion says something else than those before it: 0 is nothing, 1 is all. Default 0.3.
    pub diversity: f32,
    /// Whether there is at most one suggestion for each intent. Default false.
    pub one_per_intent: bool,
    /// A classifier that says the message's intent: a name of `[models.NAME]`, or a folder. Default: none.
    pub intent_model: Option<String>,
    /// A classifier that says the message's sentiment, likewise. Default: none.
    pub sentiment_model: Option<String>,
    /// What a reply's score gains when its intent is the message's, times the probability of that intent; 0 to 1. Default 0.1.
    pub intent_bonus: f32,
    /// Dotted paths in the event by the placeholders that they fill. A placeholder that is not named here is a path itself.
    pub fill: BTreeMap<String, String>,
    /// With `[dialogue]`: a message of fewer words than this is read with the customer's earlier messages of the session, from the
    /// newest back, until there are as many; 0 is never. Default 6: `and when?` alone says nothing.
    pub context_words: usize,
    /// With `[dialogue]`: whether a reply that the desk has sent in this session is left out: the same but for blanks and case, or in other words,
    /// as a rewriting is, where the desk's message names it (`source` of `[dialogue]`). Default true.
    pub skip_sent: bool,
    /// A causal model with a chat template that says the best suggestions in words that fit the message, as `rewritten` beside the
    /// approved `text`: a name of `[models.NAME]`, or a folder. A rewriting that adds figures, periods, amounts, links or addresses, denies more or
    /// less often than the reply, or says the customer's words, is dropped, and `rewrite_reason` says why; whether it still means what was approved nobody has checked. Default: none.
    pub rewrite_model: Option<String>,
    /// Suggestions of a message that are rewritten, from the best on, 0 to 10. Default 1.
    pub rewrite_top: usize,
    /// What the model is told; the message and the reply are put behind it. Default: to say the reply in friendly words and add nothing.
    pub rewrite_instruction: Option<String>,
    /// Tokens of a rewriting at most; a longer one is dropped. Default 128, or half of what the model sees where that is less.
    pub rewrite_max_new_tokens: Option<usize>,
    /// 0 takes the most probable token, above 0 chance decides, with a seed out of the event's id. Default 0.
    pub rewrite_temperature: f32,
    /// `truncate` (default), `window` or `reject`, for the message. In windows its vector is the mean of theirs, and so are the scores of intent and
    /// sentiment, weighted by their tokens.
    pub too_long: TooLong,
    /// Tokens by which windows overlap. Default: a quarter of what the model sees.
    pub stride: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bank: None,
            replies: None,
            top_k: 3,
            min_score: 0.35,
            diversity: 0.3,
            one_per_intent: false,
            intent_model: None,
            sentiment_model: None,
            intent_bonus: 0.1,
            fill: BTreeMap::new(),
            context_words: 6,
            skip_sent: true,
            rewrite_model: None,
            rewrite_top: 1,
            rewrite_instruction: None,
            rewrite_max_new_tokens: None,
            rewrite_temperature: 0.0,
            too_long: TooLong::default(),
            stride: None,
        }
    }
}

impl Options {
    /// What is wrong with the numbers and paths.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MOST).contains(&self.top_k) {
            return Err(format!("option `top_k` must be 1 to {MOST}"));
        }
        if !(-1.0..=1.0).contains(&self.min_score) {
            return Err("option `min_score` must be -1 to 1; it is a cosine".to_owned());
        }
        if !(0.0..=1.0).contains(&self.diversity) {
            return Err("option `diversity` must be 0 to 1".to_owned());
        }
        if !(0.0..=1.0).contains(&self.intent_bonus) {
            return Err("option `intent_bonus` must be 0 to 1".to_owned());
        }
        if self.context_words > MOST_WORDS {
            return Err(format!("option `context_words` must be 0 to {MOST_WORDS}"));
        }
        if self.rewrite_top > MOST_REWRITTEN {
            return Err(format!("option `rewrite_top` must be 0 to {MOST_REWRITTEN}"));
        }
        if !(0.0..=100.0).contains(&self.rewrite_temperature) {
            return Err("option `rewrite_temperature` must be 0 to 100".to_owned());
        }
        let alone = [
            ("rewrite_instruction", self.rewrite_instruction.is_some()),
            ("rewrite_max_new_tokens", self.rewrite_max_new_tokens.is_some()),
            ("rewrite_temperature", self.rewrite_temperature != 0.0),
        ];
        if let Some((name, _)) = alone.iter().find(|(_, set)| *set && self.rewrite_model.is_none()) {
            return Err(format!("option `{name}` needs `rewrite_model`, the model that rewrites"));
        }
        match self.fill.iter().find(|(_, path)| path.split('.').any(str::is_empty)) {
            Some((name, path)) => Err(format!("option `fill`: {name} = {path:?} is no path; write names with dots between")),
            None => Ok(()),
        }
    }

    /// The replies, wherever they stand.
    pub fn entries(&self, base: &Path) -> Result<Vec<Entry>, String> {
        match (&self.bank, &self.replies) {
            (Some(path), None) => read::entries(&base.join(path)).map_err(|cause| format!("option `bank`: {cause}")),
            (None, Some(replies)) => read::checked(replies.clone()).map_err(|cause| format!("option `replies`: {cause}")),
            (Some(_), Some(_)) => Err("options `bank` and `replies` are two places for one thing; give one of them".to_owned()),
            (None, None) => Err("it needs approved replies: give option `bank`, a file, or `replies`, a list".to_owned()),
        }
    }
}

/// An approved reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "TextOrTable")]
pub struct Entry {
    /// What is suggested. `{name}` is a placeholder; braces that are to be sent are written twice.
    pub text: String,
    /// Its name in the answer; no two replies have the same.
    pub id: Option<String>,
    /// The intent of the messages that it answers.
    pub intent: Option<String>,
    pub tags: Vec<String>,
    /// Examples of messages that it answers.
    pub when: Vec<String>,
}

impl<T: AsRef<str>> From<T> for Entry {
    fn from(text: T) -> Self {
        Self { text: text.as_ref().to_owned(), ..Self::default() }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or an object with `text` and perhaps `id`, `intent`, `tags`, `when`; no other field")]
enum TextOrTable {
    Text(String),
    Table(Table),
}

/// An [`Entry`] that is written with the names of its fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    text: String,
    id: Option<String>,
    intent: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    when: Vec<String>,
}

impl From<TextOrTable> for Entry {
    fn from(from: TextOrTable) -> Self {
        match from {
            TextOrTable::Text(text) => Self { text, ..Self::default() },
            TextOrTable::Table(table) => table.into(),
        }
    }
}

impl From<Table> for Entry {
    fn from(Table { text, id, intent, tags, when }: Table) -> Self {
        Self { text, id, intent, tags, when }
    }
}
