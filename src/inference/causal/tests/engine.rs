//! One model thread's batch, turn by turn.

use super::support::{expected, load};
use crate::inference::InferenceError;
use crate::inference::causal::engine::Engine;
use crate::inference::causal::job::{Generate, Job};
use crate::inference::causal::lane::Lane;
use crate::inference::causal::{Generated, Greedy};
use std::sync::Arc;
use tokio::sync::oneshot;

type Answer = oneshot::Receiver<Result<Generated, InferenceError>>;

fn job(ids: &[u32], max_new_tokens: usize) -> (Job, Answer) {
    let (reply, answer) = oneshot::channel();
    let job = Generate {
        ids: ids.to_vec(),
        max_new_tokens,
        stop_ids: Vec::new(),
        choose: Box::new(Greedy),
        others: Vec::new(),
        stream: None,
        meter: crate::inference::Meter::default(),
        reply,
    };
    (Job::Generate(job), answer)
}

fn engine(blocks: usize, budget: usize) -> Engine {
    Engine::new(Lane::new(Arc::new(load("llama", "config.json")), blocks, budget, Arc::default()))
}

/// A pass that fails is made again for each text alone, so that only the culprit ends.
#[test]
fn a_failed_pass_ends_the_culprit_alone() {
    let texts = expected("llama", &load("llama", "config.json"));
    let mut engine = engine(16, 64);
    let mut answers = Vec::new();
    for ids in [texts[0].ids.as_slice(), &[5, 500, 5], &texts[2].ids, &[1000]] {
        let (job, answer) = job(ids, 32);
        assert!(engine.admit(job).is_ok());
        answers.push(answer);
    }
    engine.turn();
    assert_eq!(engine.running(), 2);
    while engine.running() > 0 {
        engine.turn();
    }
    let mut answer = |i: usize| answers[i].try_recv().unwrap();
    assert_eq!(answer(0).unwrap().ids(), texts[0].greedy);
    assert_eq!(answer(2).unwrap().ids(), texts[2].greedy);
    for (i, id) in [(1, "token id 500"), (3, "token id 1000")] {
        let error = answer(i).unwrap_err();
        assert!(error.to_string().contains(id), "{error}");
    }
}

/// New texts join those that are half written, and a long prompt is cut by the budget.
#[test]
fn texts_join_between_turns() {
    let texts = expected("llama", &load("llama", "config.json"));
    let mut engine = engine(16, 10);
    let mut answers = Vec::new();
    for turn in 0..40 {
        if turn % 3 == 0 && turn < 27 {
            let (job, answer) = job(&texts[turn / 3 % 3].ids, 32 - turn);
            match engine.admit(job) {
                Ok(()) => answers.push((turn, answer)),
                Err(_) => assert!(engine.running() > 3, "refused with room"),
            }
        }
        engine.turn();
    }
    while engine.running() > 0 {
        engine.turn();
    }
    assert!(answers.len() > 4);
    for (turn, mut answer) in answers {
        let text = &texts[turn / 3 % 3];
        assert_eq!(answer.try_recv().unwrap().unwrap().ids(), text.greedy[..32 - turn], "joined at turn {turn}");
    }
}

#[test]
fn a_text_without_blocks_comes_back() {
    let mut engine = engine(3, 64);
    let (first, _answer) = job(&[5; 20], 12);
    assert!(engine.admit(first).is_ok());
    let (second, _answer) = job(&[5; 20], 12);
    let Err(second) = engine.admit(second) else { panic!("admitted without room") };
    while engine.running() > 0 {
        engine.turn();
    }
    assert!(engine.admit(second).is_ok());
    assert_eq!(engine.running(), 1);
    // What can never run is answered, not kept.
    let mut small = self::engine(1, 64);
    let (never, mut answer) = job(&[5; 20], 12);
    assert!(small.admit(never).is_ok());
    assert!(answer.try_recv().unwrap().unwrap_err().to_string().contains("no room"));
}
