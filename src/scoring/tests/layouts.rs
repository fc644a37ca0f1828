//! Logistic regressions and nets in each of their layouts, computed by hand.

use super::refusal;
use crate::scoring::{Model, ScoreError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::collections::HashMap;

/// Safetensors out of numbers, as F32.
fn tensors(list: &[(&str, &[usize], &[f32])], metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = list.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = list
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
    let metadata: HashMap<String, String> = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    serialize(views, Some(metadata).filter(|metadata| !metadata.is_empty())).unwrap()
}

const SCALER: [(&str, &[usize], &[f32]); 2] = [("scaler.mean", &[2], &[1.0, 2.0]), ("scaler.scale", &[2], &[2.0, 4.0])];
const NAMES: (&str, &str) = ("features", r#"["a","b"]"#);

fn with(more: &[(&'static str, &'static [usize], &'static [f32])]) -> Vec<(&'static str, &'static [usize], &'static [f32])> {
    SCALER.iter().chain(more).copied().collect()
}

const NET: [(&str, &[usize], &[f32]); 4] = [
    ("fc1.weight", &[3, 2], &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0]),
    ("fc1.bias", &[3], &[0.0, 0.5, 0.25]),
    ("fc2.weight", &[1, 3], &[2.0, -1.0, 4.0]),
    ("fc2.bias", &[1], &[0.125]),
];

/// Would catch: a scaler that is dropped or turned round, an intercept that is lost, contributions that do not add up.
#[test]
fn a_logistic_regression_is_the_same_as_json_and_as_safetensors() {
    let json = br#"{"features":["a","b"],"mean":[1,2],"scale":[2,4],"coef":[3,-0.5],"intercept":0.25}"#;
    let safe = tensors(&with(&[("coef", &[2], &[3.0, -0.5]), ("intercept", &[1], &[0.25])]), &[NAMES]);
    for bytes in [&json[..], &safe] {
        let model = Model::parse(bytes).unwrap();
        assert_eq!(model.names(), ["a", "b"]);
        // Scaled: (2, 1).
        assert_eq!(model.score(&[5.0, 6.0]).unwrap().margin, 0.25 + 6.0 - 0.5);
        let found = model.contributions(&[5.0, 6.0]).unwrap();
        assert_eq!((&found.values[..], found.bias), (&[6.0, -0.5][..], 0.25));
        assert_eq!(model.score(&[f64::NAN, 6.0]), Err(ScoreError::Missing(0)), "no value is not a zero");
        assert_eq!(model.score(&[1.0, f64::INFINITY]), Err(ScoreError::Missing(1)));
        assert_eq!(model.score(&[1.79e308, 0.0]), Err(ScoreError::NotFinite));
    }
}

/// Would catch: weights read the wrong way round, an activation after the last layer or none between, a net that claims reasons.
#[test]
fn a_net_is_computed_layer_by_layer() {
    let margin = |activation: &[(&str, &str)]| {
        let model = Model::parse(&tensors(&with(&NET), &[&[NAMES][..], activation].concat())).unwrap();
        assert!(model.contributions(&[5.0, 6.0]).is_none() && model.unexplained().is_some());
        model.score(&[5.0, 6.0]).unwrap().margin
    };
    // Scaled: (2, 1); hidden: (2, 1.5, -2.75).
    assert_eq!(margin(&[]), 0.125 + 4.0 - 1.5);
    assert_eq!(margin(&[("activation", "relu")]), 0.125 + 4.0 - 1.5);
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}, by hand {expected}");
    close(margin(&[("activation", "tanh")]), 0.125 + 2.0 * 2.0_f64.tanh() - 1.5_f64.tanh() + 4.0 * (-2.75_f64).tanh());
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    close(margin(&[("activation", "sigmoid")]), 0.125 + 2.0 * sigmoid(2.0) - sigmoid(1.5) + 4.0 * sigmoid(-2.75));
}

/// Would catch: the sum of a last layer wider than one vector, its rest dropped.
#[test]
fn a_wide_last_layer_is_summed_whole() {
    let width = 19;
    let (ones, numbers) = (vec![1.0; width * 2], (1..=width).map(|n| n as f32).collect::<Vec<_>>());
    let zeros = vec![0.0; width];
    let list = [
        ("scaler.mean", &[2][..], &[0.0, 0.0][..]),
        ("scaler.scale", &[2], &[1.0, 1.0]),
        ("fc1.weight", &[19, 2], &ones),
        ("fc1.bias", &[19], &zeros),
        ("fc2.weight", &[1, 19], &numbers),
        ("fc2.bias", &[1], &[0.5]),
    ];
    let model = Model::parse(&tensors(&list, &[])).unwrap();
    assert!(!model.is_named());
    assert_eq!(model.score(&[1.0, 2.0]).unwrap().margin, 3.0 * 190.0 + 0.5);
}

/// Would catch: a layer that is not known and so left out, shapes that do not fit, a scaler that divides by zero.
#[test]
fn layouts_that_are_not_known_are_refused() {
    let norm: (&'static str, &'static [usize], &'static [f32]) = ("norm1.weight", &[3], &[1.0, 1.0, 1.0]);
    let gap: (&'static str, &'static [usize], &'static [f32]) = ("fc4.weight", &[1, 1], &[1.0]);
    let lr = |scale: &'static [f32]| {
        [
            ("scaler.mean", &[2][..], &[0.0, 0.0][..]),
            ("scaler.scale", &[2], scale),
            ("coef", &[2], &[1.0, 1.0]),
            ("intercept", &[1], &[0.0]),
        ]
    };
    for (bytes, said) in [
        (tensors(&with(&[&NET[..], &[norm]].concat()), &[NAMES]), "norm1.weight: the tensor is not known"),
        (tensors(&with(&[&NET[..], &[gap]].concat()), &[NAMES]), "fc4.weight: the tensor is not known"),
        (tensors(&with(&NET[..2]), &[NAMES]), "fc1: the last layer has 3 outputs"),
        (tensors(&with(&NET[..3]), &[NAMES]), "`fc2.bias` is missing"),
        (tensors(&with(&NET[2..]), &[NAMES]), "neither `coef` nor `fc1.weight`"),
        (tensors(&NET, &[NAMES]), "`scaler.mean` is missing"),
        (tensors(&with(&NET), &[("features", r#"["a"]"#)]), "1 names for 2 features"),
        (tensors(&with(&NET), &[("features", "a,b")]), "not a JSON list"),
        (tensors(&with(&NET), &[NAMES, ("activation", "gelu")]), "\"gelu\" is not known; use relu"),
        (tensors(&lr(&[1.0, 0.0]), &[NAMES]), "scale: entry 2 is 0"),
        (tensors(&lr(&[1.0, f32::NAN]), &[NAMES]), "scaler.scale: element 1 is NaN"),
        (br#"{"features":["a"],"mean":[1],"scale":[2],"coef":[3,4],"intercept":0}"#.to_vec(), "coef: 2 entries for 1 features"),
        (br#"{"features":["a"],"mean":[1],"scale":[2],"coef":[3],"intercept":0,"degree":2}"#.to_vec(), "unknown field `degree`"),
    ] {
        let found = refusal(&bytes);
        assert!(found.contains(said), "{found} instead of {said}");
    }
}
