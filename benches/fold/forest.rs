//! A forest of the usual size, as an XGBoost file: full trees whose thresholds are values that rows have.

use millrace::scoring::Model;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

pub const TREES: usize = 100;
pub const DEPTH: u32 = 6;
const NODES: usize = (2 << DEPTH) - 1;
const SPLITS: usize = NODES / 2;

/// Node `n` has the children `2n + 1` and `2n + 2`.
struct Tree {
    features: Vec<usize>,
    /// Of a leaf its value.
    conditions: Vec<f32>,
}

pub fn model(names: &[Box<str>], rows: &[Box<[f64]>]) -> anyhow::Result<Model> {
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    Model::parse(file(&names, rows).to_string().as_bytes()).map_err(|fault| anyhow::anyhow!("the forest is refused: {fault}"))
}

/// The file itself.
pub fn file(names: &[&str], rows: &[Box<[f64]>]) -> Value {
    let mut random = StdRng::seed_from_u64(2);
    let trees: Vec<Value> = (0..TREES).map(|_| grown(&mut random, rows)).collect();
    json!({ "learner": {
        "feature_names": names,
        "gradient_booster": { "name": "gbtree", "model": { "trees": trees } },
        "learner_model_param": { "base_score": "5E-1", "num_class": "0", "num_feature": names.len().to_string() },
        "objective": { "name": "binary:logistic" },
    } })
}

fn grown(random: &mut StdRng, rows: &[Box<[f64]>]) -> Value {
    let mut tree = Tree { features: vec![0; NODES], conditions: vec![0.0; NODES] };
    tree.grow(random, 0, &rows.iter().map(|row| &**row).collect::<Vec<_>>());
    let children =
        |side: usize| -> Vec<i32> { (0..NODES).map(|node| if node < SPLITS { (2 * node + side) as i32 } else { -1 }).collect() };
    json!({
        "left_children": children(1), "right_children": children(2), "default_left": vec![1; NODES],
        "split_indices": tree.features, "split_conditions": tree.conditions, "sum_hessian": vec![1.0; NODES],
        "tree_param": { "num_nodes": NODES.to_string() },
    })
}

impl Tree {
    fn grow(&mut self, random: &mut StdRng, node: usize, rows: &[&[f64]]) {
        if node >= SPLITS {
            self.conditions[node] = random.random_range(-0.1..0.1);
            return;
        }
        let feature = random.random_range(0..rows[0].len());
        let threshold = rows[random.random_range(0..rows.len())][feature] as f32;
        (self.features[node], self.conditions[node]) = (feature, threshold);
        let (left, right): (Vec<_>, Vec<_>) = rows.iter().partition(|row| (row[feature] as f32) < threshold);
        for (child, part) in [(2 * node + 1, left), (2 * node + 2, right)] {
            self.grow(random, child, if part.is_empty() { rows } else { &part });
        }
    }
}
