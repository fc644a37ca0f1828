//! From an event to the ids of a prompt that has room.

use super::plan::Plan;
use crate::event::{Rejection, missing, wrong};
use crate::function::fields::Fields;
use crate::function::options::TooLong;
use crate::function::task::{MAX_ITEMS, check};
use crate::function::texts::TextOptions;
use crate::inference::generate::Writer;
use crate::inference::template::{Message, Rendered, Setting};

/// What one event asks.
#[derive(Debug, Clone)]
pub enum Asked {
    Text(String),
    Messages(Vec<Message>),
}

/// A prompt as the network gets it.
pub struct Prompt {
    pub ids: Vec<u32>,
    /// Whether something was left out.
    pub truncated: bool,
}

impl Asked {
    /// The field that it came in.
    fn field(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Messages(_) => "messages",
        }
    }

    pub fn read(fields: &Fields<'_>, limits: &TextOptions) -> Result<Self, Rejection> {
        let Some(messages) = fields.value("messages") else {
            let text = fields.optional("text")?.ok_or_else(|| missing("text"))?;
            check(limits, &[("text", None, &text)])?;
            return Ok(Self::Text(text));
        };
        let expected = "a list of objects with `role` and `content`, both texts";
        let read: Vec<Message> = serde_json::from_value(messages.clone()).map_err(|_| wrong("messages", messages, expected))?;
        if read.is_empty() || read.len() > MAX_ITEMS {
            let detail = format!("{} messages; 1 to {MAX_ITEMS} are answered", read.len());
            return Err(Rejection::new("too_many_items", detail).at("messages"));
        }
        for (at, message) in read.iter().enumerate() {
            // A message may be empty, but must be fit to store and to tokenise.
            if !message.content.trim().is_empty() {
                check(limits, &[("messages", Some(at), &message.content)])?;
            }
        }
        match read.last().is_some_and(|last| !last.content.trim().is_empty()) {
            true => Ok(Self::Messages(read)),
            false => Err(Rejection::new("empty_text", "the last message is empty or only white space").at("messages")),
        }
    }
}

impl Plan {
    /// The ids that every prompt of a text begins with: what the template and the options put before it.
    pub fn beginning(&self, writer: &Writer) -> Vec<u32> {
        let build = Build { plan: self, writer, time_ms: 0 };
        let ids = |text: &str, time_ms: i64| Build { time_ms, ..build }.ids(&Asked::Text(text.to_owned()));
        // Texts that have nothing in common, on days that have nothing in common.
        let (Ok(mut one), Ok(other)) = (ids("a", 0), ids("9", 1_000_000_000_000)) else { return Vec::new() };
        let common = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        one.truncate(common);
        one
    }

    /// Renders, tokenises and, where there is no room, leaves out what the option `too_long` allows.
    pub fn prompt(&self, writer: &Writer, asked: Asked, time_ms: i64) -> Result<Prompt, Rejection> {
        let others = self.beams.map_or(self.options.num_return_sequences, |beams| beams.beams) - 1;
        let room = writer.room_for(self.max_new_tokens, others);
        let build = Build { plan: self, writer, time_ms };
        let ids = build.ids(&asked)?;
        if ids.len() <= room {
            return Ok(Prompt { ids, truncated: false });
        }
        if self.options.too_long != TooLong::Truncate {
            let detail = format!("the prompt has {} tokens; there is room for {room} beside `max_new_tokens`", ids.len());
            return Err(Rejection::new("text_too_long", detail).at(asked.field()));
        }
        build.fitting(asked, room).map(|ids| Prompt { ids, truncated: true })
    }
}

#[derive(Clone, Copy)]
struct Build<'a> {
    plan: &'a Plan,
    writer: &'a Writer,
    time_ms: i64,
}

