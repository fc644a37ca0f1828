//! The limits of a number, found by asking the function itself: what it takes in the options in force, between what it refuses.

use crate::function::requests::Requests;
use serde_json::{Map, Value, json};

/// Beyond it a number has no limit that matters.
const FAR: f64 = 1e9;

/// Where a number may begin whose option is null.
const FIRST: [f64; 8] = [1.0, 0.5, 8.0, 16.0, 64.0, 2.0, 128.0, 0.0];

/// Adds `minimum` and `maximum`, or their exclusive kin, to the schema of a number.
pub fn add(requests: &dyn Requests, parameter: &str, options: &Value, schema: &mut Value) {
    let kinds = &schema["type"];
    let is = |kind: &str| kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
    let whole = match (is("integer"), is("number")) {
        (true, _) => true,
        (_, true) => false,
        _ => return,
    };
    let number = |value: f64| if whole { json!(value as i64) } else { json!(value) };
    let takes = |value: f64| requests.tuned(&Map::from_iter([(parameter.to_owned(), number(value))])).is_ok();
    let own = options.get(parameter).and_then(Value::as_f64);
    let Some(good) = own.into_iter().chain(FIRST).find(|value| takes(*value)) else { return };
    let step = if whole { 1.0 } else { 0.0 };
    for (far, inclusive, exclusive) in [(-FAR, "minimum", "exclusiveMinimum"), (FAR, "maximum", "exclusiveMaximum")] {
        if takes(far) {
            continue;
        }
        let limit = last(good, far, step, &takes);
        let limit = if whole { limit } else { short(limit) };
        schema[if takes(limit) { inclusive } else { exclusive }] = number(limit);
    }
}

/// The last number that is taken on the way from one that is to one that is not.
fn last(mut good: f64, mut bad: f64, step: f64, takes: &dyn Fn(f64) -> bool) -> f64 {
    for _ in 0..70 {
        if (good - bad).abs() <= step {
            break;
        }
        let middle = if step > 0.0 { f64::midpoint(good, bad).trunc() } else { f64::midpoint(good, bad) };
        if middle == good || middle == bad {
            break;
        }
        if takes(middle) { good = middle } else { bad = middle }
    }
    good
}

/// With three digits: a limit is written by people.
fn short(value: f64) -> f64 {
    if value.abs() < 1e-9 { 0.0 } else { format!("{value:.2e}").parse().unwrap_or(value) }
}
