//! Trees as one flat array: children of a node lie side by side, a leaf is its own child, node 0 is an empty leaf.

mod walk;

use super::error::Fault;

/// The node is a split; a leaf has no bit set.
const SPLIT: u8 = 1;
/// "No value" goes right.
const NAN_RIGHT: u8 = 2;
/// Zero counts as "no value" (LightGBM's `zero_as_missing`).
const ZERO_MISSING: u8 = 4;
/// `threshold` is the number of a set of categories.
const CATEGORY: u8 = 8;

/// Deeper trees are refused: no library grows them, and explaining one costs the square of its depth in memory.
pub const MOST_LEVELS: u32 = 512;
/// 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Of a split: values up to this go left. Of a leaf: infinity, which nothing is above.
    threshold: f64,
    /// The left child; the right one follows it. Of a leaf: the leaf itself.
    child: u32,
    feature: u16,
    bits: u8,
}

const EMPTY_LEAF: Node = Node { threshold: f64::INFINITY, child: 0, feature: 0, bits: 0 };

#[derive(Debug, Clone, Copy)]
struct Tree {
    root: u32,
    depth: u32,
}

/// How a split sends a value to its left or right child.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `x <= threshold` goes left; NaN as said.
    AtMost { threshold: f64, nan_right: bool },
    /// The same, but NaN and zero count as "no value" and go as said.
    AtMostZeroMissing { threshold: f64, missing_right: bool },
    /// Categories whose bit is set go left; all else, NaN included, goes right.
    Category { bits: Vec<u32> },
}

/// A node as a file has it; children by the file's numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Leaf { value: f64, cover: f64 },
    Split { feature: usize, test: Test, left: usize, right: usize, cover: f64 },
}

/// A sum of trees.
#[derive(Debug, Clone)]
pub struct Forest {
    nodes: Vec<Node>,
    trees: Vec<Tree>,
    /// What a leaf says; of a split 0.
    values: Vec<f64>,
    /// Training rows (or their weight) that reached each node.
    cover: Vec<f64>,
    /// Bitsets of categories.
    categories: Vec<Box<[u32]>>,
    /// Whether all splits are plain thresholds.
    plain: bool,
    /// Whether "no value" goes right somewhere.
    nan_right: bool,
    /// Why contributions cannot be computed.
    unexplained: Option<String>,
}

/// A child of a split, as an explanation sees it.
#[derive(Debug, Clone, Copy)]
pub struct Branch {
    pub node: u32,
    /// Share of the parent's training rows.
    pub share: f64,
}

/// A node, as an explanation sees it. `hot` is where the row goes.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Leaf(f64),
    Split { feature: usize, hot: Branch, cold: Branch },
}

impl Default for Forest {
    fn default() -> Self {
        let nodes = vec![EMPTY_LEAF];
        Self {
            nodes,
            trees: Vec::new(),
            values: vec![0.0],
            cover: vec![1.0],
            categories: Vec::new(),
            plain: true,
            nan_right: false,
            unexplained: None,
        }
    }
}

