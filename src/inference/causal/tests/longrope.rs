//! Texts that grow over the length from which a network turns them by other frequencies.

use super::support::{Expected, Run, close, expected, load};
use crate::inference::causal::{BLOCK, BeamOptions, Blocks, Generator, Greedy, Options, Request, Step, log_probability};
use crate::inference::parity::{self, off};
use crate::inference::{Digest, Threads};
use serde_json::Value;

const NAME: &str = "phi3_long";

fn generator(blocks: usize, token_budget: usize) -> (Generator, Vec<Expected>) {
    let model = load(NAME, "config.json");
    let texts = expected(NAME, &model);
    let cache_bytes = blocks * Blocks::block_bytes(model.spec());
    let options = Options { threads: Threads::Exactly(1), cache_bytes, token_budget, ..Options::default() };
    (Generator::start(NAME, model, Digest::of(b""), &options).unwrap(), texts)
}

fn greedy(ids: &[u32], count: usize) -> Request {
    Request::greedy(ids.to_vec(), count, Vec::new())
}

/// Two short texts and a long one, at once, in pieces, and beside each other.
#[test]
fn short_and_long_texts_are_those_of_transformers() {
    for file in ["config.json", "config-4.json"] {
        let model = load(NAME, file);
        let texts = expected(NAME, &model);
        let mut run = Run::new(&model, 16);
        for (i, text) in texts.iter().enumerate() {
            assert_eq!(model.limit().is_long(text.ids.len()), i == 2);
            let hidden = model.encode(&[&text.ids], &mut run.scratch).unwrap().to_vec();
            parity::seen("causal", NAME, "vectors of tokens", off(&hidden, &text.hidden));
            let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
            parity::seen("causal", NAME, "logits, at once", off(&run.one(&mut sequence, &text.ids, true), &text.logits));
            run.blocks.release(sequence);
            let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
            model.reach(&mut sequence, text.ids.len());
            let single: Vec<f32> = text.ids.iter().flat_map(|id| run.one(&mut sequence, &[*id], false)).collect();
            parity::seen("causal", NAME, "logits, token by token", off(&single, &text.logits));
            run.blocks.release(sequence);
        }
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let hidden = model.encode(&ids, &mut run.scratch).unwrap();
        close(hidden, &texts.iter().flat_map(|text| text.hidden.clone()).collect::<Vec<_>>(), 1e-4, "together");
    }
}

/// Would catch: keys of a short text that a long one reads.
#[test]
fn a_text_that_grows_long_must_be_computed_anew() {
    let model = load(NAME, "config.json");
    let text = &expected(NAME, &model)[2];
    let mut run = Run::new(&model, 4);
    let mut sequence = run.blocks.allocate(text.ids.len()).unwrap();
    run.one(&mut sequence, &text.ids[..10], false);
    let mut step = [Step { sequence: &mut sequence, ids: &text.ids[10..], all: false }];
    let error = model.forward(&mut step, &mut run.blocks, &mut run.scratch).unwrap_err();
    assert!(error.to_string().contains("11 tokens after 10"), "{error}");
    model.reach(&mut sequence, text.ids.len());
    assert!(sequence.is_empty());
    let logits = run.one(&mut sequence, &text.ids, true);
    close(&logits, &text.logits, 1e-4, "anew");
    // It may become short again.
    model.reach(&mut sequence, 7);
    let short = &expected(NAME, &model)[1];
    close(&run.one(&mut sequence, &short.ids, true), &short.logits, 1e-4, "short again");
}

