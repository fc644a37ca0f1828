//! What `translate` and `summarize` share: texts into texts with a network that reads one and writes the other.

use super::control::harmless;
use super::options::{EarlyStopping, TooLong};
use super::summarize::{join, split};
use super::task::tokens;
use super::texts::call_error;
use super::{CallError, Limits};
use crate::event::Rejection;
use crate::inference::seq2seq::{Ask, GenerateOptions, Read, TextToText, most_before};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// Texts that are written together take a step each for every token, so that a call has fewer of them than of texts that are read.
pub const LIMITS: Limits = Limits { slice: 16, calls_in_flight: 2, timeout: Duration::from_secs(600) };

/// Beams at most; each takes a cache of its own.
const MAX_BEAMS: usize = 16;

/// How the output is searched; null is what the model's folder says.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Search {
    /// Tokens of an output at most. Default: the folder's, else 128.
    pub max_new_tokens: Option<usize>,
    /// Tokens before an output may end.
    pub min_new_tokens: Option<usize>,
    /// Hypotheses that are followed at the same time, up to 16; 1 takes the most probable token each time.
    pub num_beams: Option<usize>,
    /// With beams: above 0 prefers longer outputs, below 0 shorter ones.
    pub length_penalty: Option<f32>,
    /// With beams: true ends as soon as there are enough whole outputs, "never" when none can become better.
    pub early_stopping: Option<EarlyStopping>,
    /// Makes tokens that are written already less probable; 1 changes nothing.
    pub repetition_penalty: Option<f32>,
    /// No run of so many tokens comes twice; 0 allows all.
    pub no_repeat_ngram_size: Option<usize>,
}

/// The names of [`Search`].
pub const SEARCH: [&str; 7] = [
    "max_new_tokens",
    "min_new_tokens",
    "num_beams",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
    "no_repeat_ngram_size",
];

impl Search {
    /// With more of the same by name, as Hugging Face's `generate_parameters` has it; `max_length` and `min_length` count one more.
    pub fn with(self, more: &Map<String, Value>) -> Result<Self, String> {
        let Ok(Value::Object(mut all)) = serde_json::to_value(&self) else { return Ok(self) };
        for (name, value) in more {
            let one_less = |least: u64| match value.as_u64().filter(|length| *length >= least) {
                Some(length) => Ok(Some(Value::from(length.saturating_sub(1)))),
                None => {
                    Err(format!("option `generate_parameters`: `{name}` is {value}; write a whole number of at least {least}"))
                }
            };
            let (name, value) = match name.as_str() {
                "max_length" => ("max_new_tokens", one_less(2)?),
                "min_length" => ("min_new_tokens", one_less(0)?),
                "do_sample" if *value == false => continue,
                known if SEARCH.contains(&known) => (known, Some(value.clone())),
                other => {
                    let known = SEARCH.join(", ");
                    return Err(format!(
                        "option `generate_parameters`: there is no `{other}`; known: {known}, max_length, min_length"
                    ));
                }
            };
            all.insert(name.to_owned(), value.unwrap_or_default());
        }
        serde_json::from_value(Value::Object(all)).map_err(|cause| format!("option `generate_parameters`: {cause}"))
    }

    /// With what is left out as `defaults` say.
    pub fn over(&self, mut defaults: GenerateOptions, model: &TextToText) -> Result<GenerateOptions, String> {
        let network = model.transducer().network();
        let most = network.max_tokens();
        let within = |name: &str, value: usize, least: usize, most: usize| match (least..=most).contains(&value) {
            true => Ok(value),
            false => Err(format!("option `{name}` is {value}; write {least} to {most}")),
        };
        if let Some(tokens) = self.max_new_tokens {
            defaults.max_new_tokens = within("max_new_tokens", tokens, 1, most)?;
        }
        defaults.max_new_tokens = defaults.max_new_tokens.min(most);
        if defaults.min_new_tokens >= defaults.max_new_tokens {
            // The folder's least is for its own most.
            defaults.min_new_tokens = 0;
        }
        if let Some(tokens) = self.min_new_tokens {
            defaults.min_new_tokens = within("min_new_tokens", tokens, 0, defaults.max_new_tokens)?;
        }
        if let Some(beams) = self.num_beams {
            defaults.beams = within("num_beams", beams, 1, MAX_BEAMS)?;
        }
        let number = |name: &str, value: f32, least: f32| match value.is_finite() && value >= least {
            true => Ok(value),
            false => Err(format!("option `{name}` is {value}; write a number of at least {least}")),
        };
        if let Some(penalty) = self.length_penalty {
            defaults.length_penalty = number("length_penalty", penalty, -100.0)?;
        }
        if let Some(penalty) = self.repetition_penalty {
            defaults.repetition_penalty = number("repetition_penalty", penalty, 0.01)?;
        }
        if let Some(stopping) = self.early_stopping {
            defaults.early_stopping = stopping;
        }
        if let Some(size) = self.no_repeat_ngram_size {
            defaults.no_repeat_ngram = size;
        }
        defaults.check(network).map_err(|error| error.to_string())?;
        Ok(defaults)
    }
}

