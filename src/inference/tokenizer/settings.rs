//! What the files beside a vocabulary say: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`.

use super::forms::{malformed, read};
use super::kind::Kind;
use crate::inference::InferenceError;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use tokenizers::{AddedToken, Tokenizer};

/// The files of one folder; what is not there is empty.
pub struct Settings {
    path: PathBuf,
    config: Map<String, Value>,
    map: Map<String, Value>,
    added: Map<String, Value>,
}

impl Settings {
    pub fn open(folder: &Path) -> Result<Self, InferenceError> {
        let path = folder.join("tokenizer_config.json");
        Ok(Self {
            config: object(&path)?,
            map: object(&folder.join("special_tokens_map.json"))?,
            added: object(&folder.join("added_tokens.json"))?,
            path,
        })
    }

    /// The class of the tokeniser, or the `model_type` of `config.json` where no class of its own is named.
    pub fn named(&self, folder: &Path) -> Result<String, InferenceError> {
        let class = self.config.get("tokenizer_class").and_then(Value::as_str);
        let general = ["PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "AutoTokenizer"];
        if let Some(class) = class.filter(|class| !general.contains(class)) {
            return Ok(class.to_owned());
        }
        let path = folder.join("config.json");
        let config = object(&path)?;
        let family = config.get("model_type").and_then(Value::as_str);
        let cause = "neither its model_type nor tokenizer_class in tokenizer_config.json tells which tokeniser this is";
        family.map(str::to_owned).ok_or_else(|| malformed(&path, cause))
    }

    /// A switch; null counts as absent.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, InferenceError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// A whole number up to 10,000.
    fn count(&self, key: &str) -> Result<Option<usize>, InferenceError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_u64().filter(|&n| n <= 10_000).and_then(|n| usize::try_from(n).ok());
                number.map(Some).ok_or_else(|| self.wrong(key, "a whole number up to 10,000"))
            }
        }
    }

    fn wrong(&self, key: &str, what: &str) -> InferenceError {
        malformed(&self.path, format!("`{key}` must be {what}"))
    }

    /// The token of a key such as `cls_token`; `None` where it is null, or the family has none.
    pub fn special(&self, key: &str, kind: Kind) -> Result<Option<AddedToken>, InferenceError> {
        let token = match self.config.get(key).or_else(|| self.map.get(key)) {
            Some(Value::Null) => return Ok(None),
            Some(value) => token(value, true).ok_or_else(|| self.wrong(key, "a token"))?,
            None => match kind.special().iter().find(|(name, _)| *name == key) {
                Some((_, content)) => AddedToken::from(*content, true),
                None => return Ok(None),
            },
        };
        let as_a_word = key == "mask_token" && kind.mask_is_a_word() && !self.describes(key);
        Ok(Some(if as_a_word { token.lstrip(true) } else { token }))
    }

    /// Whether a token is written with its flags.
    fn describes(&self, key: &str) -> bool {
        self.config.get(key).or_else(|| self.map.get(key)).is_some_and(Value::is_object)
    }

    /// The text of a special token that has to be there.
    pub fn content(&self, key: &str, kind: Kind) -> Result<String, InferenceError> {
        Ok(self.special(key, kind)?.ok_or_else(|| self.wrong(key, "a token, for this tokeniser"))?.content)
    }

    /// Special tokens beside those with a key of their own.
    fn additional(&self, kind: Kind) -> Result<Vec<AddedToken>, InferenceError> {
        let key = "additional_special_tokens";
        let listed = match self.config.get(key).or_else(|| self.map.get(key)) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let tokens = value.as_array().and_then(|tokens| tokens.iter().map(|value| token(value, true)).collect());
                Some(tokens.ok_or_else(|| self.wrong(key, "a list of tokens"))?)
            }
        };
        let mut tokens: Vec<AddedToken> = match listed {
            Some(tokens) => tokens,
            None => kind.additional().iter().map(|content| AddedToken::from(*content, true)).collect(),
        };
        if kind == Kind::T5 {
            tokens.retain(|token| !token.content.starts_with("<extra_id_"));
            let extra = (0..self.extra_ids()?).map(|i| AddedToken::from(format!("<extra_id_{i}>"), true));
            tokens.extend(extra.map(|token| token.lstrip(true).rstrip(true)));
        }
        Ok(tokens)
    }

    /// How many places for missing text T5's vocabulary has behind its pieces.
    pub fn extra_ids(&self) -> Result<usize, InferenceError> {
        Ok(self.count("extra_ids")?.unwrap_or(100))
    }

    /// Adds the special tokens and those that were added later. Each must get the id that the files give it.
    pub fn add(&self, tokenizer: &mut Tokenizer, kind: Kind) -> Result<(), InferenceError> {
        let mut special = Vec::new();
        for key in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
            special.extend(self.special(key, kind)?);
        }
        special.extend(self.additional(kind)?);
        let mut tokens = self.later()?;
        for (_, token) in &mut tokens {
            token.special |= special.iter().any(|special| special.content == token.content);
        }
        let known: Vec<String> = tokens.iter().map(|(_, token)| token.content.clone()).collect();
        let rest = special.into_iter().filter(|token| !known.contains(&token.content));
        let all: Vec<AddedToken> = tokens.iter().map(|(_, token)| token.clone()).chain(rest).collect();
        tokenizer.add_tokens(all).map_err(|e| malformed(&self.path, e))?;
        for (id, token) in &tokens {
            let got = tokenizer.token_to_id(&token.content).map(u64::from);
            if got != Some(*id) {
                let (content, got) = (&token.content, got.unwrap_or_default());
                return Err(malformed(
                    &self.path,
                    format!("token `{content}` has the id {id} there, but {got} in the vocabulary"),
                ));
            }
        }
        Ok(())
    }

    /// Tokens with their ids, by id.
    fn later(&self) -> Result<Vec<(u64, AddedToken)>, InferenceError> {
        let key = "added_tokens_decoder";
        let mut tokens: Vec<(u64, AddedToken)> = match self.config.get(key) {
            Some(value) => {
                let one = |(id, value): (&String, &Value)| Some((id.parse().ok()?, token(value, false)?));
                let tokens = value.as_object().and_then(|tokens| tokens.iter().map(one).collect());
                tokens.ok_or_else(|| self.wrong(key, "tokens by their ids"))?
            }
            None => {
                let one = |(content, id): (&String, &Value)| Some((id.as_u64()?, AddedToken::from(content.as_str(), false)));
                let tokens: Option<_> = self.added.iter().map(one).collect();
                tokens
                    .ok_or_else(|| malformed(&self.path.with_file_name("added_tokens.json"), "it must give each token an id"))?
            }
        };
        tokens.sort_by_key(|(id, _)| *id);
        Ok(tokens)
    }
}

