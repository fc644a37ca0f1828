//! `config.json`, read key by key: what the maths needs and is absent, or is something that we do not run, is an error by name.

pub(super) mod known;

use super::{InferenceError, elsewhere};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The configuration of a checkpoint.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    path: PathBuf,
    json: Value,
}

impl ModelConfig {
    /// Reads `folder/config.json`.
    pub fn open(folder: &Path) -> Result<Self, InferenceError> {
        let path = folder.join("config.json");
        let bytes = std::fs::read(&path).map_err(|e| match elsewhere::instead(folder).filter(|_| !path.exists()) {
            Some(cause) => InferenceError::Unsupported { path: folder.to_owned(), cause },
            None => InferenceError::Read { path: path.clone(), cause: e.to_string() },
        })?;
        if let Some(cause) = elsewhere::pointer(&bytes) {
            return Err(InferenceError::Malformed { path, cause });
        }
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|e| InferenceError::Malformed { path: path.clone(), cause: e.to_string() })?;
        match json.is_object() {
            true => Ok(Self { path, json }),
            false => Err(InferenceError::Malformed { path, cause: "it is not a JSON object".to_owned() }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn json(&self) -> &Value {
        &self.json
    }

    /// A value that is there and not null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// An error about this file.
    pub fn unsupported(&self, cause: String) -> InferenceError {
        InferenceError::Unsupported { path: self.path.clone(), cause }
    }

    fn wrong(&self, key: &str, what: &str) -> InferenceError {
        match self.get(key) {
            Some(found) => self.unsupported(format!("`{key}` is {found}; it must be {what}")),
            None => self.unsupported(format!("`{key}` is missing; it must be {what}")),
        }
    }

    /// A whole number of at least 1.
    pub fn count(&self, key: &str) -> Result<usize, InferenceError> {
        let found = self.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        // A shape made of absurd numbers must not overflow before the tensors are compared with it.
        found.filter(|&n| n <= 1 << 24).ok_or_else(|| self.wrong(key, "a whole number from 1 to 16,777,216"))
    }

    /// A whole number, for a key that may be absent.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, InferenceError> {
        if self.get(key).is_none() { Ok(default) } else { self.count(key) }
    }

    /// A token's id, for a key that may be absent.
    pub fn id_or(&self, key: &str, default: usize) -> Result<usize, InferenceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|&id| id <= 1 << 24)
                .and_then(|id| usize::try_from(id).ok())
                .ok_or_else(|| self.wrong(key, "a token's id, 0 to 16,777,216")),
        }
    }

    /// Refuses what makes another network of an encoder: relative positions, a causal or cross-attending decoder, layers without some
    /// of their heads, weights in a packed form.
    pub fn refuse_other_maths(&self) -> Result<(), InferenceError> {
        let positions = self.text_or("position_embedding_type", "absolute")?;
        if positions != "absolute" {
            let cause = format!("position_embedding_type is `{positions}`; this family runs with `absolute`");
            return Err(self.unsupported(cause));
        }
        for key in ["is_decoder", "add_cross_attention", "is_encoder_decoder"] {
            if self.flag_or(key, false)? {
                return Err(self.unsupported(format!("`{key}` is true; this family runs as an encoder")));
            }
        }
        if self.get("pruned_heads").is_some_and(|heads| heads.as_object().is_none_or(|heads| !heads.is_empty())) {
            return Err(
                self.unsupported("`pruned_heads` names heads that were taken out; save the model with all of them".to_owned())
            );
        }
        match self.get("quantization_config") {
            Some(_) => {
                Err(self
                    .unsupported("`quantization_config` asks for packed weights; save the model in F32, F16 or BF16".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Refuses a key that nothing here knows: it may be one that changes the maths.
    pub fn refuse_unknown(&self) -> Result<(), InferenceError> {
        known::objection(&self.json).map_or(Ok(()), |cause| Err(self.unsupported(cause)))
    }

    /// A finite number, for a key that may be absent.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, InferenceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.wrong(key, "a finite number")),
        }
    }

    /// A text, for a key that may be absent.
    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, InferenceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.wrong(key, "a text")),
        }
    }

    /// A switch, for a key that may be absent.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, InferenceError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// The family, as `model_type` names it.
    pub fn family(&self) -> Result<&str, InferenceError> {
        self.get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong("model_type", "the name of a family, such as `bert`"))
    }

    /// The class that was saved: the first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.get("architectures")?.get(0)?.as_str()
    }

    /// The names of `count` labels, in the order of a head's rows. `LABEL_0` and so on where the file names none.
    pub fn labels(&self, count: usize) -> Result<Vec<String>, InferenceError> {
        let named = self.get("id2label").and_then(Value::as_object).filter(|labels| !labels.is_empty());
        let Some(named) = named else {
            return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
        };
        let label = |i: usize| named.get(&i.to_string()).and_then(Value::as_str).map(str::to_owned);
        let labels: Option<Vec<String>> = (0..count).map(label).collect();
        let labels = labels.filter(|labels| labels.len() == named.len() && count > 0);
        let labels = labels.ok_or_else(|| {
            let names = named.len();
            self.unsupported(format!(
                "the head has {count} rows, but id2label names {names} labels; it must name 0 to {count} - 1"
            ))
        })?;
        match (1..count).find(|&i| labels[..i].contains(&labels[i])) {
            Some(twice) => Err(self.unsupported(format!("id2label names `{}` twice", labels[twice]))),
            None => Ok(labels),
        }
    }

    /// The score from which a label holds where several may, as training writes it down.
    pub fn threshold(&self) -> Result<Option<f32>, InferenceError> {
        let Some(value) = self.get("threshold") else { return Ok(None) };
        let score = value.as_f64().filter(|score| (0.0..=1.0).contains(score));
        score.map(|score| Some(score as f32)).ok_or_else(|| self.wrong("threshold", "a score from 0 to 1"))
    }

    /// How a sequence head's logits become scores.
    pub fn problem(&self, labels: usize) -> Result<Problem, InferenceError> {
        match self.text_or("problem_type", "")? {
            "" if labels == 1 => Ok(Problem::ManyLabels),
            "" | "single_label_classification" => Ok(Problem::OneLabel),
            "multi_label_classification" => Ok(Problem::ManyLabels),
            "regression" => Ok(Problem::Regression),
            _ => Err(self.wrong("problem_type", "`single_label_classification`, `multi_label_classification` or `regression`")),
        }
    }
}

/// What the labels of a sequence head are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// One of them holds: softmax. A single label is its sigmoid.
    OneLabel,
    /// Each holds or not: sigmoid.
    ManyLabels,
    /// The logits are the answer.
    Regression,
}
