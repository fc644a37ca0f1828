//! Word dropout: some tokens of a pass are taken for unknown ones.

use super::batches::Batch;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::HashSet;

/// Tokens that a pass takes for another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Blank {
    pub share: f32,
    pub with: u32,
    /// Tokens that stay, the special ones.
    pub spared: HashSet<u32>,
}

impl Blank {
    /// The same draw always takes the same places.
    pub fn blank(&self, batch: &mut Batch, draw: u64) {
        let mut rng = StdRng::seed_from_u64(draw.rotate_left(32));
        for id in &mut batch.ids {
            if rng.random::<f32>() < self.share && !self.spared.contains(id) {
                *id = self.with;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batches::{Example, Target};

    #[test]
    fn tokens_are_blanked_by_their_share_and_special_ones_stay() {
        let example = Example { ids: [vec![1], vec![9; 998], vec![2]].concat(), types: vec![], target: Target::Label(0) };
        let blank = Blank { share: 0.2, with: 5, spared: [1, 2].into() };
        let of = |draw: u64| {
            let mut batch = Batch::of(&[&example]);
            blank.blank(&mut batch, draw);
            batch.ids
        };
        let ids = of(7);
        assert_eq!((ids[0], ids[999], &ids), (1, 2, &of(7)));
        assert!((150..250).contains(&ids.iter().filter(|id| **id == 5).count()));
        assert_ne!(ids, of(8));
    }
}
