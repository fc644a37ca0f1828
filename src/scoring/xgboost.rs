//! XGBoost's JSON model: one sum of `gbtree` trees, binary or squared error.
//!
//! Features and thresholds are `f32` and `x < t` goes left. For an `f32` that is `x <= t'` with the next smaller `t'`, so the
//! forest needs one comparison only. Margin = link(base_score) + the sum of the leaves, here in `f64`.

use super::error::Fault;
use super::forest::{Forest, Source, Test};
use super::link::Link;
use super::{Read, most_features};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

const NAME: &str = "XGBoost JSON";

#[derive(Deserialize)]
struct File {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    attributes: std::collections::BTreeMap<String, Value>,
    #[serde(default)]
    feature_names: Vec<String>,
    gradient_booster: Booster,
    learner_model_param: Parameters,
    objective: Objective,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct Parameters {
    base_score: Value,
    num_feature: String,
    #[serde(default)]
    num_class: Option<String>,
    #[serde(default)]
    num_target: Option<String>,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    #[serde(default)]
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    trees: Vec<Tree>,
    #[serde(default)]
    iteration_indptr: Vec<u64>,
}

#[derive(Deserialize)]
struct Tree {
    left_children: Vec<i32>,
    right_children: Vec<i32>,
    split_indices: Vec<u32>,
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
    #[serde(default)]
    split_type: Vec<u8>,
    #[serde(default)]
    sum_hessian: Vec<f64>,
    tree_param: TreeParameters,
}

#[derive(Deserialize)]
struct TreeParameters {
    num_nodes: String,
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

/// `true` in 1.x, `1` later.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Bool(flag) => Ok(Self(flag)),
            Value::Number(number) if number.as_u64().is_some_and(|n| n < 2) => Ok(Self(number.as_u64() == Some(1))),
            _ => Err(D::Error::custom("default_left holds something else than true, false, 0 and 1")),
        }
    }
}

pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let file: File = serde_json::from_slice(bytes).map_err(|cause| {
        Fault::unsupported("", format!("not a JSON model of XGBoost: {cause}"), "save it with Booster.save_model(\"name.json\")")
    })?;
    let learner = file.learner;
    let parameters = &learner.learner_model_param;
    for (name, value) in [("num_class", &parameters.num_class), ("num_target", &parameters.num_target)] {
        let value = value.as_deref().map_or(Ok(0), |value| number(name, value))?;
        if value > 1 {
            let cause = format!("{name} is {value}: the model has several outputs");
            return Err(Fault::unsupported("learner_model_param", cause, "train a model with one output"));
        }
    }
    let logistic = match learner.objective.name.as_str() {
        "binary:logistic" | "reg:logistic" => true,
        "reg:squarederror" => false,
        other => {
            let cause = format!("the objective is {other:?}");
            return Err(Fault::unsupported("objective", cause, "train with binary:logistic, reg:logistic or reg:squarederror"));
        }
    };
    let base = base_margin(&parameters.base_score, logistic)?;
    let features = number("num_feature", &parameters.num_feature)?;
    most_features(features)?;
    let named = !learner.feature_names.is_empty();
    if named && learner.feature_names.len() != features {
        let cause = format!("{} feature names, num_feature is {features}", learner.feature_names.len());
        return Err(Fault::damaged("feature_names", cause));
    }
    let model = match (learner.gradient_booster.name.as_str(), learner.gradient_booster.model) {
        ("gbtree", Some(model)) => model,
        ("gbtree", None) => return Err(Fault::damaged("gradient_booster", "there is no model in it")),
        (other, _) => {
            let cause = format!("the booster is {other:?}");
            return Err(Fault::unsupported("gradient_booster", cause, "train with booster=gbtree"));
        }
    };
    let mut forest = Forest::default();
    for (number, tree) in model.trees.iter().enumerate() {
        add(&mut forest, tree, number, features)?;
    }
    let mut notes = Vec::new();
    let best = learner.attributes.get("best_iteration").and_then(Value::as_str).and_then(|best| best.parse::<u64>().ok());
    let rounds = model.iteration_indptr.len().checked_sub(1).unwrap_or(model.trees.len()) as u64;
    if let Some(best) = best.filter(|best| best + 1 < rounds) {
        notes.push(format!(
            "training stopped early at round {best} of {rounds}; all rounds are used: slice the booster to use less"
        ));
    }
    Ok(Read {
        format: NAME,
        objective: learner.objective.name,
        link: if logistic { Link::Logistic { sigmoid: 1.0 } } else { Link::Identity },
        names: named.then_some(learner.feature_names),
        features,
        notes,
        body: super::Body::trees(forest, base, true),
    })
}