/// A token as a text, or with its flags.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, special));
    }
    let flag = |key: &str, default: bool| value.get(key).map_or(Some(default), Value::as_bool);
    let special = flag("special", special)?;
    let token = AddedToken::from(value.get("content")?.as_str()?, special);
    let normalized = flag("normalized", !special)?;
    let (lstrip, rstrip) = (flag("lstrip", false)?, flag("rstrip", false)?);
    Some(token.single_word(flag("single_word", false)?).lstrip(lstrip).rstrip(rstrip).normalized(normalized))
}

/// A file that holds a JSON object; an empty one where there is no file.
fn object(path: &Path) -> Result<Map<String, Value>, InferenceError> {
    if !path.exists() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&read(path)?).map_err(|e| malformed(path, e))
}

/// What the network takes, less when `sentence_bert_config.json` or `model_max_length` says so. Lengths without end, which transformers
/// writes where it does not know one, say nothing.
pub fn max_tokens(folder: &Path, most: usize) -> Result<usize, InferenceError> {
    let said = [("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")];
    let mut least = most;
    for (file, key) in said {
        let path = folder.join(file);
        let object = object(&path)?;
        let Some(value) = object.get(key).filter(|value| !value.is_null()) else { continue };
        let number = value.as_f64().ok_or_else(|| malformed(&path, format!("`{key}` must be a number")))?;
        if (3.0..1e6).contains(&number) {
            least = least.min(number as usize);
        }
    }
    Ok(least)
}
