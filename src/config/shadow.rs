//! `[pipeline.shadow]`: a second model that answers a part of the events too, in spare time, to be compared with the first.

use super::{Config, Pipeline, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// `[pipeline.shadow]`. The challenger answers after the pipeline has, when no call of the worker is under way; its answers are compared,
/// and neither stored as records nor published.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shadow {
    /// The challenger's model, named as the pipeline's is. Default: the pipeline's.
    pub model: Option<String>,
    /// Laid over the pipeline's `options`, key by key.
    pub options: Map<String, Value>,
    /// Share of the events that it answers, 0 to 1. An event's id decides, so that each worker chooses the same. Default 0.1.
    pub share: f64,
    /// For functions whose answers are scores: from this score on the decision is another. Default: labels alone are compared.
    pub threshold: Option<f64>,
    /// Events that may wait for it; what comes beyond is not compared. Default 1,000.
    pub queue: usize,
    /// Events that it is given at once. Default 8.
    pub slice: usize,
    /// A call that takes longer has failed, milliseconds. Default 10,000.
    pub call_timeout_ms: u64,
    /// After so many failures in a row it is not called any more until the worker starts again. Default 5.
    pub failures: u32,
    /// Whether counts and flips are written to Postgres, for `millrace shadow`. Default: true.
    pub store: bool,
    /// How long they are kept there; at least 1d. Default 30d.
    pub keep: Span,
}

impl Default for Shadow {
    fn default() -> Self {
        Self {
            model: None,
            options: Map::new(),
            share: 0.1,
            threshold: None,
            queue: 1_000,
            slice: 8,
            call_timeout_ms: 10_000,
            failures: 5,
            store: true,
            keep: Span::days(30),
        }
    }
}

impl Shadow {
    /// The pipeline as the challenger would run it.
    pub fn challenger(&self, of: &Pipeline) -> Pipeline {
        of.varied(self.model.as_deref(), &self.options)
    }
}

/// What is wrong with a pipeline's shadow.
pub fn findings_of(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    let Some(shadow) = &pipeline.shadow else { return Vec::new() };
    let mut found = Vec::new();
    let mut say = |text: String| found.push(format!("shadow: {text}"));
    if !(0.0..=1.0).contains(&shadow.share) {
        say(format!("share = {} is no share; write 0 to 1", shadow.share));
    }
    if shadow.threshold.is_some_and(|threshold| !threshold.is_finite()) {
        say("threshold is no finite number".to_owned());
    }
    if !(1..=100_000).contains(&shadow.queue) {
        say(format!("queue = {}: write 1 to 100,000", shadow.queue));
    }
    for (name, zero) in
        [("slice", shadow.slice == 0), ("call_timeout_ms", shadow.call_timeout_ms == 0), ("failures", shadow.failures == 0)]
    {
        if zero {
            say(format!("{name} = 0 would never call the challenger; write 1 or more, or remove [pipeline.shadow]"));
        }
    }
    if shadow.keep.ms() < Span::days(1).ms() {
        say(format!("keep = \"{}\" is less than a day; write 1d or more", shadow.keep));
    }
    if let Some(text) = super::validate::unknown_model(config, pipeline, shadow.model.as_deref()) {
        say(text);
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn config(shadow: &str) -> Config {
        let text = format!(
            "[models.small]\npath = 'x'\n[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'chat_message'\nfunction = 'sentiment'\n\
             model = 'small'\noptions = {{ a = 1, b = 2 }}\n[pipeline.shadow]\n{shadow}"
        );
        Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap()
    }

    /// Would catch: a shadow whose options take the place of all others, one that changes what records say of their configuration.
    #[test]
    fn a_challenger_is_the_pipeline_with_another_model_and_some_other_options() {
        let with = config("options = { b = 3 }\nmodel = 'other'");
        let pipeline = &with.pipeline[0];
        let challenger = pipeline.shadow.as_ref().unwrap().challenger(pipeline);
        assert_eq!((challenger.model.as_deref(), challenger.shadow), (Some("other"), None));
        assert_eq!(serde_json::to_string(&challenger.options).unwrap(), r#"{"a":1,"b":3}"#);
        let mut without = pipeline.clone();
        without.shadow = None;
        assert_eq!(with.digest_of(pipeline), with.digest_of(&without));
    }

    /// Would catch: values that no challenger can run with.
    #[test]
    fn what_cannot_be_is_refused() {
        for (wrong, word) in [
            ("share = 1.5", "no share"),
            ("queue = 0", "write 1 to"),
            ("slice = 0", "never call"),
            ("call_timeout_ms = 0", "never call"),
            ("failures = 0", "never call"),
            ("keep = '2h'", "less than a day"),
            ("model = 'smal'", "did you mean"),
        ] {
            let found = config(wrong).findings();
            assert!(found.len() == 1 && found[0].contains(word) && found[0].contains("shadow: "), "{wrong}: {found:?}");
        }
        assert_eq!(config("share = 0.5").findings(), [""; 0]);
    }
}
