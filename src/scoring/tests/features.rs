//! Features that are not the model's are refused, and the first difference is named.

use super::fixture;
use crate::scoring::{FeatureError, Model, ScoreError};

const NAMES: [&str; 4] = ["amount", "count", "ratio", "kind"];

/// Would catch: columns that change places unseen, a count that is compared alone.
#[test]
fn names_order_and_count_must_be_those_of_the_training() {
    let model = Model::load(&fixture("lgb_nan_sigmoid.txt")).unwrap();
    assert_eq!(model.names(), NAMES);
    model.check_features(&NAMES).unwrap();
    let said = |declared: &[&str]| model.check_features(declared).unwrap_err().to_string();
    assert!(said(&["amount", "ratio", "count", "kind"]).contains("feature 2 is \"ratio\" where the model has \"count\""));
    let short = said(&["amount", "count"]);
    assert!(short.contains("4 features, 2") && short.contains("feature 3 is nothing where the model has \"ratio\""), "{short}");
    let long = said(&["amount", "count", "ratio", "kind", "more"]);
    assert!(long.contains("feature 5 is \"more\" where the model has nothing"), "{long}");
    let other = said(&["count", "amount", "ratio"]);
    assert!(other.contains("feature 1 is \"count\""), "the first difference, not the last name: {other}");
}

/// Would catch: a row of another length that is scored or panics; a batch that one bad row spoils.
#[test]
fn a_row_of_another_length_is_refused_alone() {
    let model = Model::load(&fixture("xgb_fitted_base.json")).unwrap();
    let good = [1.0, 2.0, 0.5, 3.0];
    let scored = model.score_all([&good[..], &good[..2], &[], &good]);
    assert_eq!(scored[1], Err(ScoreError::Length { expected: 4, found: 2 }));
    assert_eq!(scored[2], Err(ScoreError::Length { expected: 4, found: 0 }));
    assert_eq!((scored[0], scored[3]), (model.score(&good), model.score(&good)));
    assert!(scored[0].is_ok() && model.contributions(&good[..2]).is_none());
}

/// Would catch: a file without names that passes as if it had the declared ones, or a named one that is renamed.
#[test]
fn a_file_without_names_must_have_them_declared() {
    let text = std::fs::read_to_string(fixture("xgb_fitted_base.json")).unwrap();
    let text = text.replace(r#"["amount","count","ratio","kind"]"#, "[]");
    let mut model = Model::parse(text.as_bytes()).unwrap();
    assert!(!model.is_named());
    assert_eq!(model.names(), ["f0", "f1", "f2", "f3"]);
    assert_eq!(model.check_features(&NAMES), Err(FeatureError::Unnamed));
    assert!(matches!(model.declare(&NAMES[..3]), Err(FeatureError::Count { .. })));
    assert_eq!(model.declare(&["a", "b", "a", "c"]), Err(FeatureError::Twice("a".into())));
    model.declare(&NAMES).unwrap();
    model.check_features(&NAMES).unwrap();
    assert_eq!(model.declare(&NAMES), Err(FeatureError::Named));
}
