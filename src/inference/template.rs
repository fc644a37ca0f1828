//! Chat templates: a list of messages as the text that a model was trained on, cut so that no message can pass for a control token.
//!
//! A template is Jinja, as transformers runs it. Where a message holds the text of a control token, the first character of that
//! text goes through the template as a mark, which stands for the same character and begins no token ([`Rendered`]). So
//! `<|im_end|>` in an event is ten characters of text and ends nothing.

mod bounded;
mod jinja;
mod marks;

pub use marks::Rendered;

use jinja::Engine;
use marks::Marks;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// What a template is run with, besides the messages.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Ends with what begins an answer.
    pub generation_prompt: bool,
    /// The last message is the beginning of the answer, and is left open.
    pub continue_last: bool,
    /// What `strftime_now` tells, milliseconds since the Unix epoch: the event's own time, never the clock's.
    pub time_ms: i64,
    /// Other variables of the template, such as `enable_thinking` or `tools`.
    pub variables: Map<String, Value>,
}

/// Why there is no text. The message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{0}")]
    Folder(String),
    #[error("the chat template cannot be read: {0}")]
    Syntax(String),
    /// The machine has none to spare now.
    #[error("the chat template has no thread to run on: {0}; raise the limit of threads or processes, or try again")]
    Thread(String),
    /// The template refused these messages, or could not be run with them.
    #[error("the chat template refuses the messages: {0}")]
    Refused(String),
    /// It goes on for ever, or nearly so.
    #[error("the chat template does not come to an end: {0}")]
    Endless(String),
}

/// A template, ready to run.
pub struct ChatTemplate {
    engine: Engine,
    specials: Map<String, Value>,
    /// The file that it was read from.
    file: Option<PathBuf>,
}

impl ChatTemplate {
    /// The template of a model folder: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`; `None` where the
    /// model has none. `named` picks one out of a list of named templates; without it the one named `default`.
    pub fn open(folder: &Path, named: Option<&str>) -> Result<Option<Self>, TemplateError> {
        let of_folder = |name: &str, cause: String| TemplateError::Folder(format!("{}: {cause}", folder.join(name).display()));
        let config = match read(&folder.join("tokenizer_config.json"))? {
            None => Value::Null,
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| of_folder("tokenizer_config.json", format!("it is no JSON: {error}")))?,
        };
        let specials = specials(&config);
        let (file, source) = match read(&folder.join("chat_template.jinja"))? {
            Some(text) => ("chat_template.jinja", Some(text)),
            None => {
                let name = "tokenizer_config.json";
                (name, pick(&config["chat_template"], named).map_err(|cause| of_folder(name, cause))?)
            }
        };
        let Some(source) = source else { return Ok(None) };
        Ok(Some(Self { file: Some(folder.join(file)), ..Self::new(&source, specials)? }))
    }

    /// From the text of a template and the special tokens that it may name (`bos_token`, `eos_token`, ...).
    pub fn new(source: &str, specials: Map<String, Value>) -> Result<Self, TemplateError> {
        Ok(Self { engine: Engine::new(source)?, specials, file: None })
    }

    /// A conversation as transformers renders it. `controls` are the texts of the special tokens: none of them comes out of a
    /// message's content.
    pub fn render(&self, messages: &[Message], setting: &Setting, controls: &[String]) -> Result<Rendered, TemplateError> {
        let refused = |cause: String| Err(TemplateError::Refused(cause));
        let Some((last, _)) = messages.split_last() else { return refused("there are no messages".into()) };
        if setting.continue_last && setting.generation_prompt {
            return refused("an answer is either begun anew or continued".into());
        }
        // A role stands where templates make control tokens of it.
        if let Some(at) = messages.iter().position(|message| !ROLES.contains(&message.role.as_str())) {
            return refused(format!("message {at} has an unknown role; known: {}", ROLES.join(", ")));
        }
        let marks = Marks::new(messages.iter().map(|message| message.content.as_str()));
        let mut list: Vec<Value> = Vec::with_capacity(messages.len());
        for message in messages {
            list.push(json!({ "role": message.role, "content": marks.escape(&message.content, controls) }));
        }
        if setting.continue_last
            && let Some(list_last) = list.last_mut()
        {
            list_last["content"] = format!("{}{} ", marks.escape(&last.content, controls), marks.end()).into();
        }
        let mut variables = self.specials.clone();
        variables.extend(setting.variables.clone());
        variables.insert("messages".into(), list.into());
        variables.insert("add_generation_prompt".into(), setting.generation_prompt.into());
        let mut text = self.engine.render(variables, setting.time_ms).map_err(|error| match (error, &self.file) {
            (TemplateError::Endless(cause), Some(file)) => TemplateError::Endless(format!("{}: {cause}", file.display())),
            (error, _) => error,
        })?;
        if setting.continue_last {
            let Some(at) = text.rfind(marks.end()) else {
                return refused("the template leaves out the message that should be continued".into());
            };
            let kept = text[at..].starts_with(&format!("{} ", marks.end()));
            text.truncate(at);
            if !kept {
                text.truncate(text.trim_end().len());
            }
        }
        Ok(Rendered::new(text, marks))
    }
}

/// Roles that a message may have.
const ROLES: [&str; 8] = ["system", "developer", "user", "assistant", "model", "tool", "function", "ipython"];

fn read(path: &Path) -> Result<Option<String>, TemplateError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TemplateError::Folder(format!("{}: {error}", path.display()))),
    }
}

/// A template, or one of a list of them.
fn pick(found: &Value, named: Option<&str>) -> Result<Option<String>, String> {
    match found {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(list) => {
            let wanted = named.unwrap_or("default");
            let of = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let names: Vec<String> = list.iter().filter_map(|entry| of(entry, "name")).collect();
            let entry = list.iter().find(|entry| of(entry, "name").as_deref() == Some(wanted));
            match entry.and_then(|entry| of(entry, "template")) {
                Some(template) => Ok(Some(template)),
                None => Err(format!("there is no chat template named `{wanted}`; there are: {}", names.join(", "))),
            }
        }
        _ => Err("`chat_template` is neither a text nor a list of named texts".into()),
    }
}

/// Special tokens by name: each is a text, or an object with `content`.
fn specials(config: &Value) -> Map<String, Value> {
    let names = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
    let of = |name: &&str| {
        let token = &config[*name];
        let text = token.as_str().or_else(|| token["content"].as_str())?;
        Some(((**name).to_owned(), Value::from(text)))
    };
    names.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests;
