//! What is asked of a network that writes, and what its folder says about it.

use super::Sizes;
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::path::Path;

/// When a search with beams ends before the longest output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// When what is running can hardly become better than what is finished, by the length so far.
    #[default]
    No,
    /// As soon as there are as many finished outputs as beams.
    Yes,
    /// When what is running cannot become better, whatever its length.
    Never,
}

impl EarlyStopping {
    /// As transformers writes it: true, false or "never".
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(false) => Some(Self::No),
            Value::Bool(true) => Some(Self::Yes),
            Value::String(word) if word == "never" => Some(Self::Never),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::of(&Value::deserialize(from)?).ok_or_else(|| D::Error::custom("it must be true, false or \"never\""))
    }
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => false.serialize(to),
            Self::Yes => true.serialize(to),
            Self::Never => "never".serialize(to),
        }
    }
}

/// How ids are written. The fields mean what transformers' generation configuration means by the names given.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The token that the decoder reads first: `decoder_start_token_id`.
    pub start: u32,
    /// The tokens that end an output: `eos_token_id`.
    pub ends: Vec<u32>,
    /// Tokens written at most, the ending one included.
    pub max_new_tokens: usize,
    /// Tokens written before one may end the output.
    pub min_new_tokens: usize,
    /// Hypotheses that are followed at the same time, `num_beams`; with 1 the likeliest token is taken each time.
    pub beams: usize,
    /// With beams: scores are divided by the length to this power.
    pub length_penalty: f32,
    /// With beams.
    pub early_stopping: EarlyStopping,
    /// Scores of tokens that are written already are divided by it where they are positive, else multiplied with it; 1 changes nothing.
    pub repetition_penalty: f32,
    /// No run of so many tokens comes twice, `no_repeat_ngram_size`; 0 allows all.
    pub no_repeat_ngram: usize,
    /// The first token written: `forced_bos_token_id`.
    pub forced_first: Option<u32>,
    /// The token written when the output is as long as it may be: `forced_eos_token_id`.
    pub forced_last: Option<u32>,
    /// Runs of tokens that are never written: `bad_words_ids`.
    pub forbidden: Vec<Vec<u32>>,
    /// With beams: what is left after these rules is made a distribution again, `renormalize_logits`.
    pub renormalize: bool,
}

/// Tokens written at most where the folder says nothing. (transformers would stop after 20, which cuts most texts.)
const MAX_NEW_TOKENS: usize = 128;

/// Beams at most; each takes a cache of its own.
const MAX_BEAMS: usize = 64;

/// `generation_config.json`, and `config.json` for what stands there in older folders.
struct Keys<'a> {
    own: Option<Value>,
    config: &'a ModelConfig,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        let own = self.own.as_ref().and_then(|own| own.get(key)).filter(|value| !value.is_null());
        own.or_else(|| self.config.get(key))
    }

    fn wrong(&self, key: &str, what: &str) -> InferenceError {
        let found = self.get(key).map_or_else(|| "missing".to_owned(), Value::to_string);
        self.config.unsupported(format!("`{key}` (or in generation_config.json) is {found}; it must be {what}"))
    }

    fn token(&self, key: &str) -> Result<Option<u32>, InferenceError> {
        let token = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
        self.get(key).map(|value| token(value).ok_or_else(|| self.wrong(key, "a token id"))).transpose()
    }

    fn count(&self, key: &str) -> Result<Option<usize>, InferenceError> {
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.get(key).map(|value| count(value).ok_or_else(|| self.wrong(key, "a whole number"))).transpose()
    }

    /// One id or several.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, InferenceError> {
        match self.get(key) {
            Some(list @ Value::Array(_)) => serde_json::from_value(list.clone()).map_err(|_| self.wrong(key, "token ids")),
            _ => Ok(self.token(key)?.into_iter().collect()),
        }
    }

    /// Settings that would change what is written, and that are not run here.
    fn refuse_what_is_not_run(&self) -> Result<(), InferenceError> {
        let off = |key: &str, value: &Value| match key {
            "do_sample" => value.as_bool() == Some(false),
            "num_beam_groups" | "encoder_repetition_penalty" => value.as_f64() == Some(1.0),
            "encoder_no_repeat_ngram_size" | "diversity_penalty" => value.as_f64() == Some(0.0),
            _ => value.as_array().is_some_and(Vec::is_empty),
        };
        let keys = [
            "do_sample",
            "num_beam_groups",
            "diversity_penalty",
            "encoder_repetition_penalty",
            "encoder_no_repeat_ngram_size",
            "exponential_decay_length_penalty",
            "suppress_tokens",
            "begin_suppress_tokens",
            "sequence_bias",
        ];
        let found = keys.into_iter().find(|key| self.get(key).is_some_and(|value| !off(key, value)));
        found.map_or(Ok(()), |key| Err(self.wrong(key, "absent or without effect: it is not run here")))
    }

    fn flag(&self, key: &str) -> Result<bool, InferenceError> {
        self.get(key).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
    }

    fn early_stopping(&self) -> Result<EarlyStopping, InferenceError> {
        match self.get("early_stopping") {
            None => Ok(EarlyStopping::No),
            Some(value) => EarlyStopping::of(value).ok_or_else(|| self.wrong("early_stopping", "true, false or \"never\"")),
        }
    }
}

