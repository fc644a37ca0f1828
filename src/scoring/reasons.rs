//! Why a score is high: the contributions towards the bad class, largest first, with the codes and texts of a user's file.
//!
//! ```toml
//! version = "2026-03"
//! default = { code = "R00", text = "Other activity of the account" }   # default code "OTHER"
//! [features.TX_AMOUNT]
//! code = "R01"
//! text = "The amount is unusual for this account"
//! ```
//!
//! A feature without an entry has the default's code; its reason still names the feature.

use super::error::{Fault, FeatureError, LoadError};
use super::{Contributions, digest, settings};
use crate::config::nearest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How many reasons an answer has, if not said otherwise.
pub const TOP: usize = 4;
/// The code of a feature without an entry, when the file has no default.
pub const OTHER: &str = "OTHER";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    code: String,
    text: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    default: Option<Entry>,
    #[serde(default)]
    features: BTreeMap<String, Entry>,
}

/// One reason, as it stands in an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    pub code: String,
    pub feature: String,
    /// `null` for "no value".
    pub value: Option<f64>,
    /// What the feature added to the margin; above 0.
    pub contribution: f64,
    pub text: String,
}

/// Codes and texts, feature by feature in the model's order.
#[derive(Debug, Clone)]
pub struct Reasons {
    version: String,
    digest: String,
    entries: Vec<Entry>,
    names: Vec<String>,
}

impl Reasons {
    pub fn load(path: &Path, names: &[String]) -> Result<Self, LoadError> {
        settings::load(path, |text| Self::parse(text, names))
    }

    /// The entries for these features. An entry for a feature that is not there is refused: it may be misspelled.
    pub fn parse(text: &str, names: &[String]) -> Result<Self, Fault> {
        let file: File = settings::parse(text)?;
        settings::version(&file.version)?;
        for (feature, entry) in &file.features {
            if !names.contains(feature) {
                let hint = nearest(feature, names.iter().map(String::as_str))
                    .map_or(String::new(), |near| format!(", did you mean {near:?}"));
                let cause = format!("the model has no feature {feature:?}{hint}");
                return Err(Fault::unsupported(format!("features.{feature}"), cause, "name a feature of the model"));
            }
            if entry.code.trim().is_empty() {
                return Err(Fault::unsupported(format!("features.{feature}"), "its code is empty", "give it a code"));
            }
        }
        let default = file.default.unwrap_or_else(other);
        let entries = names.iter().map(|name| file.features.get(name).unwrap_or(&default).clone()).collect();
        Ok(Self { version: file.version, digest: digest::sha256(text.as_bytes()), entries, names: names.to_vec() })
    }

    /// Without a file: every reason has the code `OTHER` and names its feature.
    pub fn plain(names: &[String]) -> Self {
        let entries = names.iter().map(|_| other()).collect();
        Self { version: String::new(), digest: String::new(), entries, names: names.to_vec() }
    }

    /// Empty without a file.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether these reasons are for a model with those features.
    pub fn check_features(&self, names: &[String]) -> Result<(), FeatureError> {
        match self.names.iter().zip(names).position(|(ours, theirs)| ours != theirs) {
            None if self.names.len() == names.len() => Ok(()),
            None => Err(FeatureError::Count {
                expected: names.len(),
                declared: self.names.len(),
                first: "the reasons are for another model".into(),
            }),
            Some(at) => Err(FeatureError::Name { number: at + 1, expected: names[at].clone(), declared: self.names[at].clone() }),
        }
    }

    /// The `most` largest contributions above 0; equal ones in the order of the features. `row` is what was scored.
    pub fn top(&self, contributions: &Contributions, row: &[f64], most: usize) -> Vec<Reason> {
        let mut order: Vec<(usize, f64)> =
            contributions.values.iter().copied().enumerate().filter(|(_, contribution)| *contribution > 0.0).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let reason = |(at, contribution): (usize, f64)| {
            let Entry { code, text } = self.entries.get(at)?.clone();
            let value = row.get(at).copied().filter(|value| value.is_finite());
            Some(Reason { code, feature: self.names[at].clone(), value, contribution, text })
        };
        order.into_iter().take(most).filter_map(reason).collect()
    }
}

fn other() -> Entry {
    Entry { code: OTHER.into(), text: "Another feature of the model".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = \"3\"\n[features.b]\ncode = \"R02\"\ntext = \"b is high\"\n[features.e]\ncode = \"R05\"\ntext = \"e is absent\"\n";

    fn names() -> Vec<String> {
        ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec()
    }

    /// Would catch: reasons that speak for the good class, sorted the wrong way, more than asked, codes of the neighbour.
    #[test]
    fn the_largest_contributions_towards_bad_come_first() {
        let reasons = Reasons::parse(TEXT, &names()).unwrap();
        let contributions = Contributions { values: vec![0.5, 0.75, -3.0, 0.0, 2.0, 0.5], bias: -4.0 };
        let found = reasons.top(&contributions, &[1.0, 2.0, 3.0, 4.0, f64::NAN, 6.0], 3);
        let said: Vec<_> = found.iter().map(|r| (r.code.as_str(), r.feature.as_str(), r.value, r.contribution)).collect();
        assert_eq!(said, [("R05", "e", None, 2.0), ("R02", "b", Some(2.0), 0.75), (OTHER, "a", Some(1.0), 0.5)]);
        assert_eq!(found[0].text, "e is absent");
        assert_eq!(reasons.top(&contributions, &[0.0; 6], 10).len(), 4);
        let plain = Reasons::plain(&names()).top(&contributions, &[0.0; 6], TOP);
        assert!(plain.len() == 4 && plain.iter().all(|reason| reason.code == OTHER));
    }

    /// Would catch: an entry that is never used because its name is misspelled, a default that is ignored.
    #[test]
    fn the_file_is_for_the_features_of_the_model() {
        let said = |text: &str| Reasons::parse(text, &names()).unwrap_err().to_string();
        assert!(said(&TEXT.replace("features.b", "features.bb")).contains("no feature \"bb\", did you mean \"b\""));
        assert!(said(&TEXT.replace("R02", " ")).contains("its code is empty"));
        assert!(said(&TEXT.replace("version = \"3\"", "")).contains("version"));
        let reasons =
            Reasons::parse(&TEXT.replacen('\n', "\ndefault = { code = \"R99\", text = \"x\" }\n", 1), &names()).unwrap();
        let contributions = Contributions { values: vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0], bias: 0.0 };
        assert_eq!(reasons.top(&contributions, &[0.0; 6], TOP)[0].code, "R99");
        assert!(reasons.check_features(&names()).is_ok() && reasons.check_features(&names()[1..]).is_err());
        assert!(reasons.check_features(&names()[..5]).is_err());
    }
}
