//! `recommend`: a user's list and signals, and an item's, as the pipeline's fold tells them.

mod parts;
#[cfg(test)]
mod tests;

use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use crate::config::recommend::Recommend as Signals;
use crate::state::Features;
use futures_util::future::{BoxFuture, ready};
use parts::{of_item, of_user};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;

const NAME: &str = "recommend";
const VERSION: u32 = 1;
const LIMITS: Limits = Limits { slice: 1_000, calls_in_flight: 2, timeout: Duration::from_secs(30) };

/// `options` of the pipeline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// What is emitted. Default: `recommend`, when `[recommend.blend]` has weights, and `signals`.
    emit: Option<BTreeSet<Part>>,
}

/// Parts of what the fold tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The user's list: on every event of a user, with `blend.on_request` on requests alone.
    Recommend,
    /// Beside the list: history, session, affinity, what is similar to a cold item.
    Signals,
    /// The user's interest vector, with its model.
    Interest,
    /// A record for the item of every event that names one: popularity, click-through, neighbours of a cold one.
    Items,
}

/// Record of a user: `user`, `items`, `fallback`, `support`, `seen_filtered`, and the signals; keyed by the user. Its label is
/// `personal`, the reason of the fallback, or `cold` when there is nothing to show; its score that of the first item. Record of an
/// item: `item`, `popularity`, `ctr`, `support`, `similar`; keyed by the item, labelled `item` or `cold_item`. Both tell
/// `reference_time_ms`, `status` and `truncated`.
pub struct Recommend {
    spec: Spec,
    emit: BTreeSet<Part>,
}

impl Recommend {
    /// For settings without findings, and the pipeline's options; the error says what to change.
    pub fn new(signals: &Signals, options: &Map<String, Value>) -> Result<Self, String> {
        let options: Options =
            serde_json::from_value(Value::Object(options.clone())).map_err(|cause| format!("{NAME}: options: {cause}"))?;
        let blended = !signals.blend.weights.is_empty();
        let emit = options.emit.unwrap_or_else(|| match blended {
            true => [Part::Recommend, Part::Signals].into(),
            false => [Part::Signals].into(),
        });
        if emit.is_empty() {
            return Err(format!("{NAME}: options: `emit` is empty; name recommend, signals, interest or items"));
        }
        if emit.contains(&Part::Recommend) && !blended {
            return Err(format!(
                "{NAME}: options: `emit` names recommend, and [recommend.blend] has no weights; give signals a weight"
            ));
        }
        if emit.contains(&Part::Interest) && signals.interest.is_none() {
            return Err(format!("{NAME}: options: `emit` names interest; declare [recommend.interest]"));
        }
        let model = signals.interest.as_ref().map_or(String::new(), |interest| interest.model.clone());
        Ok(Self { spec: Spec { name: NAME, version: VERSION, model, limits: LIMITS }, emit })
    }

    fn one(&self, input: &Input) -> Result<Outcome, CallError> {
        let told = input.features.as_ref().and_then(|features| Some((features, features.document.as_ref()?.as_object()?)));
        let (features, told) = told.ok_or_else(|| {
            let what = "an event came without the signals of its user: the pipeline runs no fold of [recommend]";
            CallError::Fatal(format!(
                "{NAME}: {what}; declare the section, and feed the function from a stream or with its events"
            ))
        })?;
        let predictions: Vec<Prediction> =
            [of_user(&self.emit, features, told), of_item(&self.emit, features, told)].into_iter().flatten().collect();
        Ok(match predictions.is_empty() {
            true => Outcome::Skip(self.silence(told)),
            false => Outcome::Emit(predictions),
        })
    }

    /// Why nothing is emitted.
    fn silence(&self, told: &Map<String, Value>) -> &'static str {
        match (told.contains_key("user"), self.emit.contains(&Part::Recommend)) {
            (false, _) => "item",
            (true, true) => "no_request",
            (true, false) => "no_item",
        }
    }
}

impl Function for Recommend {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn labels(&self) -> Vec<String> {
        parts::LABELS.iter().map(|label| (*label).to_owned()).collect()
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(ready(slice.iter().map(|input| self.one(input)).collect()))
    }
}

/// Whether the event was folded in its order.
fn status(features: &Features, told: &Map<String, Value>) -> &'static str {
    match (told.contains_key("folded"), features.late) {
        (true, _) => "passed_over",
        (false, true) => "late",
        (false, false) => "ok",
    }
}