impl GenerateOptions {
    /// What a folder says. `config` is its `config.json`; a `generation_config.json` beside it comes first.
    pub fn read(folder: &Path, config: &ModelConfig) -> Result<Self, InferenceError> {
        let path = folder.join("generation_config.json");
        let own = match path.exists() {
            false => None,
            true => {
                let bytes =
                    std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
                let malformed = |e: serde_json::Error| InferenceError::Malformed { path: path.clone(), cause: e.to_string() };
                Some(serde_json::from_slice(&bytes).map_err(malformed)?)
            }
        };
        let keys = Keys { own, config };
        keys.refuse_what_is_not_run()?;
        let marian = config.family()? == "marian";
        let pad = keys.token("pad_token_id")?;
        // T5 and Marian begin with the padding token, whether the file says so or not.
        let begins = if marian || config.family()? == "t5" { pad } else { None };
        let start = keys.token("decoder_start_token_id")?.or(begins);
        let mut forbidden: Vec<Vec<u32>> = match keys.get("bad_words_ids") {
            None => Vec::new(),
            Some(list) => serde_json::from_value(list.clone()).map_err(|_| keys.wrong("bad_words_ids", "lists of token ids"))?,
        };
        // Marian's padding token is a word of the table like any other.
        forbidden.extend(pad.filter(|_| marian).map(|pad| vec![pad]));
        let without_start = |key: &str| Ok::<_, InferenceError>(keys.count(key)?.map(|length| length.saturating_sub(1)));
        let max_new_tokens = keys.count("max_new_tokens")?.or(without_start("max_length")?);
        Ok(Self {
            start: start.ok_or_else(|| keys.wrong("decoder_start_token_id", "the token that the decoder reads first"))?,
            ends: keys.tokens("eos_token_id")?,
            max_new_tokens: max_new_tokens.unwrap_or(MAX_NEW_TOKENS).max(1),
            min_new_tokens: keys.count("min_new_tokens")?.or(without_start("min_length")?).unwrap_or(0),
            beams: keys.count("num_beams")?.unwrap_or(1),
            length_penalty: keys.get("length_penalty").and_then(Value::as_f64).unwrap_or(1.0) as f32,
            early_stopping: keys.early_stopping()?,
            repetition_penalty: keys.get("repetition_penalty").and_then(Value::as_f64).unwrap_or(1.0) as f32,
            no_repeat_ngram: keys.count("no_repeat_ngram_size")?.unwrap_or(0),
            forced_first: keys.token("forced_bos_token_id")?,
            forced_last: keys.token("forced_eos_token_id")?,
            forbidden,
            renormalize: keys.flag("renormalize_logits")?,
        })
    }

    /// With what `config.json` says of one task (`task_specific_params`), as transformers' pipelines took it.
    pub fn for_task(mut self, told: &Map<String, Value>) -> Result<Self, String> {
        for (key, value) in told.iter().filter(|(_, value)| !value.is_null()) {
            let wrong = || format!("`task_specific_params`: `{key}` is {value}, which is not taken");
            let count = || value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong);
            let number = || value.as_f64().map(|n| n as f32).ok_or_else(wrong);
            match key.as_str() {
                "max_length" => self.max_new_tokens = count()?.saturating_sub(1).max(1),
                "min_length" => self.min_new_tokens = count()?.saturating_sub(1),
                "max_new_tokens" => self.max_new_tokens = count()?,
                "min_new_tokens" => self.min_new_tokens = count()?,
                "num_beams" => self.beams = count()?,
                "length_penalty" => self.length_penalty = number()?,
                "repetition_penalty" => self.repetition_penalty = number()?,
                "no_repeat_ngram_size" => self.no_repeat_ngram = count()?,
                "early_stopping" => self.early_stopping = EarlyStopping::of(value).ok_or_else(wrong)?,
                "prefix" => {}
                _ => return Err(wrong()),
            }
        }
        Ok(self)
    }

    /// Refuses what `network` cannot do.
    pub fn check(&self, network: &Sizes) -> Result<(), InferenceError> {
        let words = network.target_vocabulary();
        let refuse = |cause: String| Err(InferenceError::Poison(cause));
        if self.max_new_tokens == 0 || self.max_new_tokens > network.max_tokens() {
            let (found, most) = (self.max_new_tokens, network.max_tokens());
            return refuse(format!("max_new_tokens is {found}; the model writes between 1 and {most}"));
        }
        if self.beams > MAX_BEAMS {
            return refuse(format!("{} beams; up to {MAX_BEAMS} are followed", self.beams));
        }
        // A step keeps a candidate for each end and one more, for each beam.
        if self.beams == 0 || self.beams.saturating_mul((1 + self.ends.len()).max(2)) > words {
            return refuse(format!("{} beams cannot be followed among {words} words", self.beams));
        }
        if !self.repetition_penalty.is_finite() || self.repetition_penalty <= 0.0 {
            return refuse(format!("repetition_penalty is {}; a number above 0 is expected", self.repetition_penalty));
        }
        if !self.length_penalty.is_finite() {
            return refuse(format!("length_penalty is {}; a finite number is expected", self.length_penalty));
        }
        let single = [Some(self.start), self.forced_first, self.forced_last];
        let all = single.iter().flatten().chain(&self.ends).chain(self.forbidden.iter().flatten());
        match all.copied().find(|&id| id as usize >= words) {
            Some(id) => refuse(format!("token id {id} of the options is outside the model's vocabulary of {words}")),
            None if self.forbidden.iter().any(Vec::is_empty) => refuse("a forbidden run of tokens is empty".to_owned()),
            None => Ok(()),
        }
    }
}
