//! Every family against transformers: config.json of both versions, at once and token by token, alone and among others.

use super::support::{FAMILIES, Run, close, config, expected, folder, load};
use crate::inference::Weights;
use crate::inference::causal::{Causal, Scratch, Step};
use crate::inference::parity::{self, off};

#[test]
fn logits_and_hidden_states_are_those_of_transformers() {
    for name in FAMILIES {
        for file in ["config.json", "config-4.json"] {
            let model = load(name, file);
            let mut run = Run::new(&model, 16);
            for text in &expected(name, &model) {
                let hidden = model.encode(&[&text.ids], &mut run.scratch).unwrap().to_vec();
                parity::seen("causal", name, "vectors of tokens", off(&hidden, &text.hidden));
                let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
                let at_once = run.one(&mut sequence, &text.ids, true);
                parity::seen("causal", name, "logits, at once", off(&at_once, &text.logits));
                run.blocks.release(sequence);
                let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
                let one_by_one: Vec<f32> = text.ids.iter().flat_map(|id| run.one(&mut sequence, &[*id], false)).collect();
                parity::seen("causal", name, "logits, token by token", off(&one_by_one, &text.logits));
                run.blocks.release(sequence);
            }
            assert_eq!(run.blocks.free(), 16);
        }
    }
}

/// A text that comes in pieces: one token, many after cached ones (which are read through products), and the rest.
#[test]
fn texts_may_come_in_pieces() {
    for name in FAMILIES {
        let model = load(name, "config.json");
        let text = &expected(name, &model)[2];
        let mut run = Run::new(&model, 2);
        for cuts in [[1, 12], [5, 20], [10, 11]] {
            let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
            let mut logits = Vec::new();
            for (from, to) in [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], text.ids.len())] {
                logits.extend(run.one(&mut sequence, &text.ids[from..to], true));
            }
            close(&logits, &text.logits, 1e-4, &format!("{name}, cut at {cuts:?}"));
            run.blocks.release(sequence);
        }
    }
}

#[test]
fn the_32_greedy_tokens_are_those_of_transformers() {
    for name in FAMILIES {
        let model = load(name, "config.json");
        let expected = expected(name, &model);
        let texts: Vec<&[u32]> = expected.iter().map(|text| text.ids.as_slice()).collect();
        let mut run = Run::new(&model, 16);
        for ((together, _), text) in run.greedy(&texts, 32).iter().zip(&expected) {
            assert_eq!(together, &text.greedy, "{name} in one batch");
        }
        for (text, expected) in texts.iter().zip(&expected) {
            assert_eq!(run.greedy(&[text], 32)[0].0, expected.greedy, "{name} alone");
        }
        parity::equal("causal", name, "32 greedy tokens, alone and in one batch");
    }
}

/// Prefills beside decodes, and texts encoded together.
#[test]
fn a_sequence_does_not_see_its_batch_mates() {
    for name in FAMILIES {
        let model = load(name, "config.json");
        let expected = expected(name, &model);
        let mut run = Run::new(&model, 16);
        let mut sequences: Vec<_> = expected.iter().map(|text| run.blocks.allocate(text.ids.len()).unwrap()).collect();
        // The second has all but its last id cached, the third its first five.
        run.one(&mut sequences[1], &expected[1].ids[..6], false);
        run.one(&mut sequences[2], &expected[2].ids[..5], false);
        let mut steps: Vec<Step<'_>> = sequences
            .iter_mut()
            .zip(&expected)
            .map(|(sequence, text)| Step { ids: &text.ids[sequence.len()..], sequence, all: false })
            .collect();
        let mixed = model.forward(&mut steps, &mut run.blocks, &mut run.scratch).unwrap().to_vec();
        for (i, (logits, text)) in mixed.chunks_exact(model.vocabulary()).zip(&expected).enumerate() {
            let last = &text.logits[text.logits.len() - model.vocabulary()..];
            close(logits, last, 1e-4, &format!("{name}, step {i} of a mixed batch"));
            let mut alone = run.blocks.allocate(text.ids.len()).unwrap();
            // The same pieces: these are part of what a text computes, its neighbours are not.
            let cut = [0, 6, 5][i];
            if cut > 0 {
                run.one(&mut alone, &text.ids[..cut], false);
            }
            assert_eq!(run.one(&mut alone, &text.ids[cut..], false), logits, "{name}, step {i} of a mixed batch against alone");
            run.blocks.release(alone);
            let whole = run.greedy(&[&text.ids], 1)[0].1.clone();
            close(logits, &whole, 1e-5, &format!("{name}, step {i} of a mixed batch against alone and at once"));
        }
        let texts: Vec<&[u32]> = expected.iter().map(|text| text.ids.as_slice()).collect();
        let hidden = model.encode(&texts, &mut Scratch::default()).unwrap().to_vec();
        close(&hidden, &expected.iter().flat_map(|text| text.hidden.clone()).collect::<Vec<_>>(), 1e-4, name);
    }
}

/// Longer than the rows whose scores are computed together, against the same token by token; with windows and without.
#[test]
fn long_texts_are_those_of_single_tokens() {
    for name in ["llama", "gemma2"] {
        let mut config = config(name, "config.json");
        config["max_position_embeddings"] = 512.into();
        config["sliding_window"] = if name == "llama" { serde_json::Value::Null } else { 70.into() };
        let weights = Weights::open(&folder(name), None).unwrap();
        let model = Causal::load(&config, &weights.tensors().unwrap()).unwrap();
        let mut run = Run::new(&model, 64);
        let ids: Vec<u32> = (0..170).map(|i| (i * i + 7 * i) % 96).collect();
        let mut sequence = run.blocks.allocate(ids.len()).unwrap();
        let single: Vec<f32> = ids.iter().flat_map(|id| run.one(&mut sequence, &[*id], true)).collect();
        let mut sequence = run.blocks.allocate(ids.len()).unwrap();
        close(&run.one(&mut sequence, &ids, true), &single, 1e-4, &format!("{name} at once"));
        let mut sequence = run.blocks.allocate(ids.len()).unwrap();
        let mut pieces = run.one(&mut sequence, &ids[..11], true);
        pieces.extend(run.one(&mut sequence, &ids[11..], true));
        close(&pieces, &single, 1e-4, &format!("{name} in pieces"));
    }
}
