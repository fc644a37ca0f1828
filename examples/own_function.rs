//! A program that is Millrace with a function of its own: `own:shouting`, the share of capitals in a text.
//! docs/writing-a-function.md goes through it.

use futures_util::future::{BoxFuture, ready};
use millrace::cli;
use millrace::event::Rejection;
use millrace::function::{CallError, Function, Input, Limits, Outcome, Prediction, Spec};
use millrace::worker::{Own, Refused};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::process::ExitCode;
use std::time::Duration;

/// `options` of the pipeline.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// From this share of capitals on, 0 to 1, a text is `shouting`.
    threshold: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

struct Shouting {
    spec: Spec,
    options: Options,
}

impl Shouting {
    fn new(options: &Map<String, Value>) -> Result<Self, Refused> {
        let options: Options = serde_json::from_value(Value::Object(options.clone()))?;
        if !(0.0..=1.0).contains(&options.threshold) {
            return Err(format!("threshold = {} is no share; write 0 to 1", options.threshold).into());
        }
        let limits = Limits { slice: 256, calls_in_flight: 2, timeout: Duration::from_secs(10) };
        Ok(Self { spec: Spec { name: "shouting", version: 1, model: String::new(), limits }, options })
    }

    /// What becomes of one event: a prediction, a skip, or a dead letter with its reason.
    fn one(&self, input: &Input) -> Outcome {
        let Some(text) = input.event.text.as_deref() else {
            return Outcome::Reject(Rejection::new("missing_field", "the event has no text").at("text"));
        };
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        if letters == 0 {
            return Outcome::Skip("no_letters");
        }
        let share = text.chars().filter(|c| c.is_uppercase()).count() as f64 / letters as f64;
        let label = if share >= self.options.threshold { "shouting" } else { "calm" };
        let fields = Map::from_iter([("label".to_owned(), label.into()), ("score".to_owned(), share.into())]);
        Outcome::Emit(vec![Prediction { key: None, fields, label: Some(label.into()), score: Some(share), model: None }])
    }
}

impl Function for Shouting {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Without this, metrics and pages count both as `other`.
    fn labels(&self) -> Vec<String> {
        vec!["shouting".to_owned(), "calm".to_owned()]
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(ready(Ok(slice.iter().map(|input| self.one(input)).collect())))
    }
}

fn main() -> ExitCode {
    cli::program(Own::new().with("shouting", |pipeline| Shouting::new(&pipeline.options)))
}
