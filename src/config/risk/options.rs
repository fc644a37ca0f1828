//! `options` of a pipeline with the function `risk`, and what such a pipeline may not say.

use super::Filter;
use crate::config::{Config, Pipeline, nearest};
use crate::record::Mode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Relative paths start at the config file's folder. A pipeline with neither a model nor rules is a stage of a chain: it says the
/// features and decides nothing.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Thresholds and the fallback: TOML. A pipeline that scores needs one, for what a score leads to is the user's to say.
    pub policy: Option<PathBuf>,
    /// Rules and lists: TOML. Beside a model, or alone. A list's `entity` is a dotted path into the event.
    pub rules: Option<PathBuf>,
    /// Codes and texts of the reasons: TOML.
    pub reasons: Option<PathBuf>,
    /// A name of `[models.NAME]` that is scored too: recorded, and never what decides.
    pub shadow: Option<String>,
    /// When the reasons of a score are worked out: `review` (default), for a decision of review or more; `always`; `never`.
    pub explain: Option<Explain>,
    /// Reasons at most. Default 4.
    pub top_reasons: usize,
    /// Whether the answer holds the features. Default true.
    pub include_features: bool,
    /// Whether the answer holds how long it took. Default true.
    pub timings: bool,
    /// Which events are answered, for example `kind == "application"`; the others are folded and skipped. Default: all.
    pub when: Option<Filter>,
    /// Whether the answer holds the event, for a stage that reads `event.X` and `features.Y`. Default false.
    pub pass_event: bool,
    /// Where the record's key stands in the event, as a dotted path. Default: the event's key.
    pub output_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Explain {
    #[default]
    Review,
    Always,
    Never,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: None,
            rules: None,
            reasons: None,
            shadow: None,
            explain: None,
            top_reasons: 4,
            include_features: true,
            timings: true,
            when: None,
            pass_event: false,
            output_key: None,
        }
    }
}

impl Options {
    /// Reads the options; the error says what to change.
    pub fn of(options: &Map<String, Value>) -> Result<Self, String> {
        serde_json::from_value(Value::Object(options.clone())).map_err(|cause| format!("risk: options: {cause}"))
    }

    /// What contradicts itself, for a pipeline with that model.
    pub fn findings(&self, model: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |text: &str| found.push(format!("risk: options: {text}"));
        let scores = model.is_some() || self.rules.is_some();
        let of_scores = [
            ("policy", self.policy.is_some()),
            ("shadow", self.shadow.is_some()),
            ("explain", self.explain.is_some()),
            ("reasons", self.reasons.is_some()),
        ];
        for (name, _) in of_scores.iter().filter(|(_, given)| *given && !scores) {
            say(&format!("{name} is for a pipeline that scores; add a model or rules, or remove it"));
        }
        if scores && self.policy.is_none() {
            say("nothing says what a score leads to; add policy = \"FILE\" with thresholds");
        }
        if scores && model.is_none() && self.reasons.is_some() {
            say("reasons explain a model, and there are rules alone; remove it, or add a model");
        }
        if self.shadow.is_some() && self.shadow.as_deref() == model {
            say("shadow is the model that decides; name another one");
        }
        if self.top_reasons == 0 {
            say("top_reasons = 0: write 1 or more, or explain = \"never\"");
        }
        if self.output_key.as_ref().is_some_and(|path| path.split('.').any(str::is_empty)) {
            say("output_key is no dotted path; write for example \"TERMINAL_ID\" or \"card.id\"");
        }
        found
    }
}

/// What is wrong with a pipeline, beyond what is wrong with any.
pub fn of_pipeline(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    let mut found: Vec<String> = pipeline.risk.iter().flat_map(|risk| risk.findings()).collect();
    if pipeline.function != "risk" {
        if pipeline.risk.is_some() {
            found.push(format!("risk declares features, and function {:?} has none; remove it", pipeline.function));
        }
        return found;
    }
    if config.risk_of(pipeline).is_none() {
        found.push("function \"risk\" needs features; declare them under [[risk.feature]]".into());
    }
    if pipeline.topic.len() > 1 {
        found.push(format!(
            "function \"risk\" remembers what it read of one log, and there are {} topics; give each a pipeline of its own",
            pipeline.topic.len()
        ));
    }
    let options = match Options::of(&pipeline.options) {
        Ok(options) => options,
        Err(what) => {
            found.push(what);
            return found;
        }
    };
    found.extend(options.findings(pipeline.model.as_deref()));
    if let Some(shadow) = options.shadow.as_deref().filter(|shadow| !config.models.contains_key(*shadow)) {
        let near = nearest(shadow, config.models.keys().map(String::as_str));
        let hint = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        found.push(format!("risk: options: shadow {shadow:?} has no [models.{shadow}]{hint}"));
    }
    if pipeline.mode == Mode::Postgres && (options.pass_event || options.output_key.is_some()) {
        found.push(
            "risk: options: pass_event and output_key are for the stage after this one, and mode = \"postgres\" publishes nothing; \
             remove one of them"
                .into(),
        );
    }
    found
}
