//! The way of rows down the trees. Several ways are walked side by side, so that their memory accesses overlap: one row through many
//! trees, or many rows through one tree, whose nodes then stay near. A row's leaves are added in the order of the trees either way.

use super::{CATEGORY, Forest, NAN_RIGHT, Node, SPLIT, Tree, ZERO_MISSING};

/// Ways that are walked side by side.
const LANES: usize = 8;
/// Levels after which a walk looks whether all lanes have arrived.
const UNCHECKED_LEVELS: u32 = 7;
/// Numbers up to this are zero to LightGBM: its constant is this `f32`.
const ZERO: f64 = 1e-35_f32 as f64;

impl Forest {
    /// The sum of the leaves that the row reaches, in the order of the trees. `row` has as many numbers as the model has features.
    pub fn sum(&self, row: &[f64]) -> f64 {
        if !self.plain {
            return self.trees.iter().map(|tree| self.leaf(tree.root, row)).sum();
        }
        let mut sum = 0.0;
        for trees in self.trees.chunks(LANES) {
            let (mut at, mut depth) = ([0_u32; LANES], 0);
            for (at, tree) in at.iter_mut().zip(trees) {
                *at = tree.root;
                depth = depth.max(tree.depth);
            }
            let at = if self.is_simple(row) {
                down(at, depth, |_, at| step(&self.nodes, at, row))
            } else {
                down(at, depth, |_, at| self.step_with_nan(at, row))
            };
            for at in &at[..trees.len()] {
                sum += self.values[*at as usize];
            }
        }
        sum
    }

    /// The [sums](Self::sum) of rows that lie one after the other.
    pub fn sums(&self, rows: &[f64], sums: &mut [f64]) {
        let width = (rows.len() / sums.len().max(1)).max(1);
        if !(self.plain && self.is_simple(rows)) {
            rows.chunks_exact(width).zip(sums).for_each(|(row, sum)| *sum = self.sum(row));
            return;
        }
        sums.fill(0.0);
        for tree in &self.trees {
            for (rows, sums) in rows.chunks(width * LANES).zip(sums.chunks_mut(LANES)) {
                for (sum, at) in sums.iter_mut().zip(self.leaves(tree, rows, width)) {
                    *sum += self.values[at as usize];
                }
            }
        }
    }

    /// The leaves of a tree that up to [`LANES`] rows reach. Lanes without a row walk with the first one.
    fn leaves(&self, tree: &Tree, rows: &[f64], width: usize) -> [u32; LANES] {
        let lanes: [&[f64]; LANES] =
            std::array::from_fn(|lane| rows.get(lane * width..(lane + 1) * width).unwrap_or(&rows[..width]));
        down([tree.root; LANES], tree.depth, |lane, at| step(&self.nodes, at, lanes[lane]))
    }

    /// Whether comparing alone says where these values go: NaN is above no threshold.
    fn is_simple(&self, values: &[f64]) -> bool {
        !self.nan_right || !values.iter().any(|x| x.is_nan())
    }

    /// [`step`] where "no value" may go right.
    #[inline(always)]
    fn step_with_nan(&self, at: u32, row: &[f64]) -> u32 {
        let node = &self.nodes[at as usize];
        let x = row[usize::from(node.feature)];
        let right = u8::from(x > node.threshold) | (u8::from(x.is_nan()) & (node.bits >> 1));
        node.child + u32::from(right & node.bits & SPLIT)
    }

    fn leaf(&self, root: u32, row: &[f64]) -> f64 {
        let mut at = root;
        loop {
            let node = &self.nodes[at as usize];
            if node.bits & SPLIT == 0 {
                return self.values[at as usize];
            }
            at = node.child + u32::from(self.goes_right(node, row));
        }
    }

    pub(super) fn goes_right(&self, node: &Node, row: &[f64]) -> bool {
        let x = row[usize::from(node.feature)];
        if node.bits & CATEGORY != 0 {
            return !self.holds(node.threshold as usize, x);
        }
        if x.is_nan() || (node.bits & ZERO_MISSING != 0 && x.abs() <= ZERO) {
            return node.bits & NAN_RIGHT != 0;
        }
        x > node.threshold
    }

    /// Whether the set holds the category `x`, its fraction cut off.
    fn holds(&self, set: usize, x: f64) -> bool {
        if x.is_nan() || x <= -1.0 {
            return false;
        }
        let category = x as usize;
        self.categories[set].get(category / 32).is_some_and(|word| word >> (category % 32) & 1 == 1)
    }
}

/// The child to which the row goes; of a leaf the leaf. Without branches: what a value is cannot be predicted.
#[inline(always)]
fn step(nodes: &[Node], at: u32, row: &[f64]) -> u32 {
    let node = &nodes[at as usize];
    node.child + u32::from(row[usize::from(node.feature)] > node.threshold)
}

/// Walks all lanes until each has arrived at a leaf.
#[inline(always)]
fn down(mut at: [u32; LANES], depth: u32, step: impl Fn(usize, u32) -> u32) -> [u32; LANES] {
    for level in 0..depth {
        let before = at;
        for (lane, at) in at.iter_mut().enumerate() {
            *at = step(lane, *at);
        }
        if level >= UNCHECKED_LEVELS && at == before {
            break;
        }
    }
    at
}
