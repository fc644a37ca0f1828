//! Texts and conversations to learn from: files, tokens, and which tokens are to be guessed.

use super::network::IGNORED;
use crate::inference::generate::Vocabulary;
use crate::inference::template::{ChatTemplate, Message, Setting};
use crate::train::data::open;
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::path::Path;

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Texts(Vec<String>),
    Chats(Vec<Vec<Message>>),
}

/// Tokens of a text or a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// Whether each is to be guessed from those before it; the first never is.
    pub guessed: Vec<bool>,
    /// Characters that the guessed tokens are written with.
    pub characters: usize,
}

impl Source {
    /// A file of lines of JSON (`.jsonl`), each with `text` or with `messages`, or a text. Either may be packed (`.gz`).
    pub fn read(path: &Path) -> Result<Self> {
        let (mut reader, name) = open(path)?;
        let mut text = String::new();
        reader.read_to_string(&mut text).with_context(|| format!("cannot read {} as UTF-8", path.display()))?;
        if !name.ends_with(".jsonl") {
            ensure!(!text.is_empty(), "{} is empty", path.display());
            return Ok(Self::Texts(vec![text]));
        }
        let (mut texts, mut chats) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = || format!("{} line {}", path.display(), number + 1);
            let value: serde_json::Value = serde_json::from_str(line).with_context(at)?;
            match (value.get("text").and_then(serde_json::Value::as_str), value.get("messages")) {
                (Some(text), None) => texts.push(text.to_owned()),
                (None, Some(messages)) => chats.push(serde_json::from_value(messages.clone()).with_context(at)?),
                _ => bail!("{}: either a `text` or `messages` (objects with `role` and `content`) is expected", at()),
            }
        }
        match (texts.is_empty(), chats.is_empty()) {
            (false, true) => Ok(Self::Texts(texts)),
            (true, false) => Ok(Self::Chats(chats)),
            (true, true) => bail!("{} has no lines", path.display()),
            (false, false) => bail!("{} mixes texts and conversations; make two files of it", path.display()),
        }
    }

    /// The first nine tenths to learn from and the rest to measure on, in order: of the characters of a single text, else of the texts.
    pub fn split(self) -> Result<(Self, Self)> {
        fn cut<T>(mut all: Vec<T>) -> (Vec<T>, Vec<T>) {
            let rest = all.split_off(all.len() * 9 / 10);
            (all, rest)
        }
        let few = "there is too little to measure on a tenth of it; name a file with --dev";
        Ok(match self {
            Self::Texts(texts) if texts.len() == 1 => {
                let text = &texts[0];
                let at = text.chars().count() * 9 / 10;
                let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
                ensure!(at > 0 && at < text.len(), few);
                (Self::Texts(vec![text[..at].to_owned()]), Self::Texts(vec![text[at..].to_owned()]))
            }
            Self::Texts(texts) => {
                ensure!(texts.len() > 1, few);
                let (train, dev) = cut(texts);
                (Self::Texts(train), Self::Texts(dev))
            }
            Self::Chats(chats) => {
                ensure!(chats.len() > 1, few);
                let (train, dev) = cut(chats);
                (Self::Chats(train), Self::Chats(dev))
            }
        })
    }

    /// All of it as tokens. Control tokens in a text are text.
    pub fn tokens(&self, vocabulary: &Vocabulary, template: Option<&ChatTemplate>) -> Result<Vec<Tokens>> {
        match self {
            Self::Texts(texts) => texts.iter().map(|text| of_text(text, vocabulary)).collect(),
            Self::Chats(chats) => {
                let template = template.context("the model has no chat template, so that it learns no conversations")?;
                let one = |(number, chat): (usize, &Vec<Message>)| {
                    of_chat(chat, vocabulary, template).with_context(|| format!("conversation {}", number + 1))
                };
                chats.iter().enumerate().map(one).collect()
            }
        }
    }
}

fn of_text(text: &str, vocabulary: &Vocabulary) -> Result<Tokens> {
    let begin = vocabulary.begin().to_vec();
    let plain = vocabulary.plain(text, true)?;
    // Without a token that begins texts, the first of the text itself is not guessed.
    let unseen = if begin.is_empty() { plain.first().and_then(|id| vocabulary.bytes(*id)) } else { None };
    let characters = text.chars().count() - unseen.map_or(0, |bytes| String::from_utf8_lossy(bytes).chars().count());
    let ids = [begin, plain].concat();
    let guessed = (0..ids.len()).map(|at| at > 0).collect();
    Ok(Tokens { ids, guessed, characters })
}

/// A conversation as its template writes it; what the assistant says is to be guessed, and how it ends.
fn of_chat(chat: &[Message], vocabulary: &Vocabulary, template: &ChatTemplate) -> Result<Tokens> {
    let ids = |messages: &[Message], generation_prompt: bool| -> Result<Vec<u32>> {
        let setting = Setting { generation_prompt, ..Setting::default() };
        let rendered = template.render(messages, &setting, vocabulary.controls())?;
        Ok(vocabulary.encode(&rendered, false)?)
    };
    let whole = ids(chat, false)?;
    let (mut guessed, mut characters) = (vec![false; whole.len()], 0);
    for (at, message) in chat.iter().enumerate().skip(1).filter(|(_, message)| message.role == "assistant") {
        let (before, after) = (ids(&chat[..at], true)?, ids(&chat[..=at], false)?);
        let apart = !whole.starts_with(&before) || !whole.starts_with(&after) || before.len() > after.len();
        ensure!(!apart, "the template does not write message {} at the end of those before it", at + 1);
        guessed[before.len()..after.len()].fill(true);
        characters += message.content.chars().count();
    }
    ensure!(characters > 0, "it has no message of the assistant that answers another");
    Ok(Tokens { ids: whole, guessed, characters })
}

impl Tokens {
    /// Tokens that are to be guessed.
    pub fn count(&self) -> usize {
        self.guessed.iter().filter(|guessed| **guessed).count()
    }

    /// The token that is to be guessed after each, or [`IGNORED`].
    pub fn targets(&self) -> Vec<u32> {
        let next = self.ids.iter().zip(&self.guessed).skip(1).map(|(id, guessed)| if *guessed { *id } else { IGNORED });
        next.chain([IGNORED]).take(self.ids.len()).collect()
    }
}

#[cfg(test)]
mod tests;
