//! The fixtures score as the libraries that wrote them.

use super::fixture;
use crate::scoring::Model;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    names: Vec<String>,
    rows: Vec<Vec<Option<f64>>>,
    margins: Vec<f64>,
    probabilities: Vec<f64>,
    contributions: Vec<Vec<f64>>,
}

/// Margins, probabilities and contributions; the bias is the last of the contributions. `probability` is the model's own number.
fn compare(file: &str, tolerance: f64, probability: impl Fn(f64) -> f64) {
    let model = Model::load(&fixture(file)).unwrap();
    let name = file.split('.').next().unwrap();
    let expected: Expected = serde_json::from_slice(&std::fs::read(fixture(&format!("{name}.rows.json"))).unwrap()).unwrap();
    model.check_features(&expected.names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert!(expected.rows.len() > 20);
    for (number, row) in expected.rows.iter().enumerate() {
        let row: Vec<f64> = row.iter().map(|x| x.unwrap_or(f64::NAN)).collect();
        let scored = model.score(&row).unwrap();
        let said = format!("{file}, row {number}: {scored:?}");
        assert!((scored.margin - expected.margins[number]).abs() <= tolerance, "{said}, margin {}", expected.margins[number]);
        let theirs = probability(expected.probabilities[number]);
        assert!((scored.probability - theirs).abs() <= tolerance, "{said}, theirs {theirs}");
        let found = model.contributions(&row).unwrap();
        assert!((found.margin() - scored.margin).abs() <= 1e-12, "{said}: {found:?} does not add up");
        for (a, b) in found.values.iter().chain([&found.bias]).zip(&expected.contributions[number]) {
            assert!((a - b).abs() <= 10.0 * tolerance, "{said}: {found:?}, theirs {:?}", expected.contributions[number]);
        }
    }
}

/// Would catch: a fitted base score taken for 0.5 or not turned into log-odds, NaN sent the wrong way, f64 comparisons.
#[test]
fn xgboost_with_missing_values() {
    compare("xgb_fitted_base.json", 1e-6, |p| p);
}

/// Would catch: a base score of a regression turned into log-odds, parallel trees averaged twice.
#[test]
fn xgboost_regression_with_parallel_trees() {
    compare("xgb_squared_error.json", 1e-6, |p| p.clamp(0.0, 1.0));
}

/// Would catch: the sigmoid parameter dropped, missing values of the kind NaN sent the wrong way.
#[test]
fn lightgbm_with_missing_values_and_a_sigmoid() {
    compare("lgb_nan_sigmoid.txt", 1e-9, |p| p);
}

/// Would catch: zeros, or NaN, or numbers next to zero compared although the split takes them for missing.
#[test]
fn lightgbm_with_zero_as_missing() {
    compare("lgb_zero_as_missing.txt", 1e-9, |p| p);
}

/// Would catch: NaN that does not count as zero where a split knows no missing values.
#[test]
fn lightgbm_without_missing_values() {
    compare("lgb_no_missing.txt", 1e-9, |p| p);
}

/// Would catch: categories compared as numbers, bits counted wrongly, unknown, negative or missing categories sent left.
#[test]
fn lightgbm_with_categories() {
    compare("lgb_categories.txt", 1e-9, |p| p);
}

/// Would catch: a sigmoid on the margin of a regression.
#[test]
fn lightgbm_regression() {
    compare("lgb_regression.txt", 1e-9, |p| p.clamp(0.0, 1.0));
}
