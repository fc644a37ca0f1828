//! The fields of an answer.

use super::plan::Plan;
use super::said::Said;
use crate::function::texts::rounded;
use crate::inference::generate::{Finish, Token, Vocabulary, complete_sentence};
use serde_json::{Map, Value, json};

/// What is known besides the text.
pub struct About {
    pub prompt_tokens: usize,
    pub truncated: bool,
}

pub fn fields(plan: &Plan, vocabulary: &Vocabulary, said: &[Said], about: &About) -> Map<String, Value> {
    let mut all: Vec<Map<String, Value>> = said.iter().map(|said| one_answer(plan, vocabulary, said)).collect();
    let mut fields = all.first().cloned().unwrap_or_default();
    fields.insert("prompt_tokens".into(), about.prompt_tokens.into());
    fields.insert("truncated".into(), about.truncated.into());
    if plan.options.num_return_sequences > 1 {
        fields.insert("answers".into(), all.drain(..).map(Value::Object).collect());
    }
    fields
}

fn one_answer(plan: &Plan, vocabulary: &Vocabulary, said: &Said) -> Map<String, Value> {
    let Said { trace, seed, score } = said;
    let mut text = trace.text.as_str();
    if plan.options.complete_sentence && trace.finish == Finish::Length {
        text = complete_sentence(text);
    }
    let mut fields = Map::new();
    fields.insert("generated_text".into(), stored(text).into());
    fields.insert("finish_reason".into(), trace.finish.name().into());
    fields.insert("generated_tokens".into(), trace.tokens.len().into());
    fields.insert("seed".into(), (*seed).into());
    if let Some(score) = score {
        fields.insert("score".into(), rounded(*score).into());
    }
    if let Some(label) = &trace.value {
        fields.insert("label".into(), label.as_str().into());
    }
    if plan.options.schema.is_some() {
        fields.insert("value".into(), serde_json::from_str(text).unwrap_or(Value::Null));
    }
    if plan.tells_tokens() {
        fields.insert("tokens".into(), tokens(plan, vocabulary, &trace.tokens).into());
    }
    fields
}

/// Tokens as an answer has them.
pub fn tokens(plan: &Plan, vocabulary: &Vocabulary, tokens: &[Token]) -> Vec<Value> {
    tokens.iter().map(|token| told(plan, vocabulary, token)).collect()
}

fn told(plan: &Plan, vocabulary: &Vocabulary, token: &Token) -> Value {
    let mut told = one(vocabulary, token.id, token.log_probability);
    told["special"] = vocabulary.bytes(token.id).is_none().into();
    if plan.options.top_logprobs > 0 {
        told["top"] = token.top.iter().map(|(id, log_probability)| one(vocabulary, *id, *log_probability)).collect();
    }
    told
}

fn one(vocabulary: &Vocabulary, id: u32, log_probability: f32) -> Value {
    let text = vocabulary.bytes(id).map(String::from_utf8_lossy);
    // Of what cannot come there is no logarithm, and JSON has no infinity.
    let log_probability = if log_probability.is_finite() { rounded(log_probability) } else { -1e9 };
    json!({ "id": id, "text": text.map(|text| stored(&text)), "logprob": log_probability })
}

/// Postgres cannot store U+0000, which a model may write.
fn stored(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
