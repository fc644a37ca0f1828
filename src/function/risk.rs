//! `risk`: what a model, rules and lists say of the features of an event; a score, a decision, and why.
//!
//! The features come from the pipeline's fold. Without a model and without rules it is a stage of a chain: it says the features, and
//! with `pass_event` the event, for the next pipeline.
//!
//! A prediction's label is the decision and its score the probability. `event_id` is the event's own id, where the pipeline says which
//! field it is. `status` says how far it can be trusted: `ok`; `late`, the
//! event came after newer ones of its key; `degraded`, the model could not score it, so that there is an `error`, no probability, and
//! the policy's fallback stands in for the score. `degraded` goes before `late`.

mod load;
mod payload;
mod scorer;
#[cfg(test)]
mod tests;

pub use load::{Loaded, RiskError};

use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::config::risk::Options;
use crate::event::Rejection;
use crate::scoring::Decision;
use crate::state::Features;
use futures_util::future::{BoxFuture, ready};
use payload::Payload;
use scorer::Scorer;
use serde_json::{Map, Value};
use std::time::Duration;

const NAME: &str = "risk";
const VERSION: u32 = 1;
/// A row costs microseconds, and its explanation a hundred of them: calls stay short, and nothing is gained by more at a time.
const LIMITS: Limits = Limits { slice: 1_000, calls_in_flight: 2, timeout: Duration::from_secs(30) };

/// See the [module](self).
pub struct Risk {
    spec: Spec,
    /// The features, in the order of their numbers.
    names: Vec<String>,
    options: Options,
    /// `None` in a stage of a chain.
    scorer: Option<Scorer>,
}

impl Risk {
    /// For features of those names. Refuses what does not fit together.
    pub fn new(names: &[&str], options: Options, loaded: Loaded) -> Result<Self, RiskError> {
        let (model, scorer) = Scorer::new(names, &options, loaded)?;
        let spec = Spec { name: NAME, version: VERSION, model, limits: LIMITS };
        Ok(Self { spec, names: names.iter().map(|name| (*name).to_owned()).collect(), options, scorer })
    }

    fn one(&self, input: &Input) -> Result<Outcome, CallError> {
        let Some(features) = &input.features else {
            return Err(CallError::Fatal("risk: an event came without features; run it in a pipeline with [risk]".into()));
        };
        if let Some(label) = said(features, "label").and_then(Value::as_str) {
            return Ok(self.label(input, label));
        }
        if features.numbers.len() != self.names.len() {
            let (found, declared) = (features.numbers.len(), self.names.len());
            return Err(CallError::Fatal(format!("risk: the fold gave {found} features, {declared} are declared")));
        }
        let entities = self.scorer.iter().flat_map(Scorer::entities);
        Ok(match Payload::read(&input.event, &self.options, self.options.when.as_ref(), entities) {
            Ok(Some(payload)) => Outcome::Emit(vec![self.prediction(&input.event.id, features, payload)]),
            Ok(None) => Outcome::Skip("filtered"),
            Err(rejection) => Outcome::Reject(rejection),
        })
    }

    fn prediction(&self, event_id: &str, features: &Features, payload: Payload) -> Prediction {
        let mut fields = Map::new();
        fields.insert("event_id".into(), event_id.into());
        fields.insert("status".into(), if features.late { "late" } else { "ok" }.into());
        let mut prediction = Prediction { key: payload.key, fields, label: None, score: None, model: None };
        if let Some(scorer) = &self.scorer {
            scorer.score(&features.numbers, &payload.entities, &self.options, &mut prediction);
        }
        let fields = &mut prediction.fields;
        if self.options.include_features {
            let of_names: Map<String, Value> = self.names.iter().cloned().zip(features.numbers.iter().map(number)).collect();
            fields.insert("features".into(), of_names.into());
        }
        if features.truncated {
            fields.insert("truncated".into(), true.into());
        }
        if said(features, "folded") == Some(&Value::Bool(false)) {
            fields.insert("folded".into(), false.into());
        }
        if let Some(event) = payload.event {
            fields.insert("event".into(), event);
        }
        prediction
    }

    /// A label is folded, and there is nothing to score. A stage of a chain hands it on, also when it does not remember the event: the
    /// next one looks back on other entities, and further perhaps. A label that nobody is left to take ends here.
    fn label(&self, input: &Input, label: &str) -> Outcome {
        let ends_here = || match label {
            "unknown_id" => Outcome::Reject(unknown_event()),
            _ => Outcome::Skip("label"),
        };
        if self.scorer.is_some() || !self.options.pass_event {
            return ends_here();
        }
        match Payload::read(&input.event, &self.options, None, []) {
            Ok(payload) => {
                let payload = payload.unwrap_or_default();
                let event_id = Some(Value::from(&*input.event.id));
                let fields = [
                    ("event_id", event_id),
                    ("status", Some("ok".into())),
                    ("label", Some(label.into())),
                    ("event", payload.event),
                ];
                let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
                Outcome::Emit(vec![Prediction { key: payload.key, fields, label: None, score: None, model: None }])
            }
            Err(rejection) if rejection.code == "missing_field" => ends_here(),
            Err(rejection) => Outcome::Reject(rejection),
        }
    }
}

impl Function for Risk {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn labels(&self) -> Vec<String> {
        Decision::ALL.iter().map(|decision| decision.as_str().to_owned()).collect()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(ready(slice.iter().map(|input| self.one(input)).collect()))
    }
}

fn unknown_event() -> Rejection {
    let detail = "the label names an event that its entities do not remember: it never came, came later than the label, or is older \
                  than the windows; send a label after its event, and check event_id and the entities under [risk.labels]";
    Rejection::new("unknown_event", detail)
}

/// What the fold says besides numbers.
fn said<'a>(features: &'a Features, name: &str) -> Option<&'a Value> {
    features.document.as_ref()?.get(name)
}

/// `null` for "no value".
fn number(number: &f64) -> Value {
    Value::from(*number)
}
