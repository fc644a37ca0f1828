//! From the options to a function: files are read and held against the features.

use super::Risk;
use crate::config::Model as Named;
use crate::config::risk::{Options, Risk as Declared};
use crate::scoring::{FeatureError, LoadError, Model, Policy, Reasons, Rules};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// What a function of this kind is made of; all of it empty is a stage of a chain. Models with their names.
#[derive(Debug, Default)]
pub struct Loaded {
    pub model: Option<(String, Model)>,
    pub rules: Option<Rules>,
    pub policy: Option<Policy>,
    pub reasons: Option<Reasons>,
    pub shadow: Option<(String, Model)>,
}

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RiskError {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("{of}: {cause}")]
    Features { of: String, cause: FeatureError },
    #[error("there is no section [models.{0}]")]
    NoModel(String),
    #[error(
        "[models.{name}] has sha256 {found}, but the configuration expects {expected}; restore the file, or change the digest"
    )]
    WrongDigest { name: String, found: String, expected: String },
}

impl Risk {
    /// Reads the files. `base` is where relative paths of the options start, `models` are the config's.
    pub fn load(
        declared: &Declared,
        options: &Map<String, Value>,
        model: Option<&str>,
        models: &BTreeMap<String, Named>,
        base: &Path,
    ) -> Result<Self, RiskError> {
        let options = Options::of(options).map_err(RiskError::Options)?;
        let found = options.findings(model);
        if !found.is_empty() {
            return Err(RiskError::Options(found.join("; ")));
        }
        let names: Vec<&str> = declared.feature.iter().map(|feature| feature.name.as_str()).collect();
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let read = |name: &str| Ok::<_, RiskError>((name.to_owned(), open(name, models)?));
        let loaded = Loaded {
            model: model.map(read).transpose()?,
            rules: options.rules.as_ref().map(|path| Rules::load(&base.join(path), &owned)).transpose()?,
            policy: options.policy.as_ref().map(|path| Policy::load(&base.join(path))).transpose()?,
            reasons: options.reasons.as_ref().map(|path| Reasons::load(&base.join(path), &owned)).transpose()?,
            shadow: options.shadow.as_deref().map(read).transpose()?,
        };
        Self::new(&names, options, loaded)
    }
}

fn open(name: &str, models: &BTreeMap<String, Named>) -> Result<Model, RiskError> {
    let named = models.get(name).ok_or_else(|| RiskError::NoModel(name.to_owned()))?;
    let model = Model::load(&named.path)?;
    match &named.digest {
        Some(expected) if !matches(model.digest(), expected) => {
            Err(RiskError::WrongDigest { name: name.to_owned(), found: model.digest().to_owned(), expected: expected.clone() })
        }
        _ => Ok(model),
    }
}

/// At least 12 digits, with or without a leading `sha256:`.
fn matches(digest: &str, expected: &str) -> bool {
    let expected = expected.trim().trim_start_matches("sha256:").to_ascii_lowercase();
    expected.len() >= 12 && digest.starts_with(&expected)
}

/// The model, when it is one of those features; a file that names none takes theirs.
pub fn fitted(name: &str, mut model: Model, features: &[&str]) -> Result<Model, RiskError> {
    let fits = if model.is_named() { model.check_features(features) } else { model.declare(features) };
    fits.map_err(|cause| RiskError::Features { of: format!("[models.{name}]"), cause })?;
    Ok(model)
}
