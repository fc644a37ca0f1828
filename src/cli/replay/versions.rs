//! The versions of a pipeline in a replay: which one scores, and which ones scored the records that are compared.

use super::Args;
use super::kept::Kept;
use crate::cli::common::Usage;
use crate::config::{BASE, Config, Pipeline};
use crate::store::postgres::ScoredBy;
use serde_json::{Value, json};
use std::fmt::Write;

/// The version that scores, and the pipeline as it is in it; `None` for the pipeline's own settings. A replay that is written down goes on with
/// the one that it has.
pub fn chosen(args: &Args, pipeline: &Pipeline, known: Option<&Kept>) -> Result<(Option<String>, Pipeline), Usage> {
    let asked = args.version.as_deref();
    let Some(kept) = known else {
        return Ok((asked.filter(|name| *name != BASE).map(str::to_owned), named(asked, pipeline)?));
    };
    let (number, begun) = (kept.number, kept.plan.told.version.as_deref());
    if asked.is_some_and(|asked| asked != begun.unwrap_or(BASE)) {
        return Err(Usage(format!(
            "replay {number} was begun with version {}; leave --version out, or begin another replay, without --id {number}",
            begun.unwrap_or(BASE)
        )));
    }
    let of = named(begun, pipeline)
        .map_err(|Usage(why)| Usage(format!("replay {number} was begun with a version that this config does not have: {why}")))?;
    Ok((begun.map(str::to_owned), of))
}

/// The pipeline as it is in a version; its own settings where none is named.
pub fn named(version: Option<&str>, pipeline: &Pipeline) -> Result<Pipeline, Usage> {
    pipeline.at_version(version.unwrap_or(BASE)).map_err(Usage)
}

/// Digests of the settings of each version, of the config that is given. Empty for a pipeline without versions: there is nothing to tell apart.
#[derive(Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    /// `replayed` goes before others that say the same.
    pub fn new(config: &Config, pipeline: &Pipeline, replayed: Option<&str>) -> Self {
        if pipeline.version.is_empty() {
            return Self::default();
        }
        let names = replayed.into_iter().chain(pipeline.versions());
        let digest = |name: &str| Some((config.digest_of(&pipeline.as_version(name)?), name.to_owned()));
        Self(names.filter_map(digest).collect())
    }

    fn of(&self, config: &str) -> Option<&str> {
        self.0.iter().find(|(digest, _)| digest == config).map(|(_, name)| name.as_str())
    }

    /// What scored records, as JSON.
    pub fn told(&self, by: &[ScoredBy]) -> Value {
        let one = |by: &ScoredBy| {
            let mut told = json!({ "function": by.function, "model": by.model, "config": by.config, "records": by.records });
            if let Some(name) = self.of(&by.config) {
                told["version"] = name.into();
            }
            told
        };
        by.iter().map(one).collect()
    }

    /// What scored records, in words.
    pub fn said(&self, by: &ScoredBy) -> Result<String, std::fmt::Error> {
        let model = if by.model.is_empty() { "no model" } else { &by.model };
        let mut said = format!("{} records by {}, {model}, config {}", by.records, by.function, by.config);
        if let Some(name) = self.of(&by.config) {
            write!(said, ", version {name}")?;
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const PIPELINE: &str = "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'transaction'\nfunction = 'copy'\n\
                            options = { fields = ['amount'], score = 'amount' }\n";

    fn by(config: &str) -> ScoredBy {
        ScoredBy { function: "copy".into(), model: String::new(), config: config.into(), records: 3 }
    }

    /// Would catch: records that are told as another version's, a version of the same settings as another that is told by the other's name, words
    /// about versions where there are none.
    #[test]
    fn records_are_told_by_the_version_whose_settings_they_name() {
        let text = format!(
            "{PIPELINE}[pipeline.version.v2]\noptions = {{ score = 'fee' }}\n[pipeline.version.v3]\noptions = {{ score = 'amount' }}\n"
        );
        let config = Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap();
        let pipeline = &config.pipeline[0];
        let digest = |name: &str| config.digest_of(&pipeline.as_version(name).unwrap());
        let names = Names::new(&config, pipeline, Some("v2"));
        assert!(names.said(&by(&digest("v2"))).unwrap().ends_with(", version v2"));
        assert!(names.said(&by(&digest("base"))).unwrap().ends_with(", version base"));
        assert_eq!(names.told(&[by("other")])[0]["version"], Value::Null, "settings of before");
        assert_eq!(Names::new(&config, pipeline, Some("v3")).of(&digest("v3")), Some("v3"), "it says the same as base");
        let plain = Config::parse(PIPELINE, "test.toml", &BTreeMap::new()).unwrap();
        let names = Names::new(&plain, &plain.pipeline[0], None);
        assert!(!names.said(&by(&plain.digest_of(&plain.pipeline[0]))).unwrap().contains("version"));
    }
}