impl Build<'_> {
    /// Without the oldest messages, then with the beginning of the last text alone.
    fn fitting(&self, mut asked: Asked, room: usize) -> Result<Vec<u32>, Rejection> {
        if let Asked::Messages(messages) = &mut asked {
            let is_system = |message: &&Message| matches!(message.role.as_str(), "system" | "developer");
            let system = messages.iter().take_while(is_system).count().min(messages.len() - 1);
            let most = messages.len() - system - 1;
            let without = |count: usize| [&messages[..system], &messages[system + count..]].concat();
            // A template may want a user first: then one message more is left out.
            let fit = |count: usize| {
                let ids = |count| self.ids(&Asked::Messages(without(count))).ok().filter(|ids| ids.len() <= room);
                (count..=(count + 1).min(most)).find_map(ids)
            };
            if let Some(mut best) = fit(most) {
                let (mut low, mut high) = (0, most);
                while low + 1 < high {
                    let middle = low.midpoint(high);
                    match fit(middle) {
                        Some(ids) => (high, best) = (middle, ids),
                        None => low = middle,
                    }
                }
                return Ok(best);
            }
            *messages = without(most);
        }
        let whole = match &asked {
            Asked::Text(text) => text.clone(),
            Asked::Messages(messages) => messages.last().map(|last| last.content.clone()).unwrap_or_default(),
        };
        let cut = |characters: usize| {
            let text: String = whole.chars().take(characters).collect();
            match &asked {
                Asked::Text(_) => Asked::Text(text),
                Asked::Messages(messages) => {
                    let mut messages = messages.clone();
                    if let Some(last) = messages.last_mut() {
                        last.content = text;
                    }
                    Asked::Messages(messages)
                }
            }
        };
        // The most characters that fit, between none, which must, and all, which do not.
        let (mut fits, mut low, mut high) = (self.ids(&cut(1))?, 1, whole.chars().count());
        if fits.len() > room {
            let detail = format!("the prompt around the text has {} tokens; there is room for {room}", fits.len());
            return Err(Rejection::new("text_too_long", detail).at(asked.field()));
        }
        while low + 1 < high {
            let middle = low.midpoint(high);
            let ids = self.ids(&cut(middle))?;
            match ids.len() <= room {
                true => (low, fits) = (middle, ids),
                false => high = middle,
            }
        }
        Ok(fits)
    }

    fn ids(&self, asked: &Asked) -> Result<Vec<u32>, Rejection> {
        let vocabulary = self.writer.vocabulary();
        let refused = |cause: String| Rejection::new("prompt_refused", cause);
        let rendered = match self.writer.template().filter(|_| self.plan.chat) {
            Some(template) => {
                let messages = self.conversation(asked);
                let continue_last = messages.last().is_some_and(|last| last.role == "assistant");
                let setting = Setting {
                    generation_prompt: !continue_last,
                    continue_last,
                    time_ms: self.time_ms,
                    variables: self.plan.options.template.clone(),
                };
                template.render(&messages, &setting, vocabulary.controls()).map_err(|error| refused(error.to_string()))?
            }
            None => self.plain(asked)?,
        };
        vocabulary.encode(&rendered, !self.plan.chat).map_err(|error| refused(error.to_string()))
    }

    fn conversation(&self, asked: &Asked) -> Vec<Message> {
        let options = &self.plan.options;
        let system = options.system.as_ref().map(|system| Message::new("system", system));
        let messages = match asked {
            Asked::Messages(messages) => messages.clone(),
            Asked::Text(text) => {
                let filled = options.prompt.as_ref().map(|prompt| prompt.replace("{text}", text));
                vec![Message::new("user", filled.unwrap_or_else(|| text.clone()))]
            }
        };
        let has_system = messages.first().is_some_and(|first| first.role == "system");
        system.filter(|_| !has_system).into_iter().chain(messages).collect()
    }

    /// The prompt's own control tokens are control tokens; those in the text are not.
    fn plain(&self, asked: &Asked) -> Result<Rendered, Rejection> {
        let Asked::Text(text) = asked else {
            let detail = "the model has no chat template, so it answers no `messages`; give it a `text`";
            return Err(Rejection::new("unexpected_field", detail).at("messages"));
        };
        let prompt = self.plan.options.prompt.as_deref().unwrap_or("{text}");
        let mut parts: Vec<(&str, bool)> = Vec::new();
        for (at, part) in prompt.split("{text}").enumerate() {
            if at > 0 {
                parts.push((text, false));
            }
            parts.push((part, true));
        }
        Ok(Rendered::joined(&parts, self.writer.vocabulary().controls()))
    }
}
