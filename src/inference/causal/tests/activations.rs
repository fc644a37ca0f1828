//! The buffers of a pass against what is told of them before.

use super::support::{FAMILIES, load};
use crate::inference::causal::{Blocks, Scratch, Step};

/// Would catch: a figure that passes exceed, one that is far above what they take.
#[test]
fn activations_are_what_was_told_before() {
    let (tokens, longest) = (96, 48);
    for name in FAMILIES {
        let model = load(name, "config.json");
        let longest = model.max_positions().min(longest);
        let (mut blocks, mut scratch) = (Blocks::new(model.spec(), 40), Scratch::default());
        let ids: Vec<u32> = (0..longest as u32).map(|i| 5 + i % 40).collect();
        // Texts of all lengths: each a prompt, then, behind it, pieces and single tokens.
        for (count, len) in [(1, 1), (tokens / longest, longest), (tokens / 2, 2), (1, longest), (tokens / 8, 8)] {
            for mut cuts in [vec![0, len], vec![0, len / 2, len - 1, len]] {
                cuts.dedup();
                let mut texts: Vec<_> = (0..count).filter_map(|_| blocks.allocate(len)).collect();
                for piece in cuts.windows(2) {
                    let ids = &ids[piece[0]..piece[1]];
                    let mut steps: Vec<_> = texts.iter_mut().map(|sequence| Step { sequence, ids, all: false }).collect();
                    let rows = model.advance(&mut steps, &mut blocks, &mut scratch).unwrap();
                    model.logits(0..rows, &mut scratch).unwrap();
                }
                texts.into_iter().for_each(|text| blocks.release(text));
            }
        }
        let mut whole = blocks.allocate(longest).unwrap();
        model.advance(&mut [Step { sequence: &mut whole, ids: &ids, all: true }], &mut blocks, &mut scratch).unwrap();
        let (told, counted) = (model.activations(tokens, 40, longest), scratch.bytes());
        assert!(counted <= told && counted * 2 > told, "{name}: told {told}, counted {counted}");
    }
}
