//! Which kind of model a file is, by what stands in it. Names and extensions say nothing.

use super::error::Fault;
use super::{Read, lightgbm, linear, tensors, xgboost};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Keys of JSON files that are told apart.
#[derive(Deserialize)]
struct Keys {
    learner: Option<IgnoredAny>,
    coef: Option<IgnoredAny>,
    tree_info: Option<IgnoredAny>,
    oblivious_trees: Option<IgnoredAny>,
}

pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let known = "known are XGBoost JSON, LightGBM text, logistic regression JSON, and safetensors";
    let unsupported = |cause: &str, remedy: &str| Err(Fault::unsupported("", cause, remedy));
    let start = bytes.trim_ascii_start();
    if tensors::is(bytes) {
        return tensors::read(bytes);
    }
    match start {
        [] => unsupported("the file is empty", known),
        [b'{', b'L' | b'U' | b'i' | b'I' | b'l', ..] => {
            unsupported("this is XGBoost's UBJSON", "save it as JSON: Booster.save_model(\"name.json\")")
        }
        [b'{', ..] => json(start),
        [0x80, ..] => unsupported("this is a Python pickle", "save it in the library's own format; pickles are never read"),
        [b'b', b'i', b'n', b'f', ..] => {
            unsupported("this is XGBoost's old binary format", "save it as JSON: Booster.save_model(\"name.json\")")
        }
        [b'C', b'B', b'M', b'1', ..] => unsupported("this is a CatBoost model", known),
        _ if start.starts_with(b"tree\n") || start.starts_with(b"tree\r\n") => lightgbm::read(start),
        _ => unsupported("this is no model file of a known kind", known),
    }
}

fn json(bytes: &[u8]) -> Result<Read, Fault> {
    let broken = |cause: serde_json::Error| Fault::damaged("", format!("the file begins like JSON and is not: {cause}"));
    match serde_json::from_slice(bytes).map_err(broken)? {
        Keys { learner: Some(_), .. } => xgboost::read(bytes),
        Keys { coef: Some(_), .. } => linear::read(bytes),
        Keys { tree_info: Some(_), .. } => {
            Err(Fault::unsupported("", "this is LightGBM's JSON dump", "save the text: Booster.save_model(\"name.txt\")"))
        }
        Keys { oblivious_trees: Some(_), .. } => {
            Err(Fault::unsupported("", "this is a CatBoost model", "use XGBoost JSON or LightGBM text"))
        }
        _ => {
            let cause = "this JSON has neither `learner` (XGBoost) nor `coef` (logistic regression)";
            Err(Fault::unsupported("", cause, "name the model's own file"))
        }
    }
}
