//! What is left out of a call, and what is kept for the next, changes no bit of an answer.

use super::*;
use crate::inference::tokenizer::{Cut, Give, Text};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name)
}

fn open(name: &str, options: &Options) -> Encoder {
    Encoder::open(name, &fixture(name), None, options).unwrap()
}

fn plain() -> Options {
    Options { threads: Threads::Exactly(2), merge: false, ..Options::default() }
}

fn bits(answers: &[Answer]) -> Vec<(Vec<u32>, usize, bool)> {
    let one = |a: &Answer| (a.values.iter().map(|v| v.to_bits()).collect(), a.tokens, a.truncated);
    answers.iter().map(one).collect()
}

/// Every text three times, in no order.
fn texts() -> Vec<Text> {
    let texts: Vec<Text> = (0..8).map(|i| Text::from("good film, a bad one ".repeat(1 + i % 5) + &"x".repeat(i))).collect();
    let pairs = (0..3).map(|i| Text::pair("good", "bad ".repeat(1 + i)));
    let all: Vec<Text> = texts.into_iter().chain(pairs).collect();
    (0..3 * all.len()).map(|i| all[i * 7 % all.len()].clone()).collect()
}

/// Would catch: an answer that depends on its batch mates, one that lands in another place, one that is kept under another question.
#[tokio::test]
async fn merging_keeping_and_sorting_change_no_bit() {
    let (texts, results) = (texts(), Results::new(1 << 20));
    let reference = open("one", &plain());
    let with = |options| open("one", &options);
    let others = [
        with(Options { merge: true, ..plain() }),
        with(Options { sort: false, token_budget: 40, ..plain() }),
        with(Options { merge: true, results: results.clone(), threads: Threads::Exactly(1), ..plain() }),
    ];
    let cuts = [Cut::default(), Cut { max_tokens: Some(6), ..Cut::default() }];
    for head in [Head::Embed, Head::Classify, Head::Logits] {
        for cut in cuts {
            let wanted = bits(&reference.answer_texts(head, texts.clone(), cut).await.unwrap());
            for other in others.iter().chain(&others) {
                assert_eq!(bits(&other.answer_texts(head, texts.clone(), cut).await.unwrap()), wanted, "{head:?} {cut:?}");
            }
        }
    }
    // Each question the second time: 33 texts, of which 11 differ.
    let counts = results.counts();
    assert_eq!((counts.hits, counts.misses, counts.answers), (6 * 33, 6 * 33, 6 * 11));
}

/// Would catch: windows that are merged though they belong to a cut text, tokens and texts that share a key.
#[tokio::test]
async fn windows_and_heads_in_one_pass_are_kept_too() {
    let results = Results::new(1 << 20);
    let keeping = Options { merge: true, results: results.clone(), ..plain() };
    let (reference, kept) = (open("tag", &plain()), open("tag", &keeping));
    let cut = Cut { give: Give::First, stride: Some(2), max_tokens: Some(8) };
    let texts: Vec<Text> = texts().into_iter().filter(|text| text.second.is_none()).collect();
    let windows: Vec<_> = reference.windows(texts, cut).await.unwrap().concat();
    let wanted = bits(&reference.answer_windows(Head::Tokens, windows.clone()).await.unwrap());
    for _ in 0..2 {
        assert_eq!(bits(&kept.answer_windows(Head::Tokens, windows.clone()).await.unwrap()), wanted);
    }
    assert_eq!(results.counts().hits, windows.len() as u64);

    let texts: Vec<String> = ["good", "bad film", "good"].map(str::to_owned).into();
    let (reference, one, many) = (open("one", &plain()), open("one", &keeping), open("many", &keeping));
    let beside = open("many", &plain());
    let wanted = reference.answer_heads(&[&beside, &reference], texts.clone()).await.unwrap();
    for _ in 0..2 {
        let found = one.answer_heads(&[&many, &one], texts.clone()).await.unwrap();
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!(bits(std::slice::from_ref(&found.embedding)), bits(std::slice::from_ref(&wanted.embedding)));
            assert_eq!(found.scores, wanted.scores);
        }
    }
}

/// Would catch: a model whose answers are taken for another's, since their weights are the same.
#[test]
fn equal_weights_under_another_configuration_are_another_model() {
    let results = Results::new(1 << 20);
    let options = Options { results: results.clone(), ..plain() };
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("one")).unwrap().flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = Encoder::open("again", copy.path(), None, &options).unwrap();
    let first = open("one", &options);
    assert!(first.shares_backbone(&again) && first.contents() == again.contents());
    let path = copy.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"gelu\"", "\"relu\"")).unwrap();
    let other = Encoder::open("other", copy.path(), None, &options).unwrap();
    assert!(!first.shares_backbone(&other) && first.contents() != other.contents() && first.digest() == other.digest());
    let ask = |encoder: &Encoder| encoder.answer_blocking(Head::Embed, vec!["good film".to_owned()]).unwrap();
    let (a, b, c) = (ask(&first), ask(&again), ask(&other));
    assert_eq!(bits(&a), bits(&b));
    assert_ne!(bits(&a), bits(&c));
    assert_eq!((results.counts().hits, results.counts().misses), (1, 2));
}
