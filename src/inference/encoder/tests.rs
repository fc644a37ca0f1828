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
        with(Options { firsts: false, ..plain() }),
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
    // Each question the second time: 33 texts, of which 11 differ. A vector is kept once for texts that are cut to the same tokens.
    let mut windows = std::collections::BTreeSet::new();
    for cut in cuts {
        let of_texts = reference.windows(texts.clone(), cut).await.unwrap();
        windows.extend(of_texts.into_iter().map(|mut of| std::mem::take(&mut of[0])).map(|window| (window.ids, window.types)));
    }
    let counts = results.counts();
    assert_eq!((counts.hits, counts.misses, counts.answers), (6 * 33, 6 * 33, 4 * 11 + windows.len()));
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

fn loaded(memory: &Memory) -> Vec<String> {
    memory.held().into_iter().filter(|of| of.loaded).map(|of| of.name).collect()
}

/// Would catch: a budget that is not held, a model that comes back with other numbers, a head that is forgotten with its network.
#[tokio::test]
async fn a_model_goes_for_another_and_comes_back_with_the_same_bits() {
    let free = Options { memory: Memory::default(), ..plain() };
    let (one, many) = (open("one", &free), open("many", &free));
    let texts = texts();
    let reference = bits(&one.answer_texts(Head::Classify, texts.clone(), Cut::default()).await.unwrap());
    let bytes: Vec<usize> = free.memory.held().iter().map(|of| of.bytes).collect();
    assert!(bytes.iter().all(|of| *of > 10_000) && loaded(&free.memory) == ["one", "many"]);
    drop((one, many));

    // Room for either, and not for both; a model is admitted by all tensors of its file, its head's too.
    let tight = Options { memory: Memory::limited(bytes[0] + bytes[1] - 1), ..plain() };
    let (one, many) = (open("one", &tight), open("many", &tight));
    assert_eq!(loaded(&tight.memory), ["many"]);
    for round in 1..4 {
        let again = one.answer_texts(Head::Classify, texts.clone(), Cut::default()).await.unwrap();
        assert_eq!((bits(&again), loaded(&tight.memory)), (reference.clone(), vec!["one".to_owned()]));
        many.answer_texts(Head::Embed, texts.clone(), Cut::default()).await.unwrap();
        assert_eq!(loaded(&tight.memory), ["many"]);
        assert_eq!(tight.memory.held().iter().map(|of| of.unloads).collect::<Vec<_>>(), [round + 1, round]);
    }
    assert!(one.labels().is_some() && one.max_tokens() > 0);
    // Both at once wait for each other, and all are answered.
    let ask = |model| Encoder::answer_texts(model, Head::Classify, texts.clone(), Cut::default());
    for answers in futures_util::future::join_all([ask(&one), ask(&many), ask(&one), ask(&many)]).await {
        answers.unwrap();
    }

    one.pin().unwrap();
    let refused = many.answer_texts(Head::Embed, texts, Cut::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains("`many`") && refused.contains(&bytes[0].to_string()) && loaded(&tight.memory) == ["one"],
        "{refused}"
    );
}

#[test]
fn what_is_larger_than_the_budget_is_refused_when_it_is_opened() {
    let options = Options { memory: Memory::limited(20_000), ..plain() };
    let error = Encoder::open("one", &fixture("one"), None, &options).err().unwrap().to_string();
    let parts = ["`one`", "20000", "memory_budget_mb"];
    assert!(parts.iter().all(|part| error.contains(part)) && options.memory.held().is_empty(), "{error}");
}

/// Would catch: a model that is read again from files that are not its own any more.
#[tokio::test]
async fn a_folder_that_has_changed_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("one")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let free = Options { memory: Memory::default(), ..plain() };
    let (_one, _many) = (open("one", &free), open("many", &free));
    let limit = free.memory.held().iter().map(|of| of.bytes).sum::<usize>() - 1;
    let tight = Options { memory: Memory::limited(limit), ..plain() };
    let one = Encoder::open("one", folder.path(), None, &tight).unwrap();
    let _many = open("many", &tight);
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    std::fs::write(folder.path().join("config.json"), format!("{config}\n")).unwrap();
    let error = one.answer_texts(Head::Embed, texts(), Cut::default()).await.unwrap_err().to_string();
    assert!(error.contains("others than when the model was opened"), "{error}");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    one.answer_texts(Head::Embed, texts(), Cut::default()).await.unwrap();
}

/// Would catch: a figure that batches exceed, one that is far above what they take.
#[tokio::test]
async fn activations_are_what_was_told_before() {
    for (name, token_budget) in [("one", 512), ("many", 64), ("one", 1)] {
        let encoder = open(name, &Options { threads: Threads::Exactly(1), token_budget, ..plain() });
        let told = encoder.activations().unwrap().unwrap();
        let long = "good bad film ".repeat(encoder.max_tokens());
        // Texts of all lengths, batches of all sizes, more than once.
        let texts: Vec<Text> = (0..200).map(|i| Text::from(long[..long.len() * (i % 20 + 1) / 20].to_owned())).collect();
        for count in [1, 3, 200, 50] {
            encoder.answer_texts(Head::Embed, texts[200 - count..].to_vec(), Cut::default()).await.unwrap();
        }
        let counted = encoder.shared.backbone.lease().unwrap().scratch().bytes();
        assert!(counted <= told && counted * 3 > told * 2, "{name}, {token_budget}: told {told}, counted {counted}");
    }
}
