//! Whose turn it is: which task each batch is of.

use crate::train::batches::batches;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// The examples of one task, pass after pass, each example once a pass.
struct Stream<'a> {
    lengths: &'a [usize],
    size: usize,
    seed: u64,
    /// Passes begun.
    passes: u64,
    left: Vec<Vec<usize>>,
}

impl<'a> Stream<'a> {
    fn new(lengths: &'a [usize], size: usize, seed: u64) -> Self {
        Self { lengths, size, seed, passes: 0, left: Vec::new() }
    }

    /// Its next batch; a new pass in a new order where the last one has ended.
    fn next(&mut self) -> Vec<usize> {
        if self.left.is_empty() {
            self.left = batches(self.lengths, self.size, self.seed.wrapping_add(self.passes));
            self.passes += 1;
        }
        self.left.pop().unwrap_or_default()
    }
}

/// The batches of epoch `epoch`, each with the number of its task; `lengths` are those of each task's examples, at least one a task. There
/// are as many as all tasks have in one pass. Each is of a task that is drawn in proportion to the square root of its number of examples,
/// so that a large task does not drown a small one; of the small one a pass may end, and the next begin, while the large one's goes on.
pub fn turns(lengths: &[Vec<usize>], size: usize, seed: u64, epoch: usize) -> Vec<(usize, Vec<usize>)> {
    let steps: usize = lengths.iter().map(|of| batches(of, size, seed).len()).sum();
    let weights: Vec<f64> = lengths.iter().map(|of| (of.len() as f64).sqrt()).collect();
    let whole: f64 = weights.iter().sum();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut streams: Vec<Stream<'_>> = lengths.iter().map(|of| Stream::new(of, size, rng.random())).collect();
    let mut draw = || {
        let mut left = rng.random::<f64>() * whole;
        let mut passed = |weight: &f64| {
            left -= weight;
            left >= 0.0
        };
        // A rounding error must not lead beyond the last.
        weights.iter().take_while(|weight| passed(weight)).count().min(weights.len().saturating_sub(1))
    };
    // Streams go on from epoch to epoch, so what has gone before is gone through again.
    let mut turn = || {
        let task = draw();
        (task, streams[task].next())
    };
    (0..epoch * steps).for_each(|_| drop(turn()));
    (0..steps).map(|_| turn()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(lengths: &[Vec<usize>], count: usize, seed: u64) -> Vec<(usize, Vec<usize>)> {
        (0..count).flat_map(|epoch| turns(lengths, 4, seed, epoch)).collect()
    }

    /// Would catch: tasks drawn by their rows or all alike, another order each time, one order for all seeds.
    #[test]
    fn a_task_has_its_turn_by_the_root_of_its_rows() {
        let lengths = [vec![5; 40], vec![5; 360]];
        let all = epochs(&lengths, 20, 3);
        assert_eq!(all.len(), 20 * (10 + 90));
        // Roots of 40 and 360 are one to three; three standard deviations are 58.
        let first = all.iter().filter(|(task, _)| *task == 0).count();
        assert!((440..560).contains(&first), "{first} of 2000");
        assert_eq!(all, epochs(&lengths, 20, 3));
        assert_ne!(all, epochs(&lengths, 20, 4));
        assert!(turns(&[vec![5; 7]], 4, 1, 0).iter().all(|(task, _)| *task == 0));
    }

    /// Would catch: passes that begin anew with each epoch, so that rows of a large task are never seen.
    #[test]
    fn each_pass_over_a_task_has_each_of_its_rows_once() {
        let lengths = [(0..24).map(|i| 3 + i % 2).collect::<Vec<_>>(), vec![7; 400]];
        let all = epochs(&lengths, 4, 5);
        for (task, of) in lengths.iter().enumerate() {
            let seen: Vec<usize> = all.iter().filter(|turn| turn.0 == task).flat_map(|turn| turn.1.clone()).collect();
            assert!(seen.len() > of.len(), "task {task} saw {} of {}", seen.len(), of.len());
            for pass in seen.chunks_exact(of.len()) {
                let mut pass = pass.to_vec();
                pass.sort_unstable();
                assert_eq!(pass, (0..of.len()).collect::<Vec<_>>(), "task {task}");
            }
        }
    }
}
