//! Logistic regression with its scaler: margin = intercept + the sum of `coef * (x - mean) / scale`.
//!
//! As JSON: `{"features": [..], "mean": [..], "scale": [..], "coef": [..], "intercept": x}`, or as safetensors (see `tensors.rs`).
//! A contribution is the feature's own term. It is relative to the mean of the training data, where all terms are 0.

use super::Read;
use super::error::Fault;
use super::link::Link;
use super::most_features;
use serde::Deserialize;

/// The name of the objective, of nets as well.
pub const OBJECTIVE: &str = "binary:logistic";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    features: Vec<String>,
    mean: Vec<f64>,
    scale: Vec<f64>,
    coef: Vec<f64>,
    intercept: f64,
}

#[derive(Debug, Clone)]
pub struct Linear {
    scaler: Scaler,
    coef: Vec<f64>,
    intercept: f64,
}

/// Means and standard deviations of the training data.
#[derive(Debug, Clone)]
pub struct Scaler {
    pub mean: Vec<f64>,
    pub scale: Vec<f64>,
}

impl Scaler {
    pub fn new(mean: Vec<f64>, scale: Vec<f64>, features: usize) -> Result<Self, Fault> {
        for (name, values) in [("mean", &mean), ("scale", &scale)] {
            if values.len() != features {
                return Err(Fault::damaged(name, format!("{} entries for {features} features", values.len())));
            }
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return Err(Fault::damaged(name, format!("entry {} is {}", at + 1, values[at])));
            }
        }
        if let Some(at) = scale.iter().position(|scale| *scale <= 0.0) {
            return Err(Fault::damaged("scale", format!("entry {} is {}, it must be above 0", at + 1, scale[at])));
        }
        Ok(Self { mean, scale })
    }

    pub fn scaled(&self, at: usize, x: f64) -> f64 {
        (x - self.mean[at]) / self.scale[at]
    }
}

pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let file: File = serde_json::from_slice(bytes).map_err(|cause| {
        let remedy = "write exactly features, mean, scale, coef and intercept";
        Fault::unsupported("", format!("not a logistic regression as JSON: {cause}"), remedy)
    })?;
    let features = file.features.len();
    most_features(features)?;
    let linear = Linear::new(Scaler::new(file.mean, file.scale, features)?, file.coef, file.intercept)?;
    Ok(Read {
        format: "logistic regression JSON",
        objective: OBJECTIVE.into(),
        link: Link::Logistic { sigmoid: 1.0 },
        names: Some(file.features),
        features,
        notes: Vec::new(),
        body: super::Body::Linear(linear),
    })
}

impl Linear {
    pub fn new(scaler: Scaler, coef: Vec<f64>, intercept: f64) -> Result<Self, Fault> {
        if coef.len() != scaler.mean.len() {
            return Err(Fault::damaged("coef", format!("{} entries for {} features", coef.len(), scaler.mean.len())));
        }
        if !coef.iter().chain([&intercept]).all(|value| value.is_finite()) {
            return Err(Fault::damaged("coef", "an entry or the intercept is not finite"));
        }
        Ok(Self { scaler, coef, intercept })
    }

    pub fn margin(&self, row: &[f64]) -> f64 {
        self.terms(row).fold(self.intercept, |sum, term| sum + term)
    }

    pub fn intercept(&self) -> f64 {
        self.intercept
    }

    /// What each feature adds to the margin.
    pub fn terms<'a>(&'a self, row: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.coef.iter().zip(row).enumerate().map(|(at, (coef, x))| coef * self.scaler.scaled(at, *x))
    }
}
