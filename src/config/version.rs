//! `[pipeline.version.NAME]`: what a swap may put in the place of a pipeline's own settings.

use super::{Pipeline, nearest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The name of the settings that stand in the pipeline's own section.
pub const BASE: &str = "base";

/// `[pipeline.version.NAME]`. What is left out is as in the pipeline.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// A name of `[models.NAME]`. Default: the pipeline's.
    #[serde(default)]
    pub model: Option<String>,
    /// Settings of the function that differ from the pipeline's; the others stay.
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Cases as `millrace test` reads them, relative to the config file: the version is used only once it has passed all of them.
    #[serde(default)]
    pub cases: Option<PathBuf>,
}

/// `[pipeline.canary]`: when a canary is taken back by itself.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Events that a worker has the canary score before it says anything of it. Default 200.
    #[serde(default = "min_events")]
    pub min_events: u64,
    /// How far the canary's share of dead letters may be above that of the other events, 0 to 1. Default 0.02.
    #[serde(default = "dead_share_above")]
    pub dead_share_above: f64,
    /// How far the mean of its scores may be from that of the other events: a share of 1 where scores are probabilities, as they are of `risk` too, whatever points its records have. Default: no limit.
    #[serde(default)]
    pub score_shift: Option<f64>,
}

impl Default for Canary {
    fn default() -> Self {
        Self { min_events: min_events(), dead_share_above: dead_share_above(), score_shift: None }
    }
}

/// Functions whose score is a share of 1.
const SHARES: [&str; 3] = ["answer", "risk", "sentiment"];

impl Canary {
    /// What is most likely not meant: a shift that the scores of this function cannot reach.
    pub fn warning(&self, function: &str) -> Option<String> {
        let shift = self.score_shift.filter(|shift| *shift > 1.0 && SHARES.contains(&function))?;
        Some(format!(
            "canary.score_shift = {shift} is never reached: the score of {function} is a share of 1 (of risk the probability, not the points of its records)"
        ))
    }
}

fn min_events() -> u64 {
    200
}

fn dead_share_above() -> f64 {
    0.02
}

/// Longest name of a version.
const NAME_BYTES: usize = 40;

impl Pipeline {
    /// The pipeline as it is in a version; `base` is its own settings. `None` for a version that it does not have.
    pub fn as_version(&self, name: &str) -> Option<Self> {
        if name == BASE {
            return Some(Self { version: Default::default(), ..self.clone() });
        }
        let version = self.version.get(name)?;
        Some(self.varied(version.model.as_deref(), &version.options))
    }

    /// The same; the error names the versions that there are.
    pub fn at_version(&self, name: &str) -> Result<Self, String> {
        self.as_version(name).ok_or_else(|| unknown(&self.name, name, &self.versions()))
    }

    /// The names that a swap may take, `base` first.
    pub fn versions(&self) -> Vec<&str> {
        std::iter::once(BASE).chain(self.version.keys().map(String::as_str)).collect()
    }
}

/// How much of a name that is not known is said again.
const SAID_CHARS: usize = 60;

/// What is said of a version that a pipeline does not have.
pub fn unknown(pipeline: &str, name: &str, known: &[&str]) -> String {
    let name: String = name.chars().take(SAID_CHARS).collect();
    let hint = nearest(&name, known.iter().copied()).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    format!("the pipeline {pipeline} has no version {name:?}, it has {}{hint}", known.join(", "))
}