/// Alone, together and in small pieces, with several answers to a prompt; the bits too.
#[tokio::test]
async fn texts_are_written_over_the_limit_as_transformers_does() {
    for budget in [256, 9, 1] {
        let (generator, texts) = generator(32, budget);
        let mut alone = Vec::new();
        for text in &texts {
            alone.push(generator.generate(greedy(&text.ids, 32)).await.unwrap());
            assert_eq!(alone[alone.len() - 1].ids(), text.greedy, "budget {budget}");
        }
        let requests = (0..9).map(|i| generator.generate(greedy(&texts[i % 3].ids, 32)));
        for (i, answer) in futures_util::future::join_all(requests).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), alone[i % 3], "budget {budget}, request {i}");
        }
        for (i, text) in texts.iter().enumerate() {
            let answers = generator.generate_several(greedy(&text.ids, 32), vec![Box::new(Greedy), Box::new(Greedy)]).await;
            answers.unwrap().iter().for_each(|answer| assert_eq!(answer.tokens, alone[i].tokens));
        }
    }
    parity::equal("causal", NAME, "32 greedy tokens, alone and in one batch");
    // Two texts of their own fit, three do not.
    let (small, texts) = generator(6, 256);
    assert_eq!(small.room_for(32, 1), 3 * BLOCK - 32);
    let ask = |others: usize| {
        let others = (0..others).map(|_| Box::new(Greedy) as _).collect();
        small.generate_several(greedy(&texts[1].ids, 32), others)
    };
    assert_eq!(ask(1).await.unwrap()[1].ids(), texts[1].greedy);
    assert!(ask(2).await.unwrap_err().to_string().contains("9 blocks"));
}

/// A beginning that is kept serves texts of its own kind that keep it; all get what they get without it.
#[tokio::test]
async fn a_remembered_prefix_changes_nothing() {
    let (plain, texts) = generator(32, 256);
    for len in [3, 16, 18] {
        let (keeping, _) = generator(32, 256);
        keeping.remember(texts[2].ids[..len].to_vec()).unwrap();
        for (prompt, count) in [(7, 4), (7, 20), (16, 5), (20, 5)] {
            let ids = &texts[2].ids[..prompt];
            let (theirs, ours) =
                (plain.generate(greedy(ids, count)).await.unwrap(), keeping.generate(greedy(ids, count)).await.unwrap());
            assert_eq!(theirs.ids(), ours.ids(), "{len} kept, {prompt} and {count}");
            let same = len <= prompt && (len > 16) == (prompt > 16) && (prompt + count > 16) == (prompt > 16);
            assert_eq!(ours.cached, if same { len.min(prompt - 1) } else { 0 }, "{len} kept, {prompt} and {count}");
        }
    }
}

/// A continuation's score is that of one pass over its whole text, whatever else is asked.
#[tokio::test]
async fn scores_are_those_of_whole_texts() {
    let (generator, texts) = generator(32, 256);
    let model = load(NAME, "config.json");
    let (mut run, ids) = (Run::new(&model, 4), &texts[2].ids);
    let mut wanted = Vec::new();
    for len in [8, 16, 17, 18, 21] {
        let mut sequence = run.blocks.allocate(len).unwrap();
        let logits = run.one(&mut sequence, &ids[..len - 1], true);
        run.blocks.release(sequence);
        let rows = logits.chunks_exact(model.vocabulary()).zip(&ids[1..len]).skip(6);
        wanted.push(rows.map(|(row, id)| log_probability(row, *id as usize)).sum::<f32>());
    }
    let continuations: Vec<Vec<u32>> = [8, 16, 17, 18, 21].iter().map(|len| ids[7..*len].to_vec()).collect();
    let scores = generator.score(ids[..7].to_vec(), continuations.clone()).await.unwrap();
    close(&scores, &wanted, 1e-4, "together");
    for (continuation, score) in continuations.into_iter().zip(scores) {
        assert_eq!(generator.score(ids[..7].to_vec(), vec![continuation]).await.unwrap(), [score]);
    }
    let all = generator.log_likelihood(ids.clone()).await.unwrap();
    let rows = texts[2].logits.chunks_exact(96).zip(&ids[1..]);
    close(&all, &rows.map(|(row, id)| log_probability(row, *id as usize)).collect::<Vec<_>>(), 1e-4, "likelihoods");
}

/// `beams.json` has searches that cross the limit; here they also leave all blocks free.
#[tokio::test]
async fn searches_give_their_blocks_back() {
    let (generator, texts) = generator(20, 9);
    let options = BeamOptions { beams: 5, ..BeamOptions::default() };
    let first = generator.search(texts[1].ids.clone(), 32, vec![5, 9], options).await.unwrap();
    for _ in 0..3 {
        assert_eq!(generator.search(texts[1].ids.clone(), 32, vec![5, 9], options).await.unwrap(), first);
    }
    let cases: Value = serde_json::from_slice(&std::fs::read(super::support::folder("beams.json")).unwrap()).unwrap();
    let ours = cases.as_array().unwrap().iter().filter(|case| case["name"] == NAME);
    assert!(ours.count() > 3);
}
