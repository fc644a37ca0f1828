//! An answer, as it was written and as Rust reads it.

use crate::inference::causal::Hypothesis;
use crate::inference::generate::{Finish, Token, Trace, Vocabulary};
use serde::Deserialize;
use serde_json::Value;

/// One answer of the model.
pub struct Said {
    pub trace: Trace,
    pub seed: u64,
    /// With beams: the mean log-probability of its tokens, by the length penalty.
    pub score: Option<f32>,
}

/// What a search has found; its text goes up to the first stop text.
pub fn searched(vocabulary: &Vocabulary, seed: u64, found: &Hypothesis, stops: &[String]) -> Said {
    let end = found.stop_id.map(|id| (id, true));
    let ids = found.ids.iter().map(|id| (*id, false)).chain(end);
    let token = |(id, is_end): (u32, bool)| Token { id, log_probability: f32::NEG_INFINITY, is_end, top: Vec::new() };
    let mut text = vocabulary.text(&found.ids);
    let stop = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
    let finish = match (end, stop) {
        (Some(_), _) => Finish::End,
        (None, Some(at)) => {
            text.truncate(at);
            Finish::StopString
        }
        (None, None) => Finish::Length,
    };
    let trace = Trace { text, tokens: ids.map(token).collect(), finish, value: None };
    Said { trace, seed, score: Some(found.score) }
}

/// The answer to one prompt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Generated {
    #[serde(rename = "generated_text")]
    pub text: String,
    /// `eos_token`, `length` or `stop_sequence`.
    pub finish_reason: String,
    pub generated_tokens: usize,
    pub seed: u64,
    /// Absent in one of several.
    #[serde(default)]
    pub prompt_tokens: usize,
    /// Whether the prompt was cut.
    #[serde(default)]
    pub truncated: bool,
    /// Where the answer is held to labels.
    #[serde(default)]
    pub label: Option<String>,
    /// Where it is held to a schema.
    #[serde(default)]
    pub value: Option<Value>,
    /// All answers, the first too, where there are several.
    #[serde(default)]
    pub answers: Vec<Generated>,
}
