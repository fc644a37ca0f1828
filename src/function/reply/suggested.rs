//! What is suggested for a message, and how a record says it.

use super::past::Past;
use super::rewriter::Rewriting;
use crate::function::classify::Label;
use serde_json::{Map, Value, json};

/// A reply that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestion {
    /// The reply with its placeholders filled.
    pub text: String,
    /// The cosine, and the bonus where the intents agree.
    pub score: f64,
    /// The reply's `id`; where it has none, its number in the bank, from 1.
    pub source: String,
    pub intent: Option<String>,
    pub tags: Vec<String>,
    /// The reply in other words, of the first ones where there is a model for it.
    pub rewriting: Option<Rewriting>,
    /// The reply's place in the bank.
    pub(super) place: usize,
}

/// What is suggested for one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestions {
    /// Best first.
    pub suggestions: Vec<Suggestion>,
    /// Why there is none: `below_min_score`; `unfilled`, when all that fit have placeholders that the event does not fill;
    /// `already_sent`, when the desk has sent the others of them in this session.
    pub reason: Option<&'static str>,
    /// With `intent_model`.
    pub intent: Option<Label>,
    /// With `sentiment_model`.
    pub sentiment: Option<Label>,
    /// Tokens that the network saw.
    pub tokens: usize,
    /// Whether the message was longer than the model sees; its beginning was read.
    pub truncated: bool,
    /// Windows in which the message was read, where the options ask for them.
    pub windows: Option<usize>,
    /// The message's place in its conversation, where a fold remembers it.
    pub past: Option<Past>,
    /// The customer's earlier messages that were read with it.
    pub context: usize,
    /// Tokens that the model read and wrote for rewritings.
    pub prompt_tokens: u64,
    pub generated_tokens: u64,
}

impl Suggestion {
    fn told(&self) -> Value {
        let mut told = json!({ "text": self.text, "score": self.score, "source": self.source });
        if let Some(intent) = &self.intent {
            told["intent"] = intent.as_str().into();
        }
        if !self.tags.is_empty() {
            told["tags"] = self.tags.clone().into();
        }
        match &self.rewriting {
            Some(Rewriting::Text(text)) => told["rewritten"] = text.as_str().into(),
            Some(Rewriting::Dropped(why)) => told["rewrite_reason"] = (*why).into(),
            None => {}
        }
        told
    }
}

impl Suggestions {
    /// See [`Reply`](super::Reply). `models` are those of the options, by option.
    pub(super) fn fields<'m>(&self, bank: &str, models: impl Iterator<Item = (&'static str, &'m str)>) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("suggestions".into(), self.suggestions.iter().map(Suggestion::told).collect());
        if let Some(reason) = self.reason {
            fields.insert("reason".into(), reason.into());
        }
        for (name, label) in [("intent", &self.intent), ("sentiment", &self.sentiment)] {
            if let Some(label) = label {
                fields.insert(name.into(), json!({ "label": label.name, "score": label.score }));
            }
        }
        fields.insert("bank".into(), bank.into());
        for (option, id) in models {
            if option == "rewrite_model" {
                fields.insert("prompt_tokens".into(), self.prompt_tokens.into());
                fields.insert("generated_tokens".into(), self.generated_tokens.into());
            }
            fields.insert(option.into(), id.into());
        }
        fields.insert("tokens".into(), self.tokens.into());
        fields.insert("truncated".into(), self.truncated.into());
        self.windows.map(|windows| fields.insert("windows".into(), windows.into()));
        if let Some(Past { turn, waiting_ms, status, .. }) = &self.past {
            turn.map(|turn| fields.insert("turn".into(), turn.into()));
            waiting_ms.map(|waiting_ms| fields.insert("waiting_ms".into(), waiting_ms.into()));
            fields.insert("status".into(), (*status).into());
            fields.insert("context".into(), self.context.into());
        }
        fields
    }
}
