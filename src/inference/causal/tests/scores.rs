//! Likelihoods of given texts, and prefixes that are computed once.

use super::generator::{greedy, narrow, open, options};
use super::support::close;
use crate::inference::causal::{BLOCK, Options};

fn log_softmax(row: &[f32], id: u32) -> f32 {
    let total: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
    (f64::from(row[id as usize]) - total.ln()) as f32
}

#[tokio::test]
async fn likelihoods_are_those_of_the_logits() {
    for (threads, token_budget) in [(2, 256), (1, 3)] {
        let (generator, texts) = open(&Options { token_budget, ..options(threads) });
        let text = &texts[2];
        let row = |i: usize| &text.logits[i * 96..(i + 1) * 96];
        let each: Vec<f32> = (1..text.ids.len()).map(|i| log_softmax(row(i - 1), text.ids[i])).collect();
        close(&generator.log_likelihood(text.ids.clone()).await.unwrap(), &each, 1e-4, "log_likelihood");
        let (prefix, rest) = text.ids.split_at(12);
        let mut continuations: Vec<Vec<u32>> = vec![rest.to_vec(), rest[..1].to_vec(), rest[..4].to_vec()];
        continuations.extend((0..40).map(|i| vec![i, i + 1]));
        let scores = generator.score(prefix.to_vec(), continuations.clone()).await.unwrap();
        let sum = |count: usize| each[11..11 + count].iter().sum::<f32>();
        close(&scores[..3], &[sum(9), sum(1), sum(4)], 1e-4, "scores");
        // The same one by one.
        for (score, continuation) in scores.iter().zip(continuations) {
            let alone = generator.score(prefix.to_vec(), vec![continuation]).await.unwrap();
            assert_eq!([*score], alone[..], "among others and alone");
        }
        assert!(generator.score(prefix.to_vec(), vec![]).await.unwrap().is_empty());
    }
}

/// A pool that holds the prefix and one continuation goes through all of them.
#[tokio::test]
async fn scores_go_through_a_small_pool() {
    let generator = narrow(3);
    let (wide, _) = open(&options(1));
    let continuations: Vec<Vec<u32>> = (0..20).map(|i| vec![i, 40 - i, i + 3, 2 * i]).collect();
    let prefix = vec![9; BLOCK + 7];
    let scores = generator.score(prefix.clone(), continuations.clone()).await.unwrap();
    close(&scores, &wide.score(prefix, continuations).await.unwrap(), 1e-5, "a small pool");
    // And all of it came back.
    assert_eq!(generator.generate(greedy(&[5; 3 * BLOCK - 1], 1)).await.unwrap().tokens.len(), 1);
}

#[tokio::test]
async fn a_remembered_prefix_is_computed_once() {
    let (generator, texts) = open(&options(1));
    let text = &texts[2];
    generator.remember(text.ids[..18].to_vec()).unwrap();
    generator.remember(text.ids[..5].to_vec()).unwrap();
    for _ in 0..3 {
        let answers = (0..3).map(|_| generator.generate(greedy(&text.ids, 32)));
        for answer in futures_util::future::join_all(answers).await {
            let answer = answer.unwrap();
            assert_eq!((answer.ids(), answer.cached), (text.greedy.clone(), 18));
        }
    }
    // The whole prompt is remembered: its last id is computed anyway, for its logits.
    generator.remember(text.ids.clone()).unwrap();
    let answer = generator.generate(greedy(&text.ids, 32)).await.unwrap();
    assert_eq!((answer.ids(), answer.cached), (text.greedy.clone(), text.ids.len() - 1));
    let other = generator.generate(greedy(&texts[1].ids, 32)).await.unwrap();
    assert_eq!((other.ids(), other.cached), (texts[1].greedy.clone(), 0));
    let (prefix, rest) = text.ids.split_at(19);
    let with = generator.score(prefix.to_vec(), vec![rest.to_vec()]).await.unwrap();
    let without = open(&options(1)).0.score(prefix.to_vec(), vec![rest.to_vec()]).await.unwrap();
    close(&with, &without, 1e-5, "scores behind a remembered prefix");
}

/// Would catch: numbers that tell whether a prefix happened to be kept.
#[tokio::test]
async fn a_prefix_that_cannot_be_kept_gives_the_same_bits() {
    for length in [5, 14, 17, 18] {
        // The text itself takes two blocks of the narrow one.
        let (narrow, wide) = (narrow(2), narrow(4));
        let ids: Vec<u32> = (0..18).map(|i| (i * 37 + 5) % 96).collect();
        narrow.remember(ids[..length].to_vec()).unwrap();
        wide.remember(ids[..length].to_vec()).unwrap();
        let without = narrow.generate(greedy(&ids, 14)).await.unwrap();
        let with = wide.generate(greedy(&ids, 14)).await.unwrap();
        assert_eq!((without.cached, with.cached), (0, length.min(17)));
        assert_eq!(without.tokens, with.tokens, "a prefix of {length}");
    }
}

/// Would catch: a prefix that is kept where the continuation should go.
#[tokio::test]
async fn a_remembered_prefix_leaves_room_for_what_is_scored() {
    let (small, large) = (narrow(3), narrow(8));
    let prefix: Vec<u32> = (0..20).map(|i| (i * 37 + 5) % 96).collect();
    for generator in [&small, &large] {
        generator.remember(prefix[..18].to_vec()).unwrap();
    }
    let found = small.score(prefix.clone(), vec![vec![7; 12]]).await.unwrap();
    assert_eq!(found, large.score(prefix, vec![vec![7; 12]]).await.unwrap());
}

/// Remembered prefixes do not keep a request out for ever.
#[tokio::test]
async fn remembered_prefixes_make_room() {
    let generator = narrow(3);
    generator.remember(vec![9; BLOCK + 4]).unwrap();
    let small = generator.generate(greedy(&[9; BLOCK + 5], 3)).await.unwrap();
    assert_eq!((small.tokens.len(), small.cached), (3, BLOCK + 4));
    let large = generator.generate(greedy(&[5; 2 * BLOCK], BLOCK)).await.unwrap();
    assert_eq!((large.tokens.len(), large.cached), (BLOCK, 0));
    // No room for both: it runs without.
    let same = generator.generate(greedy(&[9; BLOCK + 5], 2 * BLOCK - 6)).await.unwrap();
    assert_eq!((same.tokens.len(), same.cached), (2 * BLOCK - 6, 0));
}
