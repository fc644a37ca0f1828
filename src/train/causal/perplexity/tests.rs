//! Against transformers, and against the sums written out.

use super::*;
use crate::inference::Weights;
use std::path::Path;

fn load(name: &str) -> Causal {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/causal").join(name);
    let weights = Weights::open(&folder, None).unwrap();
    let config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    Causal::load(&config, &weights.tensors().unwrap()).unwrap()
}

fn text(ids: Vec<u32>) -> Tokens {
    let guessed = (0..ids.len()).map(|at| at > 0).collect();
    Tokens { characters: 2 * ids.len(), guessed, ids }
}

/// `tests/fixtures/causal/perplexity.py` wrote them.
#[test]
fn windows_and_sums_are_those_of_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/causal/perplexity.json");
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = text(serde_json::from_value(document["ids"].clone()).unwrap());
    for (family, cases) in document["families"].as_object().unwrap() {
        let model = load(family);
        for case in cases.as_array().unwrap() {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let windows = Windows { len: number("window"), stride: number("stride") };
            let one = perplexity(&model, std::slice::from_ref(&text), windows, 1).unwrap();
            assert_eq!(one.tokens, number("tokens"), "{family} {windows:?}");
            let want = case["nats"].as_f64().unwrap() / one.tokens as f64;
            assert!((one.loss() - want).abs() < 1e-5 * want, "{family} {windows:?}: {} and {want}", one.loss());
            let three = perplexity(&model, std::slice::from_ref(&text), windows, 3).unwrap();
            assert_eq!(one, three, "{family} {windows:?}: more threads");
        }
    }
}

#[test]
fn several_texts_count_as_their_sums_and_only_what_is_guessed() {
    let model = load("llama");
    let windows = Windows { len: 8, stride: 4 };
    let texts = [text((5..25).collect()), text(vec![9, 8, 7]), text(vec![4])];
    let alone: Vec<Perplexity> =
        texts[..2].iter().map(|t| perplexity(&model, std::slice::from_ref(t), windows, 1).unwrap()).collect();
    let all = perplexity(&model, &texts, windows, 2).unwrap();
    assert_eq!((all.tokens, all.characters), (21, 48));
    assert!((all.nats - alone[0].nats - alone[1].nats).abs() < 1e-9);
    let known = Perplexity { nats: 6.0 * std::f64::consts::LN_2, tokens: 3, characters: 12 };
    assert!((known.perplexity() - 4.0).abs() < 1e-12 && (known.bits() - 0.5).abs() < 1e-12);
    // Of a conversation the answer alone, with all that stands before it.
    let mut chat = text(vec![5, 6, 7, 8, 9, 10]);
    chat.guessed = vec![false, false, false, true, true, false];
    let wide = Windows { len: 16, stride: 16 };
    let upto = |count: usize| perplexity(&model, &[text(chat.ids[..count].to_vec())], wide, 1).unwrap().nats;
    let found = perplexity(&model, &[chat.clone()], wide, 1).unwrap();
    assert_eq!(found.tokens, 2);
    assert!((found.nats - (upto(5) - upto(3))).abs() < 1e-4);
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let model = load("llama");
    for (len, stride) in [(65, 1), (1, 1), (8, 9), (8, 0)] {
        assert!(perplexity(&model, &[text(vec![5, 6, 7])], Windows { len, stride }, 1).is_err(), "{len} {stride}");
    }
    let windows = Windows { len: 8, stride: 4 };
    assert!(perplexity(&model, &[text(vec![5, 96])], windows, 1).unwrap_err().to_string().contains("below 96"));
    assert!(perplexity(&model, &[text(vec![5])], windows, 1).unwrap_err().to_string().contains("no token"));
}