/// What is wrong with the versions of a pipeline, but for what is wrong with each as a pipeline.
pub fn findings(pipeline: &Pipeline, is_name: impl Fn(&str, usize) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, version) in &pipeline.version {
        if name == BASE || !is_name(name, NAME_BYTES) {
            found.push(format!(
                "version {name:?}: the name must be 1 to {NAME_BYTES} of a-z 0-9 - _ . and not `base`, which is the pipeline's own settings; \
                 rename it"
            ));
        }
        if version.model.is_none() && version.options.is_empty() {
            found.push(format!("version {name:?} changes nothing; give it a model or options of its own, or remove it"));
        }
    }
    if let Some(canary) = &pipeline.canary {
        if !(0.0..=1.0).contains(&canary.dead_share_above) {
            found.push(format!("canary.dead_share_above = {} is no share; write 0 to 1", canary.dead_share_above));
        }
        if canary.score_shift.is_some_and(|shift| shift.is_nan() || shift <= 0.0) {
            found.push(
                "canary.score_shift must be above 0; write the difference of means that is too much, or leave it out".into(),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Canary;
    use crate::config::Config;
    use std::collections::BTreeMap;

    const PIPELINE: &str = "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'transaction'\nfunction = 'copy'\n\
                            options = { fields = ['amount'], score = 'amount / 100' }\n";

    fn config(more: &str) -> Config {
        Config::parse(&format!("{PIPELINE}{more}"), "test.toml", &BTreeMap::new()).unwrap()
    }

    /// Would catch: options of a version that take those away which it does not name, versions that change what records of the pipeline's own
    /// settings say of their config, a version whose records say the same as the pipeline's.
    #[test]
    fn a_version_is_the_pipeline_but_for_what_it_names() {
        let (plain, of) = (config(""), config("[pipeline.version.v2]\noptions = { score = 'amount / 50' }\n"));
        let (pipeline, version) = (&of.pipeline[0], of.pipeline[0].as_version("v2").unwrap());
        assert_eq!(of.findings(), [""; 0]);
        assert_eq!(version.options["score"], "amount / 50");
        assert_eq!((&version.options["fields"], pipeline.versions()), (&pipeline.options["fields"], vec!["base", "v2"]));
        let own = plain.digest_of(&plain.pipeline[0]);
        assert_eq!(of.digest_of(pipeline), own);
        assert_eq!(of.digest_of(&pipeline.as_version("base").unwrap()), own);
        assert_ne!(of.digest_of(&version), own);
        let wrong = pipeline.at_version("v3").err();
        assert_eq!(wrong.as_deref(), Some("the pipeline p has no version \"v3\", it has base, v2; did you mean \"v2\"?"));
    }

    /// Would catch: a version that cannot run and is found out by the swap.
    #[test]
    fn what_a_version_may_not_say_is_named() {
        for (more, said) in [
            ("[pipeline.version.base]\noptions = { score = 'amount' }", "the name must be"),
            ("[pipeline.version.V2]\noptions = { score = 'amount' }", "the name must be"),
            ("[pipeline.version.v2]", "changes nothing"),
            ("[pipeline.canary]\ndead_share_above = 2.0", "no share"),
            ("[pipeline.canary]\nscore_shift = 0.0", "above 0"),
        ] {
            let found = config(more).findings();
            assert!(found.iter().any(|what| what.contains(said)), "{more}: {found:?}");
        }
        let nearly = "[models.good]\npath = 'm'\n[[pipeline]]\nname = 'q'\ntopic = 't'\nevent = 'json'\nfunction = 'sentiment'\nmodel = 'good'\n\
                      [pipeline.version.v2]\nmodel = 'goood'";
        let found = config(nearly).findings();
        assert!(found.iter().any(|what| what.contains("version \"v2\" of") && what.contains("did you mean")), "{found:?}");
    }

    /// Would catch: a limit in points of 1,000 for scores that are probabilities, with which no canary is ever taken back.
    #[test]
    fn a_shift_that_no_score_reaches_is_warned_of() {
        let shift = |score_shift| Canary { score_shift, ..Canary::default() };
        assert!(shift(Some(20.0)).warning("risk").is_some_and(|text| text.contains("probability")));
        assert_eq!(
            (shift(Some(0.05)).warning("risk"), shift(Some(20.0)).warning("copy"), shift(None).warning("risk")),
            (None, None, None)
        );
    }
}
