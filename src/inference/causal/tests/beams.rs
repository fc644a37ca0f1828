//! Beam searches against transformers, and beside other requests.

use super::support::{expected, folder, load};
use crate::inference::causal::{BLOCK, BeamOptions, Blocks, EarlyStopping, Generator, Options, Request, Steer};
use crate::inference::generate::Sampling;
use crate::inference::{Digest, InferenceError, Threads};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

fn generator(name: &str, blocks: usize) -> Generator {
    let model = load(name, "config.json");
    let cache_bytes = blocks * Blocks::block_bytes(model.spec());
    let options = Options { threads: Threads::Exactly(1), cache_bytes, token_budget: 10, ..Options::default() };
    Generator::start(name, model, Digest::of(b""), &options).unwrap()
}

#[tokio::test]
async fn searches_find_what_transformers_finds() {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(folder("beams.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let generator = generator(case["name"].as_str().unwrap(), 40);
        let (ids, stop_ids) = (numbers(&case["ids"]), numbers(&case["stop_ids"]));
        let options = BeamOptions {
            beams: case["beams"].as_u64().unwrap() as usize,
            length_penalty: case["length_penalty"].as_f64().unwrap() as f32,
            early_stopping: match case["early_stopping"].as_str().unwrap() {
                "true" => EarlyStopping::Full,
                "never" => EarlyStopping::Certain,
                _ => EarlyStopping::Likely,
            },
        };
        // Beside a text and another search.
        let other = generator.generate(Request::greedy(ids.clone(), 20, Vec::new()));
        let twin = generator.search(ids.clone(), 20, stop_ids.clone(), options);
        let (found, _, twin) = futures_util::join!(generator.search(ids.clone(), 20, stop_ids, options), other, twin);
        let found = found.unwrap();
        assert_eq!(found, twin.unwrap());
        assert_eq!(found.len(), options.beams);
        let texts = case["texts"].as_array().unwrap();
        for (i, hypothesis) in found.iter().enumerate() {
            let text: Vec<u32> = hypothesis.ids.iter().copied().chain(hypothesis.stop_id).collect();
            assert_eq!(text, numbers(&texts[i]), "{case}");
            let score = case["scores"][i].as_f64().unwrap();
            // A penalty below 0 multiplies a sum by its length.
            let near = 1e-4f64.max(1e-6 * score.abs());
            assert!((f64::from(hypothesis.score) - score).abs() < near, "{} and {score}, {case}", hypothesis.score);
        }
    }
}

/// Changes as `Sampling` makes them.
struct Changed(Sampling, Vec<u32>, usize);

impl Steer for Changed {
    fn change(&mut self, ids: &[u32], prompt: usize, log_probabilities: &mut [f32]) {
        self.0.process_beam(log_probabilities, ids, prompt, &self.1, self.2 + prompt - ids.len());
    }

    fn ends(&mut self, _: &[u32]) -> bool {
        false
    }
}

/// Would catch: penalties and bans on logits instead of log-probabilities, by the ids of another beam, without the prompt's ids.
#[tokio::test]
async fn steered_searches_find_what_transformers_finds() {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(folder("steered.json")).unwrap()).unwrap();
    for case in &cases {
        let generator = generator(case["name"].as_str().unwrap(), 40);
        let (ids, stop_ids) = (numbers(&case["ids"]), numbers(&case["stop_ids"]));
        let asked = &case["options"];
        let count = |name: &str| asked[name].as_u64().unwrap_or(0) as usize;
        let options = BeamOptions {
            beams: count("num_beams"),
            length_penalty: asked["length_penalty"].as_f64().unwrap_or(1.0) as f32,
            early_stopping: if asked["early_stopping"] == true { EarlyStopping::Full } else { EarlyStopping::Likely },
        };
        let words = asked["bad_words_ids"].as_array().into_iter().flatten().map(numbers).collect();
        let biases = asked["sequence_bias"].as_array().into_iter().flatten();
        let sampling = Sampling {
            repetition_penalty: asked["repetition_penalty"].as_f64().unwrap_or(1.0) as f32,
            no_repeat_ngram_size: count("no_repeat_ngram_size"),
            min_new_tokens: count("min_new_tokens"),
            forced_eos: asked["forced_eos_token_id"].as_u64().map(|id| id as u32),
            bad_words: words,
            logit_bias: biases.map(|one| (one[0][0].as_u64().unwrap() as u32, one[1].as_f64().unwrap() as f32)).collect(),
            ..Sampling::default()
        };
        let steer = Box::new(Changed(sampling, stop_ids.clone(), 20));
        let found = generator.search_steered(ids, 20, stop_ids, options, steer).await.unwrap();
        for (i, text) in case["texts"].as_array().unwrap().iter().enumerate() {
            let found = found[i].ids.iter().copied().chain(found[i].stop_id).collect::<Vec<u32>>();
            assert_eq!(found, numbers(text), "{case}");
        }
        for (hypothesis, score) in found.iter().zip(case["scores"].as_array().unwrap()) {
            let score = score.as_f64().unwrap();
            assert!((f64::from(hypothesis.score) - score).abs() < 1e-4f64.max(1e-6 * score.abs()), "{case}");
        }
    }
    assert!(cases.len() >= 18);
    struct Panics;
    impl Steer for Panics {
        fn change(&mut self, _: &[u32], _: usize, _: &mut [f32]) {
            panic!("it steers no more");
        }
        fn ends(&mut self, _: &[u32]) -> bool {
            false
        }
    }
    let generator = generator("llama", 4);
    let panicked =
        generator.search_steered(vec![5; 8], 4, Vec::new(), BeamOptions { beams: 2, ..BeamOptions::default() }, Box::new(Panics));
    assert!(matches!(panicked.await, Err(InferenceError::Poison(_))));
    assert!(generator.search(vec![5; 8], 4, Vec::new(), BeamOptions { beams: 2, ..BeamOptions::default() }).await.is_ok());
}

