//! Options of `reply`, and a reply as it is written down.

use super::read;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Suggestions at most.
const MOST: usize = 100;
/// Words that a message may lack at most.
const MOST_WORDS: usize = 100;

/// Options of `reply`. One of `bank` and `replies` must be given.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// A file of approved replies, .jsonl, .csv or .tsv, with the fields of [`Entry`]. A relative path starts at the folder of the
    /// configuration, without one at the working folder. It is read once, at the start.
    pub bank: Option<PathBuf>,
    /// The replies themselves: texts, or tables with the fields of [`Entry`].
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
    /// With `[dialogue]`: whether a reply that the desk has sent in this session, the same but for blanks and case, is left out.
    /// Default true.
    pub skip_sent: bool,
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
