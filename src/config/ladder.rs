//! `[pipeline.ladder]`: what a pipeline gives up, step by step, when its events get too old.

use super::{Config, Pipeline, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// `[pipeline.ladder]`. An event's age is the time since its record's own timestamp. While the ages of what is scored stay above the
/// objective and do not fall, the pipeline goes down a rung; once they have been well below it for a while it goes up again.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// No event should be older than this when it is scored.
    pub event_age_objective: Span,
    /// How long the age must be above the objective without falling before the next rung is taken. Default 10s.
    #[serde(default = "hold")]
    pub hold: Span,
    /// How long the age must be below half of the objective before the rung above is taken. When that proves too early the next attempt
    /// waits twice as long, up to 16 times. Default 1m.
    #[serde(default = "recover")]
    pub recover: Span,
    /// Events that are older than this are history, such as those of a topic that is read from its beginning: they neither move the
    /// ladder nor are skipped by it. Default 1h.
    #[serde(default = "history_after")]
    pub history_after: Span,
    /// What is given up, the least first.
    pub rung: Vec<Rung>,
}

/// One step down: another model, other options, or the last one, which skips.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// What records and metrics call it: 1 to 40 of `a-z 0-9 - _ .`, and not `full`. Default: `rung-N`, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A model in the place of the pipeline's, named as that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Laid over the pipeline's `options`, key by key: fewer tokens, fewer beams, no explanations.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// On the last rung alone: events older than the objective are skipped with this reason, 1 to 40 of `a-z 0-9 _`, and the others are
    /// scored by the rung before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
}

/// What records and metrics call the pipeline's own model and options.
pub const FULL: &str = "full";

impl Ladder {
    /// The name of the rung at a place, from 1; 0 is the pipeline as it is.
    pub fn name(&self, place: usize) -> String {
        let rung = place.checked_sub(1).and_then(|above| self.rung.get(above));
        match rung {
            None => FULL.to_owned(),
            Some(rung) => rung.name.clone().unwrap_or_else(|| format!("rung-{place}")),
        }
    }

    /// The pipeline as the rung of that name would run it; `None` where there is none, or where it skips.
    pub fn at(&self, name: &str, of: &Pipeline) -> Option<Pipeline> {
        let place = (1..=self.rung.len()).find(|place| self.name(*place) == name)?;
        self.rung[place - 1].of(of)
    }
}

impl Rung {
    /// The pipeline as this rung would run it; `None` for one that skips.
    pub fn of(&self, of: &Pipeline) -> Option<Pipeline> {
        self.skip.is_none().then(|| of.varied(self.model.as_deref(), &self.options))
    }
}

fn hold() -> Span {
    Span::seconds(10)
}

fn recover() -> Span {
    Span::minutes(1)
}

fn history_after() -> Span {
    Span::minutes(60)
}

/// What is wrong with a pipeline's ladder.
pub fn findings_of(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    let Some(ladder) = &pipeline.ladder else { return Vec::new() };
    let mut found = Vec::new();
    let mut say = |text: String| found.push(format!("ladder: {text}"));
    if ladder.rung.is_empty() {
        say("it has no rung, so there is nothing to give up; add [[pipeline.ladder.rung]]".to_owned());
    }
    if ladder.history_after.ms() <= ladder.event_age_objective.ms() {
        say(format!(
            "history_after = \"{}\" is not longer than the objective, so nothing would ever be too old; write more",
            ladder.history_after
        ));
    }
    let mut names = BTreeSet::from([FULL.to_owned()]);
    for (above, rung) in ladder.rung.iter().enumerate() {
        let (place, name) = (above + 1, ladder.name(above + 1));
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=40).contains(&name.len()) || !name.bytes().all(fits) {
            say(format!("rung {place}: the name {name:?} must be 1 to 40 of a-z 0-9 - _ . ; rename it"));
        }
        if !names.insert(name.clone()) {
            say(format!("rung {place}: the name {name:?} is taken; give it another"));
        }
        let changes = rung.model.is_some() || !rung.options.is_empty();
        match &rung.skip {
            Some(_) if changes => say(format!("rung {place}: one that skips has neither model nor options; remove them")),
            Some(_) if place < ladder.rung.len() => {
                say(format!("rung {place}: only the last one may skip; nothing would come to those behind it"));
            }
            Some(reason) if !is_reason(reason) => {
                say(format!("rung {place}: skip = {reason:?} must be 1 to 40 of a-z 0-9 _ , for metrics count by it"));
            }
            None if !changes => say(format!("rung {place} changes nothing; give it a model, options, or skip = \"REASON\"")),
            _ => {}
        }
        if let Some(text) = super::validate::unknown_model(config, pipeline, rung.model.as_deref()) {
            say(format!("rung {place}: {text}"));
        }
    }
    found
}

fn is_reason(reason: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=40).contains(&reason.len()) && reason.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn config(rungs: &str) -> Config {
        let text = format!(
            "[models.small]\npath = 'x'\n[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'chat_message'\nfunction = 'sentiment'\n\
             model = 'small'\n[pipeline.ladder]\nevent_age_objective = '10s'\n{rungs}"
        );
        Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap()
    }

    /// Would catch: ladders that can do nothing, reasons and names that are no label of a metric, a skip before the last rung.
    #[test]
    fn what_cannot_be_is_refused() {
        let rung = "[[pipeline.ladder.rung]]\n";
        for (wrong, word) in [
            ("rung = []".to_owned(), "nothing to give up"),
            (format!("history_after = '10s'\n{rung}skip = 'late'"), "not longer than"),
            (rung.to_owned(), "changes nothing"),
            (format!("{rung}skip = 'Too late'"), "metrics count by it"),
            (format!("{rung}skip = 'late'\nmodel = 'small'"), "neither model nor options"),
            (format!("{rung}skip = 'late'\n{rung}options = {{ a = 1 }}"), "only the last"),
            (format!("{rung}name = 'full'\noptions = {{ a = 1 }}"), "is taken"),
            (format!("{rung}name = 'A'\noptions = {{ a = 1 }}"), "rename it"),
            (format!("{rung}model = 'smal'"), "did you mean"),
        ] {
            let found = config(&wrong).findings();
            assert!(found.len() == 1 && found[0].contains(word) && found[0].contains("ladder: "), "{wrong}: {found:?}");
        }
        let fine = config(&format!("{rung}options = {{ a = 1 }}\n{rung}name = 'none'\nskip = 'too_late'"));
        assert_eq!(fine.findings(), [""; 0]);
        let pipeline = &fine.pipeline[0];
        let ladder = pipeline.ladder.as_ref().unwrap();
        assert_eq!([0, 1, 2].map(|place| ladder.name(place)), ["full", "rung-1", "none"]);
        assert_eq!(ladder.at("rung-1", pipeline).unwrap().options["a"], 1);
        assert!(ladder.at("none", pipeline).is_none() && ladder.at("full", pipeline).is_none());
    }
}
