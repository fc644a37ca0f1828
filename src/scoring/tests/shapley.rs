//! TreeSHAP against Shapley values by their definition, over all subsets of the features.

use super::forests::{add, random_row, random_tree};
use crate::scoring::forest::{Forest, Source};
use crate::scoring::shap;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// What the tree says when only the features of `known` are known: others go both ways, by cover.
fn value(tree: &[Source], at: usize, row: &[f64], known: u32) -> f64 {
    let Source::Split { feature, left, right, cover, .. } = &tree[at] else {
        return super::forests::walk(tree, at, row);
    };
    if known >> feature & 1 == 1 {
        // One step of the walk: the subtree's own leaf says which child it was.
        let below = [*left, *right].map(|child| value(tree, child, row, known));
        return if goes_left(tree, at, row) { below[0] } else { below[1] };
    }
    let share = |child: usize| match &tree[child] {
        Source::Leaf { cover: own, .. } | Source::Split { cover: own, .. } => own / cover,
    };
    share(*left) * value(tree, *left, row, known) + share(*right) * value(tree, *right, row, known)
}

/// Where one split sends the row: its children replaced by marked leaves.
fn goes_left(tree: &[Source], at: usize, row: &[f64]) -> bool {
    let Source::Split { feature, test, cover, .. } = &tree[at] else { return false };
    let leaf = |value| Source::Leaf { value, cover: 1.0 };
    let split = Source::Split { feature: *feature, test: test.clone(), left: 1, right: 2, cover: *cover };
    super::forests::walk(&[split, leaf(1.0), leaf(0.0)], 0, row) == 1.0
}

fn shapley(tree: &[Source], row: &[f64]) -> Vec<f64> {
    let features = row.len();
    let factorial = |n: u32| (1..=n).map(f64::from).product::<f64>();
    let mut values = vec![0.0; features];
    for (feature, into) in values.iter_mut().enumerate() {
        for others in (0..1_u32 << features).filter(|others| others >> feature & 1 == 0) {
            let size = others.count_ones();
            let weight = factorial(size) * factorial(features as u32 - size - 1) / factorial(features as u32);
            let with = value(tree, 0, row, others | 1 << feature);
            *into += weight * (with - value(tree, 0, row, others));
        }
    }
    values
}

/// Would catch: a feature on a path twice that counts as two, a cold branch weighed by the wrong share, weights off by one.
#[test]
fn contributions_are_the_shapley_values() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..150 {
        let features = 4;
        let mut tree = Vec::new();
        random_tree(&mut random, features, 6, &mut tree, 4096.0);
        let mut forest = Forest::default();
        add(&mut forest, &tree, features).unwrap();
        let row = random_row(&mut random, features);
        let mut found = vec![0.0; features];
        shap::contributions(&forest, &row, &mut found);
        let expected = shapley(&tree, &row);
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-9, "{found:?}, by definition {expected:?}, {row:?}\n{tree:?}");
        }
        let sum: f64 = found.iter().sum();
        assert!((sum + forest.expected() - forest.sum(&row)).abs() < 1e-9);
        assert!((forest.expected() - value(&tree, 0, &row, 0)).abs() < 1e-9);
    }
}

/// Would catch: NaN as a reason where no training row came, a division by the cover of an empty branch.
#[test]
fn branches_without_training_rows_count_for_nothing() {
    use crate::scoring::forest::Test;
    let test = |threshold| Test::AtMost { threshold, nan_right: false };
    let tree = [
        Source::Split { feature: 0, test: test(0.0), left: 1, right: 2, cover: 8.0 },
        Source::Leaf { value: 1.0, cover: 8.0 },
        Source::Leaf { value: 5.0, cover: 0.0 },
    ];
    let mut forest = Forest::default();
    add(&mut forest, &tree, 2).unwrap();
    for (x, expected) in [(-1.0, 0.0), (1.0, 4.0)] {
        let mut found = [0.0; 2];
        shap::contributions(&forest, &[x, 0.0], &mut found);
        assert_eq!(found, [expected, 0.0]);
    }
    assert!(forest.unexplained().is_none());
    let empty_split = [
        Source::Split { feature: 0, test: test(0.0), left: 1, right: 2, cover: 0.0 },
        Source::Leaf { value: 1.0, cover: 0.0 },
        Source::Leaf { value: 5.0, cover: 0.0 },
    ];
    add(&mut forest, &empty_split, 2).unwrap();
    assert!(forest.unexplained().is_some_and(|why| why.contains("tree 1")));
}
