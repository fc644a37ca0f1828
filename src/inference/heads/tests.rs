//! Heads alone, on rows of made-up numbers.

use super::*;
use crate::inference::network::Scratch;
use crate::inference::words::WordTable;
use std::sync::LazyLock;

/// Heads with products of their own ask nothing of a network.
struct NoNetwork;

impl Network for NoNetwork {
    fn hidden(&self) -> usize {
        INPUTS
    }

    fn max_tokens(&self) -> usize {
        1
    }

    fn vocabulary(&self) -> usize {
        0
    }

    fn words(&self) -> &WordTable {
        static NONE: LazyLock<WordTable> = LazyLock::new(|| WordTable::of(Vec::new(), INPUTS));
        &NONE
    }

    fn encode(&self, _: &[Sequence<'_>], _: &mut Scratch) -> Result<(), InferenceError> {
        Ok(())
    }
}

const INPUTS: usize = 700;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 % 1009) as f32 - 504.0) * 1e-3).collect()
}

fn linear(outputs: usize) -> Linear {
    Linear::join(&[(numbers(INPUTS * outputs), numbers(outputs))], INPUTS)
}

/// Would catch: a score that depends on how many others are asked for at the same time.
#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let dense = || vec![Dense { linear: linear(INPUTS), activation: Activation::Tanh, norm: None }];
    for outputs in [1, 3, 70] {
        let head = Head { rows: Rows::First, dense: dense(), out: Out::Linear(linear(outputs)) };
        let x = numbers(130 * INPUTS);
        let alone: Vec<Vec<f32>> =
            x.chunks(INPUTS).map(|row| head.finish(&NoNetwork, row.to_vec(), &[1]).swap_remove(0)).collect();
        for rows in [0, 2, 3, 7, 64, 65, 130] {
            let together = head.finish(&NoNetwork, x[..rows * INPUTS].to_vec(), &vec![1; rows]);
            assert!(together == alone[..rows], "{rows} rows, {outputs} outputs");
        }
    }
}
