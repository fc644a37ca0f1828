//! Exact TreeSHAP: the Shapley values of the features in the game that the covers of the trees define ("path dependent").
//!
//! Lundberg, Erion and Lee, "Consistent individualized feature attribution for tree ensembles", algorithm 2: one walk over each tree
//! carries, for all subsets of the features on the path at once, the share of them in which a leaf is reached.

use super::forest::{Branch, Forest, Step};

/// A feature on the path from the root.
#[derive(Debug, Clone, Copy, Default)]
struct Element {
    feature: usize,
    /// Share of the training rows that go this way, over all splits on the feature.
    zero: f64,
    /// 1 when the row itself goes this way, else 0.
    one: f64,
    /// Weight of the subsets of so many features.
    weight: f64,
}

/// Adds the contributions of all trees to `into`. With the forest's expected value they sum to its value for the row.
pub fn contributions(forest: &Forest, row: &[f64], into: &mut [f64]) {
    let levels = forest.depth() as usize + 2;
    // Each level of the walk has its own copy of the path, one longer than that above it.
    let mut paths = vec![Element::default(); levels * (levels + 1) / 2];
    let mut walk = Walk { forest, row, into };
    for root in forest.roots() {
        let start = Arrival { node: root, zero: 1.0, one: 1.0, feature: usize::MAX };
        walk.enter(start, 0, &mut paths);
    }
}

struct Walk<'a> {
    forest: &'a Forest,
    row: &'a [f64],
    into: &'a mut [f64],
}

/// A node, and the split through which it was reached.
#[derive(Clone, Copy)]
struct Arrival {
    node: u32,
    zero: f64,
    one: f64,
    feature: usize,
}

impl Walk<'_> {
    /// `paths` begins with the `depth` elements above; the room behind is for this node and those below. The forest bounds the
    /// depth of the recursion.
    fn enter(&mut self, arrival: Arrival, depth: usize, paths: &mut [Element]) {
        let (path, rest) = paths.split_at_mut(depth + 1);
        extend(path, depth, arrival);
        let (feature, hot, cold) = match self.forest.look(arrival.node, self.row) {
            Step::Leaf(value) => return self.leaf(path, depth, value),
            Step::Split { feature, hot, cold } => (feature, hot, cold),
        };
        // A feature that was split on before is one player: its element moves to the end.
        let (mut zero, mut one, mut length) = (1.0, 1.0, depth + 1);
        if let Some(index) = (1..=depth).find(|index| path[*index].feature == feature) {
            (zero, one) = (path[index].zero, path[index].one);
            unwind(path, depth, index);
            length = depth;
        }
        let mut go = |branch: Branch, one: f64| {
            let below = Arrival { node: branch.node, zero: zero * branch.share, one, feature };
            // Neither the row nor any training row comes this way: nothing below counts.
            if below.zero != 0.0 || below.one != 0.0 {
                rest[..length].copy_from_slice(&path[..length]);
                self.enter(below, length, rest);
            }
        };
        go(hot, one);
        go(cold, 0.0);
    }

    fn leaf(&mut self, path: &[Element], depth: usize, value: f64) {
        for (index, element) in path.iter().enumerate().skip(1) {
            self.into[element.feature] += unwound(path, depth, index) * (element.one - element.zero) * value;
        }
    }
}

fn extend(path: &mut [Element], depth: usize, arrival: Arrival) {
    let Arrival { zero, one, feature, .. } = arrival;
    path[depth] = Element { feature, zero, one, weight: if depth == 0 { 1.0 } else { 0.0 } };
    let players = (depth + 1) as f64;
    for i in (0..depth).rev() {
        path[i + 1].weight += one * path[i].weight * (i + 1) as f64 / players;
        path[i].weight *= zero * (depth - i) as f64 / players;
    }
}

/// Takes an element out again, as if it had never been added.
fn unwind(path: &mut [Element], depth: usize, index: usize) {
    let Element { zero, one, .. } = path[index];
    let players = (depth + 1) as f64;
    let mut next = path[depth].weight;
    for i in (0..depth).rev() {
        if one != 0.0 {
            let before = path[i].weight;
            path[i].weight = next * players / ((i + 1) as f64 * one);
            next = before - path[i].weight * zero * (depth - i) as f64 / players;
        } else {
            path[i].weight *= players / (zero * (depth - i) as f64);
        }
    }
    for i in index..depth {
        let Element { feature, zero, one, .. } = path[i + 1];
        path[i] = Element { feature, zero, one, weight: path[i].weight };
    }
}

/// The sum of the weights that `unwind` would leave.
fn unwound(path: &[Element], depth: usize, index: usize) -> f64 {
    let Element { zero, one, .. } = path[index];
    let players = (depth + 1) as f64;
    let (mut next, mut total) = (path[depth].weight, 0.0);
    for i in (0..depth).rev() {
        if one != 0.0 {
            let weight = next * players / ((i + 1) as f64 * one);
            total += weight;
            next = path[i].weight - weight * zero * (depth - i) as f64 / players;
        } else {
            total += path[i].weight * players / (zero * (depth - i) as f64);
        }
    }
    total
}
