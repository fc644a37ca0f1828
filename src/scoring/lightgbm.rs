//! LightGBM's text model, version 3 or 4: one sum of trees, binary or squared error.
//!
//! Everything is `f64` and `x <= t` goes left. What "no value" does is said by each split: nothing (NaN is zero), NaN alone, or
//! NaN and zero. Splits on categories hold a bitset.

use super::error::Fault;
use super::forest::{Forest, Source, Test};
use super::lightgbm_text::{Block, blocks};
use super::link::Link;
use super::{Read, most_features};

const NAME: &str = "LightGBM text";
const HEADER: [&str; 11] = [
    "tree",
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "feature_names",
    "feature_infos",
    "monotone_constraints",
    "tree_sizes",
];
const TREE: [&str; 18] = [
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "shrinkage",
];

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;

pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|cause| Fault::damaged("", format!("the file is not text: {cause}")))?;
    let file = blocks(text)?;
    let header = &file.header;
    header.only(&HEADER)?;
    match header.text("version")? {
        "v3" | "v4" => {}
        other => {
            let cause = format!("the version is {other:?}, known are v3 and v4");
            return Err(Fault::unsupported("header", cause, "save it with LightGBM 3 or 4"));
        }
    }
    for key in ["num_class", "num_tree_per_iteration"] {
        if header.count(key)? != 1 {
            let cause = format!("{key} is not 1: the model has several outputs");
            return Err(Fault::unsupported("header", cause, "train a model with one output"));
        }
    }
    let (objective, link) = objective(header.text("objective")?)?;
    let features = header.count("max_feature_idx")?.saturating_add(1);
    most_features(features)?;
    let names: Vec<String> = header.text("feature_names")?.split(' ').map(str::to_owned).collect();
    if names.len() != features {
        return Err(Fault::damaged("feature_names", format!("{} names for {features} features", names.len())));
    }
    let sizes = header.text("tree_sizes")?.split_ascii_whitespace().count();
    if sizes != file.trees.len() {
        return Err(Fault::damaged("tree_sizes", format!("{sizes} trees are announced, {} are there", file.trees.len())));
    }
    let mut forest = Forest::default();
    for tree in &file.trees {
        add(&mut forest, tree, features)?;
    }
    let mut notes = Vec::new();
    if file.pandas_categories {
        notes
            .push("some features were pandas categories in training: their values here are the codes of those categories".into());
    }
    let body = super::Body::trees(forest, 0.0, false);
    Ok(Read { format: NAME, objective, link, names: Some(names), features, notes, body })
}

/// The objective and what its margin means, for example of `binary sigmoid:1`.
fn objective(text: &str) -> Result<(String, Link), Fault> {
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let mut sigmoid = 1.0;
    for word in words {
        match word.split_once(':') {
            Some(("sigmoid", value)) if name == "binary" => {
                sigmoid = value.parse().unwrap_or(f64::NAN);
                if !(sigmoid > 0.0 && sigmoid < f64::INFINITY) {
                    return Err(Fault::damaged("objective", format!("sigmoid is {value:?}")));
                }
            }
            _ => {
                let cause = format!("the parameter {word:?} of the objective {name:?} is not known");
                return Err(Fault::unsupported("objective", cause, "train without it"));
            }
        }
    }
    let link = match name {
        "binary" | "cross_entropy" => Link::Logistic { sigmoid },
        "regression" => Link::Identity,
        other => {
            let cause = format!("the objective is {other:?}");
            return Err(Fault::unsupported("objective", cause, "train with binary, cross_entropy or regression"));
        }
    };
    Ok((name.to_owned(), link))
}

/// The arrays of a tree.
struct Arrays {
    place: String,
    feature: Vec<usize>,
    threshold: Vec<f64>,
    decision: Vec<u8>,
    left: Vec<i64>,
    right: Vec<i64>,
    split_cover: Vec<f64>,
    leaf: Vec<f64>,
    leaf_cover: Vec<f64>,
    boundaries: Vec<usize>,
    bits: Vec<u32>,
}

