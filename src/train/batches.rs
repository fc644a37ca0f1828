//! Batches of texts of one length, or of nearly one where there are too few for that.

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is right about an example.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    Label(u32),
    /// The labels that hold.
    Labels(Vec<u32>),
    /// A number, by the [`Scale`](super::scale::Scale) of those to learn from.
    Score(f32),
    /// Of each token; `None` where nothing is asked.
    Tags(Vec<Option<u32>>),
    /// The first and the last token of the answer.
    Span(u32, u32),
    /// Nobody has said; a teacher is asked.
    Unknown,
}

/// A text as tokens, special ones included, and what is right about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub ids: Vec<u32>,
    /// The segment of each token; empty where all are 0.
    pub types: Vec<u32>,
    pub target: Target,
}

/// Texts end to end, each padded to the same length.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub texts: usize,
    /// Tokens of each, padding included.
    pub length: usize,
    pub ids: Vec<u32>,
    /// `None` where all are 0.
    pub types: Option<Vec<u32>>,
    /// Tokens of each without padding; `None` where there is none.
    pub lengths: Option<Arc<[usize]>>,
}

impl Batch {
    pub fn of(examples: &[&Example]) -> Self {
        let length = examples.iter().map(|example| example.ids.len()).max().unwrap_or(0);
        let padded = |values: &[u32]| values.iter().copied().chain(std::iter::repeat(0)).take(length).collect::<Vec<u32>>();
        let typed = examples.iter().any(|example| !example.types.is_empty());
        let uneven = examples.iter().any(|example| example.ids.len() < length);
        Self {
            texts: examples.len(),
            length,
            ids: examples.iter().flat_map(|example| padded(&example.ids)).collect(),
            types: typed.then(|| examples.iter().flat_map(|example| padded(&example.types)).collect()),
            lengths: uneven.then(|| examples.iter().map(|example| example.ids.len()).collect()),
        }
    }

    /// Tokens of a text without padding.
    pub fn own(&self, text: usize) -> usize {
        self.lengths.as_ref().map_or(self.length, |lengths| lengths[text])
    }
}

/// How much longer than the shortest text of its batch a text may be, where equal lengths make too small batches: a fifth, and two
/// tokens.
fn longest_beside(shortest: usize) -> usize {
    shortest + shortest / 5 + 2
}

/// Indices of texts of these lengths, in batches, in an order drawn with `seed`. Texts of a batch have one length; where that would
/// leave batches half empty, nearly one.
pub fn batches(lengths: &[usize], size: usize, seed: u64) -> Vec<Vec<usize>> {
    let (mut rng, size) = (StdRng::seed_from_u64(seed), size.max(1));
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, length) in lengths.iter().enumerate() {
        by_length.entry(*length).or_default().push(i);
    }
    let alike: usize = by_length.values().map(|bucket| bucket.len().div_ceil(size)).sum();
    let needed = lengths.len().div_ceil(size);
    let buckets = if alike > 2 * needed { joined(by_length, size) } else { by_length.into_values().collect() };
    let mut all = Vec::new();
    for mut bucket in buckets {
        bucket.shuffle(&mut rng);
        all.extend(bucket.chunks(size).map(<[usize]>::to_vec));
    }
    all.shuffle(&mut rng);
    all
}

/// Neighbouring lengths together until there are enough for a batch.
fn joined(by_length: BTreeMap<usize, Vec<usize>>, size: usize) -> Vec<Vec<usize>> {
    let mut buckets: Vec<(usize, Vec<usize>)> = Vec::new();
    for (length, texts) in by_length {
        match buckets.last_mut() {
            Some((shortest, bucket)) if bucket.len() < size && length <= longest_beside(*shortest) => bucket.extend(texts),
            _ => buckets.push((length, texts)),
        }
    }
    buckets.into_iter().map(|(_, bucket)| bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once_each(all: &[Vec<usize>], count: usize) {
        let mut seen: Vec<usize> = all.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn every_example_once_and_one_length_a_batch() {
        let lengths: Vec<usize> = (0..97).map(|i| 3 + i % 5).collect();
        let all = batches(&lengths, 8, 1);
        once_each(&all, 97);
        assert!(all.iter().all(|batch| batch.iter().all(|&i| lengths[i] == lengths[batch[0]])));
        assert_ne!(all, batches(&lengths, 8, 2));
    }

    /// Would catch: as many steps as texts in a small set of long ones.
    #[test]
    fn a_small_set_of_many_lengths_has_full_batches_with_little_padding() {
        let lengths: Vec<usize> = (0..60).map(|i| 20 + i).collect();
        let all = batches(&lengths, 8, 1);
        once_each(&all, 60);
        assert!(all.len() <= 14, "{all:?}");
        for batch in &all {
            let of = |pick: fn(usize, usize) -> usize| batch.iter().map(|&i| lengths[i]).reduce(pick).unwrap();
            assert!(of(usize::max) <= longest_beside(of(usize::min)), "{batch:?}");
        }
    }

    #[test]
    fn shorter_texts_are_padded() {
        let example = |ids: &[u32], types: &[u32]| Example { ids: ids.into(), types: types.into(), target: Target::Label(0) };
        let (long, short) = (example(&[1, 5, 6, 2], &[0, 0, 1, 1]), example(&[1, 2], &[]));
        let batch = Batch::of(&[&long, &short]);
        assert_eq!((batch.texts, batch.length, batch.ids.as_slice()), (2, 4, &[1, 5, 6, 2, 1, 2, 0, 0][..]));
        assert_eq!((batch.types.as_deref(), batch.own(1)), (Some(&[0, 0, 1, 1, 0, 0, 0, 0][..]), 2));
        assert_eq!(Batch::of(&[&short, &short]).lengths, None);
    }
}