impl Forest {
    /// Adds the tree whose root is `root`, of `count` nodes in the file. Every node may be reached once at most.
    pub fn add(
        &mut self,
        (root, count): (usize, usize),
        features: usize,
        read: impl Fn(usize) -> Result<Source, Fault>,
    ) -> Result<(), Fault> {
        let number = self.trees.len();
        let place = |node: usize| format!("tree {number}, node {node}");
        let first = self.nodes.len();
        let mut seen = vec![false; count];
        // The file's number of each node that has a place and is not read yet, level by level.
        let (mut level, mut next, mut depth) = (vec![(root, first)], Vec::new(), 0);
        self.push()?;
        loop {
            for (source, target) in level.drain(..) {
                match seen.get_mut(source) {
                    None => {
                        return Err(Fault::damaged(place(source), format!("the tree has {count} nodes, none of this number")));
                    }
                    Some(true) => return Err(Fault::damaged(place(source), "the node is reached on two ways or from itself")),
                    Some(first_time) => *first_time = true,
                }
                match read(source)? {
                    Source::Leaf { value, cover } => {
                        if !value.is_finite() {
                            return Err(Fault::damaged(place(source), format!("the leaf's value is {value}")));
                        }
                        self.values[target] = value;
                        self.cover[target] = cover;
                    }
                    Source::Split { feature, test, left, right, cover } => {
                        if feature >= features {
                            let cause = format!("it splits on feature {feature}, the model has {features}");
                            return Err(Fault::damaged(place(source), cause));
                        }
                        let child = self.push()?;
                        self.push()?;
                        self.split(target, feature, test, child);
                        self.cover[target] = cover;
                        next.extend([(left, child), (right, child + 1)]);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            depth += 1;
            if depth > MOST_LEVELS {
                let cause = format!("tree {number} has more than {MOST_LEVELS} levels");
                return Err(Fault::unsupported("", cause, "train with a bound on the depth"));
            }
            std::mem::swap(&mut level, &mut next);
        }
        self.check_cover(first, number);
        self.trees.push(Tree { root: first as u32, depth });
        Ok(())
    }

    /// A new empty leaf, its own child.
    fn push(&mut self) -> Result<usize, Fault> {
        let at = self.nodes.len();
        let child = u32::try_from(at)
            .ok()
            .filter(|at| *at < u32::MAX)
            .ok_or_else(|| Fault::unsupported("", "the model has more than 4 billion nodes", "train a smaller one"))?;
        self.nodes.push(Node { child, ..EMPTY_LEAF });
        self.values.push(0.0);
        self.cover.push(0.0);
        Ok(at)
    }

    fn split(&mut self, target: usize, feature: usize, test: Test, child: usize) {
        let (threshold, bits) = match test {
            Test::AtMost { threshold, nan_right } => (threshold, if nan_right { NAN_RIGHT } else { 0 }),
            Test::AtMostZeroMissing { threshold, missing_right } => {
                (threshold, ZERO_MISSING | if missing_right { NAN_RIGHT } else { 0 })
            }
            Test::Category { bits } => {
                self.categories.push(bits.into());
                ((self.categories.len() - 1) as f64, CATEGORY)
            }
        };
        self.plain &= bits & (ZERO_MISSING | CATEGORY) == 0;
        self.nan_right |= bits & NAN_RIGHT != 0;
        // Both fit: `push` holds the nodes below 2^32, the readers hold the features below 2^16.
        self.nodes[target] = Node { threshold, child: child as u32, feature: feature as u16, bits: bits | SPLIT };
    }

    /// Explanations divide by the cover of splits.
    fn check_cover(&mut self, first: usize, tree: usize) {
        let usable = |at: usize| {
            let (node, cover) = (&self.nodes[at], self.cover[at]);
            cover.is_finite() && (if node.bits & SPLIT == 0 { cover >= 0.0 } else { cover > 0.0 })
        };
        if self.unexplained.is_none() && !(first..self.nodes.len()).all(usable) {
            self.unexplained = Some(format!("tree {tree} does not say how many training rows reached each node"));
        }
    }

    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Nodes of all trees, leaves included.
    pub fn nodes(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Levels of splits of the deepest tree.
    pub fn depth(&self) -> u32 {
        self.trees.iter().map(|tree| tree.depth).max().unwrap_or(0)
    }

    pub fn unexplained(&self) -> Option<&str> {
        self.unexplained.as_deref()
    }

    pub fn roots(&self) -> impl Iterator<Item = u32> + '_ {
        self.trees.iter().map(|tree| tree.root)
    }

    /// What an explanation needs of a node.
    pub fn look(&self, at: u32, row: &[f64]) -> Step {
        let node = &self.nodes[at as usize];
        if node.bits & SPLIT == 0 {
            return Step::Leaf(self.values[at as usize]);
        }
        let branch = |node: u32| Branch { node, share: self.cover[node as usize] / self.cover[at as usize] };
        let right = u32::from(self.goes_right(node, row));
        let (hot, cold) = (branch(node.child + right), branch(node.child + 1 - right));
        Step::Split { feature: usize::from(node.feature), hot, cold }
    }

    /// What the trees say of a row of which nothing is known: the mean of the leaves by cover.
    pub fn expected(&self) -> f64 {
        // Children lie behind their parents, so that one walk backwards knows them before it needs them.
        let mut mean = self.values.clone();
        for at in (1..self.nodes.len()).rev() {
            let node = &self.nodes[at];
            if node.bits & SPLIT != 0 {
                let (left, right) = (node.child as usize, node.child as usize + 1);
                mean[at] = (mean[left] * self.cover[left] + mean[right] * self.cover[right]) / self.cover[at];
            }
        }
        self.roots().map(|root| mean[root as usize]).sum()
    }
}