fn add(forest: &mut Forest, block: &Block<'_>, features: usize) -> Result<(), Fault> {
    block.only(&TREE)?;
    if block.has("is_linear") && block.count("is_linear")? != 0 {
        return Err(Fault::unsupported(&block.place, "its leaves are linear models", "train with linear_tree=false"));
    }
    let leaves = block.count("num_leaves")?;
    let Some(splits) = leaves.checked_sub(1) else { return Err(Fault::damaged(&block.place, "it has no leaf")) };
    // Counts are what the explanations of LightGBM divide by. Without them there are none.
    let cover = |key: &str, length| if block.has(key) { block.list(key, length) } else { Ok(Vec::new()) };
    let categories = if block.has("num_cat") { block.count("num_cat")? } else { 0 };
    let (boundaries, bits) = match categories {
        0 => (Vec::new(), Vec::new()),
        n => (block.list("cat_boundaries", Some(n.saturating_add(1)))?, block.list("cat_threshold", None)?),
    };
    let inner = |key: &str| if splits == 0 { Ok(Vec::new()) } else { block.list(key, Some(splits)) };
    let arrays = Arrays {
        place: block.place.clone(),
        feature: if splits == 0 { Vec::new() } else { block.list("split_feature", Some(splits))? },
        threshold: if splits == 0 { Vec::new() } else { block.list("threshold", Some(splits))? },
        decision: if splits == 0 { Vec::new() } else { block.list("decision_type", Some(splits))? },
        left: inner("left_child")?,
        right: inner("right_child")?,
        split_cover: if splits == 0 { Vec::new() } else { cover("internal_count", Some(splits))? },
        leaf: block.list("leaf_value", Some(leaves))?,
        leaf_cover: if splits == 0 { vec![0.0] } else { cover("leaf_count", Some(leaves))? },
        boundaries,
        bits,
    };
    // Splits first, then leaves: leaf n of the file is node splits + n.
    let root = if splits == 0 { splits } else { 0 };
    forest.add((root, splits.saturating_add(leaves)), features, |node| arrays.source(node))
}

impl Arrays {
    fn source(&self, node: usize) -> Result<Source, Fault> {
        let splits = self.feature.len();
        let cover = |covers: &[f64], at: usize| covers.get(at).copied().unwrap_or(f64::NAN);
        if let Some(leaf) = node.checked_sub(splits) {
            return Ok(Source::Leaf { value: self.leaf[leaf], cover: cover(&self.leaf_cover, leaf) });
        }
        let child = |child: i64| match usize::try_from(child) {
            Ok(split) if split < splits => Ok(split),
            Ok(_) => Err(self.odd(node, format!("its child is split {child} of {splits}"))),
            // -1 is leaf 0.
            Err(_) => usize::try_from(-(child + 1))
                .ok()
                .filter(|leaf| *leaf < self.leaf.len())
                .map(|leaf| splits + leaf)
                .ok_or_else(|| self.odd(node, format!("its child is leaf {child}, counted from -1, of {}", self.leaf.len()))),
        };
        Ok(Source::Split {
            feature: self.feature[node],
            test: self.test(node)?,
            left: child(self.left[node])?,
            right: child(self.right[node])?,
            cover: cover(&self.split_cover, node),
        })
    }

    fn test(&self, node: usize) -> Result<Test, Fault> {
        let (decision, threshold) = (self.decision[node], self.threshold[node]);
        if decision >= 16 || decision >> 2 == 3 {
            let cause = format!("its decision_type {decision} is not known");
            return Err(Fault::unsupported(format!("{}, split {node}", self.place), cause, "save it with LightGBM 3 or 4"));
        }
        if decision & CATEGORICAL != 0 {
            return self.category(node, threshold);
        }
        if threshold.is_nan() {
            return Err(self.odd(node, "its threshold is not a number".into()));
        }
        let default_right = decision & DEFAULT_LEFT == 0;
        Ok(match decision >> 2 {
            // NaN counts as zero.
            0 => Test::AtMost { threshold, nan_right: 0.0 > threshold },
            1 => Test::AtMostZeroMissing { threshold, missing_right: default_right },
            _ => Test::AtMost { threshold, nan_right: default_right },
        })
    }

    /// The threshold is the number of the set; its words stand between two boundaries.
    fn category(&self, node: usize, set: f64) -> Result<Test, Fault> {
        let words = || {
            if set < 0.0 || set.fract() != 0.0 {
                return None;
            }
            let set = set as usize;
            let (from, to) = (*self.boundaries.get(set)?, *self.boundaries.get(set.checked_add(1)?)?);
            self.bits.get(from..to)
        };
        let bits = words().ok_or_else(|| self.odd(node, format!("its set of categories {set} is not in the tree")))?;
        Ok(Test::Category { bits: bits.to_vec() })
    }

    fn odd(&self, node: usize, cause: String) -> Fault {
        Fault::damaged(format!("{}, split {node}", self.place), cause)
    }
}
