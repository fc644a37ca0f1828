//! Models over rows of features: gradient-boosted trees, linear models, small nets, rules; and why they say what they say.
//!
//! [`Model::load`] reads XGBoost JSON, LightGBM text, a logistic regression (JSON or safetensors) or a small net (safetensors),
//! told apart by content. Pure: no clock, no threads, no I/O but the reading of files.

mod decide;
mod detect;
mod digest;
mod error;
mod forest;
mod lightgbm;
mod lightgbm_text;
mod linear;
mod link;
mod model;
mod net;
mod policy;
mod ranking;
mod reasons;
mod rules;
mod settings;
mod shap;
mod tensors;
#[cfg(test)]
mod tests;
mod xgboost;

pub use decide::decide;
pub use error::{Fault, FeatureError, LoadError, ScoreError};
pub use forest::Forest;
pub use linear::Linear;
pub use model::{Body, Contributions, Model, Scored};
pub use net::Net;
pub use policy::{Decision, DecisionSource, Policy, Thresholds};
pub use ranking::Ranking;
pub use reasons::{OTHER, Reason, Reasons, TOP};
pub use rules::{ListKind, ListResult, RuleResult, Rules, Verdict};

use model::{Read, most_features};
