//! Options of `generate`.

use crate::function::options::{EarlyStopping, List, TooLong};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names and defaults are those of transformers where it has them, but for `temperature` (0: the most probable token, always) and
/// `max_new_tokens` (64).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
pub struct Options {
    /// Tokens of an answer at most. Default 64, or half of what the model sees where that is less.
    pub max_new_tokens: usize,
    /// Tokens before an answer may end. Default 0.
    pub min_new_tokens: usize,
    /// 0 takes the most probable token, above 0 chance decides. Default 0.
    pub temperature: f32,
    /// Of so many most probable tokens alone; 0 is all. Default 50.
    pub top_k: usize,
    /// Of the fewest tokens that have this probability together. Default 1.
    pub top_p: f32,
    /// Of tokens with at least this share of the highest probability. Default 0.
    pub min_p: f32,
    /// Of the most typical tokens that have this probability together. Default 1.
    pub typical_p: f32,
    /// Divides the logits of tokens that stand in the prompt or the answer. Default 1.
    pub repetition_penalty: f32,
    /// Taken from a token's logit for every time it stands in the answer. Default 0.
    pub frequency_penalty: f32,
    /// Taken from a token's logit when it stands in the answer. Default 0.
    pub presence_penalty: f32,
    /// No run of so many tokens comes twice. Default 0: they may.
    pub no_repeat_ngram_size: usize,
    /// Texts that do not come.
    pub bad_words: Vec<String>,
    /// Added to the logits of tokens, by their ids.
    pub logit_bias: Map<String, Value>,
    /// Texts that end an answer and are not part of it; at most 16.
    pub stop: Stop,
    /// Answers that are followed at the same time, up to 16; the best whole ones are kept. Default 1: none but one. Above 1 nothing is left to
    /// chance, and no form holds. Penalties, bans and biases change the log-probabilities of each of them by what it has said itself.
    pub num_beams: usize,
    /// Answers to one prompt, up to 8, which is read once; with beams the best of them. Default 1.
    pub num_return_sequences: usize,
    /// With beams: above 0 prefers longer answers, below 0 shorter ones. Default 1.
    pub length_penalty: f32,
    /// With beams: true, false (default) or "never".
    pub early_stopping: EarlyStopping,
    /// Where chance begins. Default: a number made of the event's id, the function and these options.
    pub seed: Option<u64>,
    /// The answer is one of these.
    pub labels: List,
    /// The answer is JSON of this schema. `{"type": "object", "additionalProperties": true}` is an object of any members, nested 8 deep at
    /// most; with a schema in place of `true` all its values are of that.
    pub schema: Option<Value>,
    /// What the model is told before a conversation.
    pub system: Option<String>,
    /// A text with `{text}` in it, where the event's text goes.
    pub prompt: Option<String>,
    /// By the model's chat template. Default: where it has one.
    pub chat: Option<bool>,
    /// Variables of the chat template, such as `enable_thinking`.
    pub template: Map<String, Value>,
    /// An answer that is cut off by `max_new_tokens` ends behind its last whole sentence. Default false.
    pub complete_sentence: bool,
    /// Also writes each token with its log-probability. Default false.
    pub logprobs: bool,
    /// And so many of the most probable tokens in its place; at most 20. Default 0.
    pub top_logprobs: usize,
    /// The bare answer over HTTP has `details`. Default false.
    pub details: bool,
    /// What becomes of a prompt for which there is no room: `truncate` (default) leaves out the oldest messages, then the end of the
    /// text; `reject` refuses it.
    pub too_long: TooLong,
}

/// What a request may change.
pub const PARAMETERS: [&str; 30] = [
    "bad_words",
    "chat",
    "complete_sentence",
    "details",
    "early_stopping",
    "frequency_penalty",
    "labels",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_new_tokens",
    "min_new_tokens",
    "min_p",
    "no_repeat_ngram_size",
    "num_beams",
    "num_return_sequences",
    "presence_penalty",
    "prompt",
    "repetition_penalty",
    "schema",
    "seed",
    "stop",
    "system",
    "temperature",
    "template",
    "too_long",
    "top_k",
    "top_logprobs",
    "top_p",
    "typical_p",
];

impl Default for Options {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            min_new_tokens: 0,
            temperature: 0.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            no_repeat_ngram_size: 0,
            bad_words: Vec::new(),
            logit_bias: Map::new(),
            stop: Stop::default(),
            num_beams: 1,
            num_return_sequences: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            seed: None,
            labels: List::default(),
            schema: None,
            system: None,
            prompt: None,
            chat: None,
            template: Map::new(),
            complete_sentence: false,
            logprobs: false,
            top_logprobs: 0,
            details: false,
            too_long: TooLong::Truncate,
        }
    }
}

/// A text, or a list of texts. Commas are part of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "OneOrMany")]
pub struct Stop(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
enum OneOrMany {
    None(()),
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Stop {
    fn from(stop: OneOrMany) -> Self {
        Self(match stop {
            OneOrMany::None(()) => Vec::new(),
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        })
    }
}