/// One beam is greedy; blocks of searches come back, also when nobody waits any more.
#[tokio::test]
async fn blocks_of_searches_come_back() {
    let texts = expected("llama", &load("llama", "config.json"));
    // The prompt of 21 ids and 11 more are two blocks; each other beam takes one more.
    let generator = generator("llama", 4);
    let (ids, one) = (texts[2].ids.clone(), BeamOptions { beams: 1, ..BeamOptions::default() });
    for _ in 0..3 {
        let found = generator.search(ids.clone(), 11, Vec::new(), one).await.unwrap();
        assert_eq!((found[0].ids.as_slice(), found[0].stop_id), (&texts[2].greedy[..11], None));
        let three = BeamOptions { beams: 3, ..one };
        let best = generator.search(ids.clone(), 11, Vec::new(), three).await.unwrap();
        assert!(best[0].score >= found[0].score);
        let waits = generator.search(ids.clone(), 11, Vec::new(), three);
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, waits).await;
        assert!(given_up.is_err());
    }
    let whole = generator.generate(Request::greedy(vec![5; 4 * BLOCK - 1], 1, Vec::new())).await.unwrap();
    assert_eq!(whole.tokens.len(), 1);
    let refused = async |ids: Vec<u32>, max_new_tokens, beams, part: &str| {
        let options = BeamOptions { beams, ..one };
        let error = generator.search(ids, max_new_tokens, Vec::new(), options).await.unwrap_err();
        assert!(matches!(&error, InferenceError::Poison(m) if m.contains(part)), "{error}");
    };
    refused(ids.clone(), 11, 4, "5 blocks").await;
    refused(ids.clone(), 11, usize::MAX, "blocks").await;
    refused(ids.clone(), 11, 0, "beams 0").await;
    refused(ids.clone(), usize::MAX, 2, "64").await;
    refused(Vec::new(), 3, 2, "at least 1").await;
}
