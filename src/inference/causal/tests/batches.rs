//! Blocks: admission, sharing, and what cannot be written.

use super::support::{Run, close, expected, load};
use crate::inference::InferenceError;
use crate::inference::causal::{BLOCK, Blocks, Scratch, Sequence, Step};

#[test]
fn blocks_are_reserved_and_come_back() {
    let model = load("llama", "config.json");
    let mut blocks = Blocks::new(model.spec(), 4);
    assert_eq!((blocks.free(), blocks.capacity()), (4, 4));
    let one = blocks.allocate(BLOCK + 1).unwrap();
    assert_eq!((blocks.free(), one.room(), one.len()), (2, 2 * BLOCK, 0));
    assert!(blocks.allocate(2 * BLOCK + 1).is_none(), "three blocks where two are free");
    let two = blocks.allocate(2 * BLOCK).unwrap();
    assert_eq!(blocks.free(), 0);
    blocks.release(one);
    blocks.release(two);
    assert_eq!(blocks.free(), 4);
    // Two layers, keys and values, two heads of eight numbers of four bytes.
    assert_eq!(Blocks::block_bytes(model.spec()), 2 * 2 * 2 * 8 * 4 * BLOCK);
}

/// Would catch: hidden states of an earlier call that are handed out for none.
#[test]
fn no_text_has_no_numbers() {
    let model = load("llama", "config.json");
    let (mut blocks, mut scratch) = (Blocks::new(model.spec(), 1), Scratch::default());
    assert_eq!(model.encode(&[&[5, 6]], &mut scratch).unwrap().len(), 2 * model.hidden());
    assert!(model.encode(&[], &mut scratch).unwrap().is_empty());
    assert!(!model.encode(&[&[5]], &mut scratch).unwrap().is_empty());
    assert!(model.forward(&mut [], &mut blocks, &mut scratch).unwrap().is_empty());
}

/// Would catch: a fork that writes into what it shares, or reads what the other writes.
#[test]
fn a_shared_beginning_is_computed_once_and_never_written() {
    let model = load("qwen3", "config.json");
    let text = &expected("qwen3", &model)[2];
    let vocabulary = model.vocabulary();
    for shared in [1, BLOCK - 1, BLOCK, BLOCK + 1] {
        let mut run = Run::new(&model, 8);
        let mut prefix = run.blocks.allocate(shared).unwrap();
        run.one(&mut prefix, &text.ids[..shared], false);
        let held = Blocks::needed(shared);
        let fork = |run: &mut Run<'_>| run.blocks.fork(&prefix, shared, text.ids.len()).unwrap();
        let (mut one, mut two) = (fork(&mut run), fork(&mut run));
        let each = Blocks::needed_to_fork(shared, text.ids.len());
        assert_eq!(each, Blocks::needed(text.ids.len()) - shared / BLOCK);
        assert_eq!(run.blocks.free(), 8 - held - 2 * each);
        let mut other: Vec<u32> = text.ids[shared..].to_vec();
        other.iter_mut().for_each(|id| *id = 95 - *id);
        run.one(&mut two, &other, false);
        let logits = run.one(&mut one, &text.ids[shared..], true);
        close(&logits, &text.logits[shared * vocabulary..], 1e-4, &format!("{shared} shared"));
        // What shares goes on when the first is gone.
        run.blocks.release(prefix);
        let mut three = run.blocks.fork(&one, text.ids.len() - 1, text.ids.len()).unwrap();
        run.blocks.release(one);
        run.blocks.release(two);
        let last = run.one(&mut three, &text.ids[text.ids.len() - 1..], false);
        close(&last, &text.logits[text.logits.len() - vocabulary..], 1e-4, "a fork of a fork");
        run.blocks.release(three);
        assert_eq!(run.blocks.free(), 8);
    }
}

fn refused(result: Result<&mut [f32], InferenceError>, part: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, InferenceError::Poison(m) if m.contains(part)), "{error}");
}

#[test]
fn what_cannot_be_run_is_an_error_and_moves_nobody() {
    let model = load("llama", "config.json");
    let mut run = Run::new(&model, 8);
    let mut sequence = run.blocks.allocate(BLOCK).unwrap();
    let mut good = run.blocks.allocate(BLOCK).unwrap();
    let mut try_ids = |ids: &[u32], sequence: &mut Sequence, part: &str| {
        let mut steps = [Step { sequence: &mut good, ids: &[5], all: false }, Step { sequence, ids, all: false }];
        refused(model.forward(&mut steps, &mut run.blocks, &mut run.scratch), part);
        assert_eq!(good.len(), 0);
    };
    try_ids(&[], &mut sequence, "0 tokens");
    try_ids(&[4, 96], &mut sequence, "token id 96");
    try_ids(&[u32::MAX], &mut sequence, "token id 4294967295");
    try_ids(&[7; 17], &mut sequence, "blocks for 16");
    let mut other = Blocks::new(model.spec(), 2);
    let mut foreign = other.allocate(4).unwrap();
    try_ids(&[4], &mut foreign, "another network");
    let mut long = other.allocate(4).unwrap();
    refused(
        model.forward(&mut [Step { sequence: &mut long, ids: &[3; 65], all: false }], &mut other, &mut run.scratch),
        "blocks for",
    );
    let mut long = run.blocks.allocate(80).unwrap();
    refused(
        model.forward(&mut [Step { sequence: &mut long, ids: &[3; 65], all: false }], &mut run.blocks, &mut run.scratch),
        "1 to 64",
    );
    assert!(model.encode(&[&[3], &[]], &mut Scratch::default()).is_err());
    assert!(model.logits(0..9, &mut run.scratch).is_err());
}