/// A text that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub text: String,
    /// Tokens that the network read.
    pub tokens: usize,
    /// Tokens that it wrote.
    pub generated_tokens: usize,
    /// `eos_token`, or `length` where the output, or one of its parts, is as long as it may be.
    pub finish_reason: &'static str,
    /// Whether the end of the text was not read.
    pub truncated: bool,
    /// Parts in which the text was read.
    pub windows: usize,
}

/// Tokens that the network sees for one text, roughly and rather too many; a token that is written costs as much as two that are read.
/// Parts are at least half full, and a prefix stands before each of them.
pub fn cost(model: &TextToText, text: &str, prefix: &str, options: &GenerateOptions, too_long: TooLong) -> usize {
    let most = model.max_tokens();
    let (read, before) = (tokens(text), tokens(prefix).min(most_before(most)));
    let room = most - before;
    let windows = if too_long == TooLong::Window && read > room { (2 * read).div_ceil(room) } else { 1 };
    let written = 2 * options.beams * options.max_new_tokens;
    read.min(room * windows) + windows * (before + written)
}

/// A text with what stands before it and the language that is written.
pub fn ask(model: &TextToText, text: String, prefix: String, language: Option<String>, too_long: TooLong) -> Ask {
    let text = match model.tokenizer() {
        Some(tokenizer) => harmless(tokenizer, text, None),
        // Marian's finds no control tokens in a text.
        None => text,
    };
    let pieces = if too_long == TooLong::Window { split(&text) } else { Vec::new() };
    Ask { prefix, text, language, pieces }
}

/// One answer or refusal for each, in order.
pub async fn rewrite(
    model: &TextToText,
    asks: Vec<Ask>,
    options: &GenerateOptions,
    too_long: TooLong,
) -> Result<Vec<Result<Rewritten, Rejection>>, CallError> {
    let read = model.read(asks).await.map_err(call_error)?;
    let mut sources = Vec::new();
    let mut texts = Vec::with_capacity(read.len());
    for read in read {
        let parts = match read {
            Read::Parts(parts) => parts,
            Read::LongPrefix => {
                let detail = format!(
                    "what stands before the text leaves less than an eighth of the {} tokens that the model reads",
                    model.max_tokens()
                );
                texts.push(Err(Rejection::new("prefix_too_long", detail).at("text")));
                continue;
            }
        };
        let truncated = parts.iter().any(|part| part.truncated);
        if truncated && too_long == TooLong::Reject {
            let detail = format!("more than {} tokens, which is what the model reads at most", model.max_tokens());
            texts.push(Err(Rejection::new("text_too_long", detail).at("text")));
            continue;
        }
        texts.push(Ok((parts.len(), parts.iter().map(|part| part.ids.len()).sum(), truncated)));
        sources.extend(parts.into_iter().map(|part| part.ids));
    }
    let mut written = model.write(sources, options).await.map_err(call_error)?.into_iter();
    let mut one = |(windows, tokens, truncated): (usize, usize, bool)| {
        let parts: Vec<_> = written.by_ref().take(windows).collect();
        Rewritten {
            // Postgres cannot store U+0000, which a model may write.
            text: join(parts.iter().map(|part| part.text.trim())).replace('\0', "\u{fffd}"),
            tokens,
            generated_tokens: parts.iter().map(|part| part.tokens).sum(),
            finish_reason: if parts.iter().all(|part| part.ended) { "eos_token" } else { "length" },
            truncated,
            windows,
        }
    };
    Ok(texts.into_iter().map(|text| text.map(&mut one)).collect())
}

/// Blanks before marks and inside of contractions taken out, as `clean_up_tokenization_spaces` asks for.
pub fn without_blanks(text: &str) -> String {
    const BLANKS: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    BLANKS.iter().fold(text.to_owned(), |text, (found, put)| text.replace(found, put))
}
