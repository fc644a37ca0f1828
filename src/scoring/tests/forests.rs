//! The flat array against the slow walk, and trees that must be refused.

use crate::scoring::Fault;
use crate::scoring::forest::{Forest, MOST_LEVELS, Source, Test};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Random trees over `features`, each a list of nodes whose children lie behind them.
pub fn random_tree(random: &mut StdRng, features: usize, depth: u32, into: &mut Vec<Source>, cover: f64) -> usize {
    let at = into.len();
    into.push(Source::Leaf { value: f64::from(random.random_range(-8..8)), cover });
    if depth == 0 || random.random_range(0..6) == 0 {
        return at;
    }
    let share = f64::from(random.random_range(1..8)) / 8.0;
    let threshold = f64::from(random.random_range(-3..4));
    let test = match random.random_range(0..5) {
        0 => Test::AtMostZeroMissing { threshold, missing_right: random.random_range(0..2) == 0 },
        1 => Test::Category { bits: vec![random.random_range(0..64)] },
        _ => Test::AtMost { threshold, nan_right: random.random_range(0..2) == 0 },
    };
    let feature = random.random_range(0..features);
    let left = random_tree(random, features, depth - 1, into, cover * share);
    let right = random_tree(random, features, depth - 1, into, cover * (1.0 - share));
    into[at] = Source::Split { feature, test, left, right, cover };
    at
}

/// Small integers, zero among them, and no value.
pub fn random_row(random: &mut StdRng, features: usize) -> Vec<f64> {
    let number = |random: &mut StdRng| match random.random_range(-4..6) {
        5 => f64::NAN,
        number => f64::from(number),
    };
    (0..features).map(|_| number(random)).collect()
}

/// The leaf that a row reaches, by the definition of each test.
pub fn walk(tree: &[Source], at: usize, row: &[f64]) -> f64 {
    match &tree[at] {
        Source::Leaf { value, .. } => *value,
        Source::Split { feature, test, left, right, .. } => {
            let x = row[*feature];
            let goes_right = match test {
                Test::AtMost { nan_right, .. } if x.is_nan() => *nan_right,
                Test::AtMostZeroMissing { missing_right, .. } if x.is_nan() || x == 0.0 => *missing_right,
                Test::AtMost { threshold, .. } | Test::AtMostZeroMissing { threshold, .. } => x > *threshold,
                Test::Category { bits } => !(x >= 0.0 && bits[0] >> x as u32 & 1 == 1),
            };
            walk(tree, if goes_right { *right } else { *left }, row)
        }
    }
}

pub fn add(forest: &mut Forest, tree: &[Source], features: usize) -> Result<(), Fault> {
    forest.add((0, tree.len()), features, |node| Ok(tree[node].clone()))
}

/// Would catch: lanes that are mixed up, walks that stop too early in deep trees, a group that is not full, plain trees walked
/// as if they had categories or the other way round.
#[test]
fn the_flat_array_reaches_the_same_leaves() {
    let mut random = StdRng::seed_from_u64(1);
    for round in 0..60 {
        let (features, depth, trees) = (1 + round % 5, [2, 6, 14][round % 3], 1 + round % 19);
        let plain = round % 2 == 0;
        let mut forest = Forest::default();
        let mut all = Vec::new();
        for _ in 0..trees {
            let mut tree = Vec::new();
            random_tree(&mut random, features, depth as u32, &mut tree, 64.0);
            for node in &mut tree {
                if let Source::Split { test: test @ (Test::Category { .. } | Test::AtMostZeroMissing { .. }), .. } = node
                    && plain
                {
                    *test = Test::AtMost { threshold: 1.0, nan_right: true };
                }
            }
            add(&mut forest, &tree, features).unwrap();
            all.push(tree);
        }
        assert_eq!((forest.trees(), forest.nodes()), (trees, all.iter().map(Vec::len).sum()));
        for _ in 0..50 {
            let row = random_row(&mut random, features);
            let expected: f64 = all.iter().map(|tree| walk(tree, 0, &row)).sum();
            assert_eq!(forest.sum(&row), expected, "round {round}, {row:?}");
        }
    }
}

/// A tree that goes to the right `levels` times.
fn chain(levels: usize) -> Vec<Source> {
    let test = Test::AtMost { threshold: 0.0, nan_right: false };
    let split =
        |level: usize| Source::Split { feature: 0, test: test.clone(), left: 2 * level + 1, right: 2 * level + 2, cover: 2.0 };
    let leaf = Source::Leaf { value: 1.0, cover: 1.0 };
    let mut nodes: Vec<Source> = (0..levels).flat_map(|level| [split(level), leaf.clone()]).collect();
    nodes.push(Source::Leaf { value: 7.0, cover: 1.0 });
    // A split's right child is the next split: even numbers are splits, odd ones leaves.
    nodes
}

/// Would catch: a recursion that a deep file can drive through the stack, a walk that ends before the deepest leaf.
#[test]
fn deep_trees_are_walked_and_too_deep_ones_refused() {
    let mut forest = Forest::default();
    add(&mut forest, &chain(MOST_LEVELS as usize), 1).unwrap();
    assert_eq!((forest.sum(&[1.0]), forest.sum(&[-1.0])), (7.0, 1.0));
    let mut values = [0.0];
    crate::scoring::shap::contributions(&forest, &[1.0], &mut values);
    assert!((values[0] + forest.expected() - 7.0).abs() < 1e-9);
    let fault = add(&mut forest, &chain(MOST_LEVELS as usize + 1), 1).unwrap_err();
    assert!(fault.to_string().contains("more than 512 levels"), "{fault}");
}

/// Would catch: a cycle that is followed for ever, a node that two parents share, a child or feature that is not there.
#[test]
fn trees_that_are_none_are_refused() {
    let split = |left, right, feature| Source::Split {
        feature,
        test: Test::AtMost { threshold: 0.0, nan_right: false },
        left,
        right,
        cover: 1.0,
    };
    let leaf = Source::Leaf { value: 1.0, cover: 1.0 };
    for (tree, said) in [
        (vec![split(0, 1, 0), leaf.clone()], "tree 0, node 0: the node is reached on two ways"),
        (vec![split(1, 1, 0), leaf.clone()], "node 1: the node is reached on two ways"),
        (vec![split(1, 2, 0), leaf.clone(), split(0, 1, 0)], "reached on two ways"),
        (vec![split(1, 9, 0), leaf.clone()], "node 9: the tree has 2 nodes"),
        (vec![split(1, 2, 3), leaf.clone(), leaf.clone()], "splits on feature 3, the model has 2"),
        (vec![Source::Leaf { value: f64::NAN, cover: 1.0 }], "the leaf's value is NaN"),
        (vec![], "the tree has 0 nodes"),
    ] {
        let fault = add(&mut Forest::default(), &tree, 2).unwrap_err();
        assert!(fault.to_string().contains(said), "{fault}");
    }
}
