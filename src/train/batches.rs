//! Batches of texts of exactly one length: nothing is padded, no mask is needed.

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::collections::BTreeMap;

/// A text as tokens, and its label.
#[derive(Debug, Clone)]
pub struct Example {
    pub ids: Vec<u32>,
    pub label: u32,
}

/// Indices into `examples`, in batches of one length each, in an order drawn with `seed`.
pub fn batches(examples: &[Example], size: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, example) in examples.iter().enumerate() {
        by_length.entry(example.ids.len()).or_default().push(i);
    }
    let mut all = Vec::new();
    for mut bucket in by_length.into_values() {
        bucket.shuffle(&mut rng);
        all.extend(bucket.chunks(size.max(1)).map(<[usize]>::to_vec));
    }
    all.shuffle(&mut rng);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_once_and_one_length_a_batch() {
        let examples: Vec<Example> = (0..97).map(|i| Example { ids: vec![1; 3 + i % 5], label: 0 }).collect();
        let all = batches(&examples, 8, 1);
        let mut seen: Vec<usize> = all.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..97).collect::<Vec<_>>());
        assert!(all.iter().all(|b| b.iter().all(|&i| examples[i].ids.len() == examples[b[0]].ids.len())));
    }
}