fn number(name: &str, text: &str) -> Result<usize, Fault> {
    text.trim().parse().map_err(|_| Fault::damaged(name, format!("{text:?} is not a count")))
}

/// "5E-1" before 3.1, "[5E-1]" since.
fn base_margin(value: &Value, logistic: bool) -> Result<f64, Fault> {
    let text = match value {
        Value::String(text) => text.trim().trim_start_matches('[').trim_end_matches(']').trim().to_owned(),
        other => other.to_string(),
    };
    let odd = |why: &str| Fault::damaged("base_score", format!("{text:?} {why}"));
    // Kept as XGBoost keeps it.
    let base = f64::from(text.parse::<f32>().map_err(|_| odd("is not one number"))?);
    match logistic {
        false if base.is_finite() => Ok(base),
        true if base > 0.0 && base < 1.0 => Ok((base / (1.0 - base)).ln()),
        _ => Err(odd("cannot be the score that the trees start from")),
    }
}

fn add(forest: &mut Forest, tree: &Tree, number: usize, features: usize) -> Result<(), Fault> {
    let place = || format!("tree {number}");
    let nodes = tree.left_children.len();
    if self::number("num_nodes", &tree.tree_param.num_nodes)? != nodes {
        return Err(Fault::damaged(place(), format!("num_nodes is {}, there are {nodes}", tree.tree_param.num_nodes)));
    }
    if tree.tree_param.size_leaf_vector.as_deref().is_some_and(|size| !matches!(size, "0" | "1")) {
        return Err(Fault::unsupported(place(), "its leaves hold several values", "train a model with one output"));
    }
    let lengths = [
        ("right_children", tree.right_children.len(), false),
        ("split_indices", tree.split_indices.len(), false),
        ("split_conditions", tree.split_conditions.len(), false),
        ("default_left", tree.default_left.len(), false),
        ("split_type", tree.split_type.len(), true),
        ("sum_hessian", tree.sum_hessian.len(), true),
    ];
    for (name, length, optional) in lengths {
        if length != nodes && !(optional && length == 0) {
            return Err(Fault::damaged(place(), format!("{name} has {length} entries for {nodes} nodes")));
        }
    }
    forest.add((0, nodes), features, |node| source(tree, number, node))
}

fn source(tree: &Tree, number: usize, node: usize) -> Result<Source, Fault> {
    let place = || format!("tree {number}, node {node}");
    let cover = tree.sum_hessian.get(node).copied().unwrap_or(f64::NAN);
    let condition = tree.split_conditions[node];
    if tree.left_children[node] == -1 {
        return Ok(Source::Leaf { value: f64::from(condition), cover });
    }
    let child = |child: i32| usize::try_from(child).map_err(|_| Fault::damaged(place(), format!("its child is {child}")));
    if tree.split_type.get(node).is_some_and(|kind| *kind != 0) {
        let remedy = "encode categories as numbers before training (enable_categorical=False)";
        return Err(Fault::unsupported(place(), "it splits on categories", remedy));
    }
    if !condition.is_finite() {
        return Err(Fault::damaged(place(), format!("its threshold is {condition}")));
    }
    Ok(Source::Split {
        feature: tree.split_indices[node] as usize,
        test: Test::AtMost { threshold: f64::from(condition.next_down()), nan_right: !tree.default_left[node].0 },
        left: child(tree.left_children[node])?,
        right: child(tree.right_children[node])?,
        cover,
    })
}
