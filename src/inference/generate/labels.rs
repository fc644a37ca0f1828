//! Output that is one of a list of labels: a tree over their token ids.

use super::guide::Guide;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Default)]
struct Node {
    next: BTreeMap<u32, usize>,
    label: Option<usize>,
}

/// Labels as a tree.
#[derive(Debug)]
pub struct Labels {
    names: Vec<String>,
    nodes: Vec<Node>,
    longest: usize,
}

impl Labels {
    /// From labels with their ids. Where one label's ids begin another's, a token must end the text.
    pub fn new(labels: Vec<(String, Vec<u32>)>, has_ends: bool) -> Result<Self, String> {
        let mut all = Self { names: Vec::new(), nodes: vec![Node::default()], longest: 0 };
        for (name, ids) in labels {
            if ids.is_empty() {
                return Err(format!("the label {name:?} has no tokens"));
            }
            all.longest = all.longest.max(ids.len());
            let mut at = 0;
            for id in ids {
                let fresh = all.nodes.len();
                at = *all.nodes[at].next.entry(id).or_insert(fresh);
                if at == fresh {
                    all.nodes.push(Node::default());
                }
            }
            if let Some(other) = all.nodes[at].label {
                return Err(format!("the labels {:?} and {name:?} are the same to the model", all.names[other]));
            }
            all.nodes[at].label = Some(all.names.len());
            all.names.push(name);
        }
        let inner = all.nodes.iter().find_map(|node| node.label.filter(|_| !node.next.is_empty()));
        match inner {
            _ if all.names.is_empty() => Err("there are no labels".into()),
            Some(label) if !has_ends => {
                Err(format!("another label begins with {:?}, and the model has no token that ends a text", all.names[label]))
            }
            _ => Ok(all),
        }
    }

    /// Tokens of the longest label.
    pub fn longest(&self) -> usize {
        self.longest
    }
}

/// One text on its way down the tree.
pub struct LabelGuide {
    labels: Arc<Labels>,
    at: usize,
}

impl LabelGuide {
    pub fn new(labels: Arc<Labels>) -> Self {
        Self { labels, at: 0 }
    }

    fn node(&self) -> &Node {
        &self.labels.nodes[self.at]
    }
}

impl Guide for LabelGuide {
    fn mask(&mut self, logits: &mut [f32], _: usize) {
        let next = &self.node().next;
        for (id, logit) in logits.iter_mut().enumerate() {
            if !u32::try_from(id).is_ok_and(|id| next.contains_key(&id)) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    fn may_end(&self) -> bool {
        self.node().label.is_some()
    }

    fn advance(&mut self, id: u32) -> bool {
        if let Some(next) = self.node().next.get(&id) {
            self.at = *next;
        }
        !self.node().next.is_empty()
    }

    fn value(&self) -> Option<String> {
        self.node().label.map(|label| self.labels.names[label].clone())
    }
}
