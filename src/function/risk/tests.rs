//! Tests of the function: what it answers, what it hands on, what it refuses.

mod answers;
mod chain;
mod refused;

use super::{Loaded, Risk};
use crate::config::risk::Options;
use crate::event::{Event, Position, RawEvent};
use crate::function::{Function, Input, Outcome, Prediction};
use crate::scoring::{Model, Policy};
use crate::state::Features;
use futures_util::FutureExt;
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["a", "b"];

fn options(options: Value) -> Options {
    Options::of(options.as_object().unwrap()).unwrap()
}

/// A logistic regression: the margin is `intercept + 3 a - b / 2`.
fn linear(intercept: f64) -> Model {
    let file = json!({"features": NAMES, "mean": [0, 0], "scale": [1, 1], "coef": [3, -0.5], "intercept": intercept});
    Model::parse(file.to_string().as_bytes()).unwrap()
}

fn policy() -> Policy {
    let text = "version = \"7\"\nfallback = \"block_and_review\"\n[thresholds]\nreview = 600\ndecline = 900\n";
    Policy::parse(text).unwrap()
}

fn scoring() -> Loaded {
    Loaded { model: Some(("m".into(), linear(0.0))), policy: Some(policy()), ..Loaded::default() }
}

fn risk(given: Value, loaded: Loaded) -> Risk {
    Risk::new(&NAMES, options(given), loaded).unwrap()
}

fn event(payload: &Value) -> Event {
    let position = Position { topic: "t".into(), partition: 0, offset: 5 };
    let payload = Some(payload.to_string().into_bytes().into());
    let raw = RawEvent { position, timestamp_ms: 0, key: None, payload, headers: vec![] };
    Event { body: None, raw, id: "7".into(), key: Some("k".into()), event_time_ms: 0, text: None }
}

fn input(payload: Value, features: Features) -> Input {
    Input { event: event(&payload), features: Some(features) }
}

fn numbers(numbers: [f64; 2]) -> Features {
    Features { numbers: numbers.into(), ..Features::default() }
}

fn outcome(risk: &Risk, input: Input) -> Outcome {
    risk.call(&[input]).now_or_never().expect("it scores at once").unwrap().remove(0)
}

fn emitted(risk: &Risk, input: Input) -> Prediction {
    match outcome(risk, input) {
        Outcome::Emit(mut predictions) if predictions.len() == 1 => predictions.remove(0),
        other => panic!("{other:?}"),
    }
}

/// The fields for a row, without the timings.
fn said(risk: &Risk, features: Features) -> Value {
    let mut fields = emitted(risk, input(json!({}), features)).fields;
    fields.remove("timings_us");
    fields.into()
}

fn rejected(risk: &Risk, input: Input) -> &'static str {
    match outcome(risk, input) {
        Outcome::Reject(rejection) => rejection.code,
        other => panic!("{other:?}"),
    }
}
