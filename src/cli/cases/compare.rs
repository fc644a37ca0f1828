//! What a case expects beside what came: every expected part must be there, other parts are tolerated.

use serde_json::{Map, Value};

/// Where the two differ.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Dotted path; empty for the whole.
    pub path: String,
    pub expected: Value,
    /// `None`: it is not there.
    pub found: Option<Value>,
    pub why: &'static str,
}

/// The differences, in the order of the expectation.
pub fn differences(expected: &Value, found: &Value, tolerance: f64) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(expected, Some(found), "", tolerance, &mut all);
    all
}

fn compare(expected: &Value, found: Option<&Value>, path: &str, tolerance: f64, all: &mut Vec<Difference>) {
    let mut differs =
        |why| all.push(Difference { path: path.to_owned(), expected: expected.clone(), found: found.cloned(), why });
    let Some(value) = found else { return differs("is not there") };
    match (expected, value) {
        (Value::Object(wanted), Value::Object(have)) => {
            for (name, wanted) in wanted {
                compare(wanted, have.get(name), &join(path, name), tolerance, all);
            }
        }
        (Value::Object(wanted), Value::Array(have)) if has_places(wanted) => {
            for (place, wanted) in wanted {
                compare(wanted, at(have, place), &join(path, place), tolerance, all);
            }
        }
        (Value::Array(wanted), Value::Array(have)) if wanted.len() == have.len() => {
            for (number, (wanted, have)) in wanted.iter().zip(have).enumerate() {
                compare(wanted, Some(have), &join(path, &number.to_string()), tolerance, all);
            }
        }
        (Value::Array(_), Value::Array(_)) => differs("has another length"),
        (Value::Number(wanted), Value::Number(have)) => match (wanted.as_f64(), have.as_f64()) {
            (Some(wanted), Some(have)) if is_near(wanted, have, tolerance) => {}
            _ => differs("is another number"),
        },
        (wanted, have) if wanted == have => {}
        _ => differs("is something else"),
    }
}

/// An object of numbers names some places of a list.
fn has_places(wanted: &Map<String, Value>) -> bool {
    !wanted.is_empty() && wanted.keys().all(|place| place.parse::<usize>().is_ok())
}

fn at<'a>(have: &'a [Value], place: &str) -> Option<&'a Value> {
    have.get(place.parse::<usize>().ok()?)
}

/// By the larger of the two, so that it does not matter which is which; about nothing by itself.
fn is_near(wanted: f64, have: f64, tolerance: f64) -> bool {
    let scale = if wanted == 0.0 { 1.0 } else { wanted.abs().max(have.abs()) };
    (wanted - have).abs() <= tolerance * scale
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// What came, as far as the expectation asks for it; all of it where nothing is asked for, or where it is of another kind.
pub fn renewed(expected: &Value, found: &Value) -> Value {
    match (expected, found) {
        (Value::Object(wanted), Value::Object(have)) if wanted.keys().any(|name| have.contains_key(name)) => {
            let of = |(name, wanted): (&String, &Value)| Some((name.clone(), renewed(wanted, have.get(name)?)));
            Value::Object(wanted.iter().filter_map(of).collect::<Map<_, _>>())
        }
        (Value::Object(wanted), Value::Array(have)) if wanted.keys().any(|place| at(have, place).is_some()) => {
            let of = |(place, wanted): (&String, &Value)| Some((place.clone(), renewed(wanted, at(have, place)?)));
            Value::Object(wanted.iter().filter_map(of).collect::<Map<_, _>>())
        }
        (Value::Array(wanted), Value::Array(have)) if wanted.len() == have.len() => {
            wanted.iter().zip(have).map(|(wanted, have)| renewed(wanted, have)).collect()
        }
        _ => found.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Would catch: a part that is not looked at, one that is asked for though nobody did, a tolerance that is absolute.
    #[test]
    fn every_expected_part_is_looked_at() {
        let found =
            json!({ "label": "a", "score": 0.75, "tiny": 1e-9, "list": [{ "x": 1 }, { "x": 2, "y": null }], "more": true });
        let of = |expected: Value, tolerance: f64| {
            let all = differences(&expected, &found, tolerance);
            all.into_iter().map(|one| format!("{} {}", one.path, one.why)).collect::<Vec<_>>()
        };
        for same in [
            json!({}),
            json!({ "label": "a" }),
            json!({ "list": [{}, { "x": 2.0 }] }),
            json!({ "list": { "1": { "x": 2 } } }),
            json!({ "score": 0.7500001, "list": [{ "x": 1 }, { "y": null }] }),
        ] {
            assert_eq!(of(same, 1e-6), [""; 0]);
        }
        assert_eq!(of(json!({ "label": "b", "score": 0.76, "gone": null }), 1e-6).len(), 3);
        assert_eq!(of(json!({ "gone": null }), 1e-6), ["gone is not there"]);
        assert_eq!(of(json!({ "list": [{ "x": 1 }] }), 1e-6), ["list has another length"]);
        assert_eq!(of(json!({ "list": [{ "x": 1 }, { "x": 3 }] }), 1e-6), ["list.1.x is another number"]);
        assert_eq!(of(json!({ "list": { "2": {} } }), 1e-6), ["list.2 is not there"]);
        assert_eq!(of(json!({ "list": {} }), 1e-6), ["list is something else"]);
        assert_eq!(of(json!({ "label": 1 }), 1e-6), ["label is something else"]);
        assert_eq!(of(json!({ "tiny": 2e-9 }), 1e-6), ["tiny is another number"]);
        assert_eq!(of(json!({ "tiny": 0 }), 1e-6), [""; 0]);
        assert_eq!(of(json!({ "score": 0.8 }), 0.1), [""; 0]);
        assert_eq!(of(json!([]), 1e-6), [" is something else"]);
    }

    /// Would catch: an update that asks for more than before, or that keeps what is not there.
    #[test]
    fn an_expectation_is_renewed_in_its_own_shape() {
        let found = json!({ "label": "b", "score": 0.5, "list": [{ "x": 1, "y": 2 }] });
        assert_eq!(renewed(&json!({ "label": "a", "gone": 1 }), &found), json!({ "label": "b" }));
        assert_eq!(renewed(&json!({ "list": [{ "y": 0 }] }), &found), json!({ "list": [{ "y": 2 }] }));
        assert_eq!(renewed(&json!({ "list": { "0": { "y": 0 }, "4": 1 } }), &found), json!({ "list": { "0": { "y": 2 } } }));
        assert_eq!(renewed(&json!({ "skipped": "x" }), &found), found);
        assert_eq!(renewed(&Value::Null, &found), found);
    }
}
