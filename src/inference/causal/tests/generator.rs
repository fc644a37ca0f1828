//! The generator: many requests at once, each as if it were alone; who waits, who fails, and who is given up.

use super::support::{Expected, expected, folder, load};
use crate::inference::causal::{BLOCK, BeamOptions, Blocks, Choice, Choose, Finish, Generator, Greedy, Options, Request, Token};
use crate::inference::{Digest, InferenceError, Threads};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::unbounded_channel;

pub(super) fn options(threads: usize) -> Options {
    Options { threads: Threads::Exactly(threads), ..Options::default() }
}

/// One thread with room for so many blocks of the `llama` checkpoint.
pub(super) fn narrow(blocks: usize) -> Generator {
    let model = load("llama", "config.json");
    let cache_bytes = blocks * Blocks::block_bytes(model.spec());
    Generator::start("llama", model, Digest::of(b""), &Options { cache_bytes, ..options(1) }).unwrap()
}

pub(super) fn open(options: &Options) -> (Generator, Vec<Expected>) {
    let generator = Generator::open("llama", &folder("llama"), None, options).unwrap();
    (generator, expected("llama", &load("llama", "config.json")))
}

pub(super) fn greedy(ids: &[u32], max_new_tokens: usize) -> Request {
    Request::greedy(ids.to_vec(), max_new_tokens, Vec::new())
}

fn refused<T: std::fmt::Debug>(result: Result<T, InferenceError>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert!(
        matches!(&error, InferenceError::Poison(m) if parts.iter().all(|part| m.contains(part))),
        "{error} without {parts:?}"
    );
}

/// Two threads, one thread, and budgets that cut the prompts.
#[tokio::test]
async fn requests_at_once_get_what_transformers_says() {
    for (threads, token_budget) in [(2, 256), (1, 256), (1, 9), (1, 1)] {
        let (generator, texts) = open(&Options { token_budget, ..options(threads) });
        let mut alone = Vec::new();
        for text in &texts {
            alone.push(generator.generate(greedy(&text.ids, 32)).await.unwrap());
        }
        let requests = (0..12).map(|i| generator.generate(greedy(&texts[i % 3].ids, 32)));
        for (i, answer) in futures_util::future::join_all(requests).await.into_iter().enumerate() {
            let answer = answer.unwrap();
            assert_eq!(answer.ids(), texts[i % 3].greedy, "{threads} threads, budget {token_budget}, request {i}");
            assert_eq!((answer.finish, answer.cached), (Finish::Length, 0));
            assert!(answer.tokens.iter().all(|token| token.log_probability < 0.0));
            // The same bits, log-probabilities too: a replay in other company gives the same answer.
            assert_eq!(answer, alone[i % 3]);
        }
    }
}

#[tokio::test]
async fn who_is_opened_says_what_it_is() {
    let (generator, _) = open(&options(2));
    assert!(generator.id().starts_with("llama@") && generator.id().ends_with(generator.digest().short()));
    assert_eq!((generator.vocabulary(), generator.max_positions()), (96, 64));
    let bytes = generator.bytes();
    // Every linear layer has a bias here, of zeros where the file has none.
    let numbers = 96 * 33 + 2 * (64 * 33 + 32 * 33 + 80 * 33 + 32 * 41 + 64) + 32;
    assert_eq!((bytes.weights, bytes.token), (numbers * 4, 2 * 2 * 2 * 8 * 4));
    // 64 of the longest texts for each of two threads: less than the default.
    assert_eq!(bytes.cache, 2 * 64 * 64 * bytes.token);
    let wrong = Generator::open("llama", &folder("llama"), Some("000000000000"), &options(1)).err().unwrap();
    assert!(matches!(wrong, InferenceError::WrongDigest { .. }), "{wrong}");
}

/// Would catch: prompts that are cut elsewhere on a machine with more cores.
#[tokio::test]
async fn a_text_has_the_same_room_whatever_the_threads() {
    let block = Blocks::block_bytes(load("llama", "config.json").spec());
    for (blocks, room) in [(1, 16), (3, 48), (4, 64), (7, 64), (9, 64), (1000, 64)] {
        for threads in [1, 2, 64] {
            let (generator, _) = open(&Options { cache_bytes: blocks * block, ..options(threads) });
            assert_eq!(generator.room(), room, "{blocks} blocks, {threads} threads");
            assert!(generator.bytes().cache <= blocks * block);
            assert_eq!(generator.generate(greedy(&[5; 9], room - 9)).await.unwrap().tokens.len(), room - 9);
        }
    }
}

#[tokio::test]
async fn tokens_are_streamed_as_they_are_chosen() {
    let (generator, texts) = open(&options(1));
    let (sender, mut receiver) = unbounded_channel();
    let answer = generator.stream(greedy(&texts[1].ids, 32), sender).await.unwrap();
    let mut streamed: Vec<Token> = Vec::new();
    while let Some(token) = receiver.recv().await {
        streamed.push(token);
    }
    assert_eq!(streamed, answer.tokens);
    assert_eq!(answer.ids(), texts[1].greedy);
}

#[tokio::test]
async fn a_stop_id_ends_a_text_and_is_not_part_of_it() {
    let (generator, texts) = open(&options(1));
    let text = &texts[2];
    let stop = text.greedy[9];
    let first = text.greedy.iter().position(|id| *id == stop).unwrap();
    let answer = generator.generate(Request::greedy(text.ids.clone(), 32, vec![stop])).await.unwrap();
    assert_eq!((answer.ids(), answer.finish), (text.greedy[..first].to_vec(), Finish::StopId(stop)));
}

#[tokio::test]
async fn what_can_never_run_is_told_with_both_numbers() {
    let generator = narrow(2);
    refused(generator.generate(greedy(&[5; 60], 5)).await, &["65 tokens", "64"]);
    refused(generator.generate(greedy(&[5; 30], 3)).await, &["3 blocks", "has 2"]);
    refused(generator.generate(greedy(&[5; 3], usize::MAX)).await, &["64"]);
    refused(generator.generate(greedy(&[], 5)).await, &["at least 1"]);
    refused(generator.generate(greedy(&[5], 0)).await, &["max_new_tokens is 0"]);
    refused(generator.generate(greedy(&[5, 96], 5)).await, &["token id 96", "below 96"]);
    refused(generator.score(vec![], vec![vec![5]]).await, &["at least 1"]);
    refused(generator.score(vec![5], vec![vec![5], vec![]]).await, &["continuation 1"]);
    refused(generator.score(vec![5], vec![vec![5, 99]]).await, &["token id 99"]);
    refused(generator.score(vec![5; 60], vec![vec![5; 6]]).await, &["65 tokens", "64"]);
    refused(generator.score(vec![5; 20], vec![vec![5; 14]]).await, &["4 blocks", "has 2"]);
    refused(generator.log_likelihood(vec![5]).await, &["at least 2"]);
    refused(generator.remember(vec![5; 33]), &["3 blocks", "has 2"]);
    // What just fits, runs.
    assert_eq!(generator.generate(greedy(&[5; 29], 3)).await.unwrap().tokens.len(), 3);
}

/// Chooses by a function of the number of ids so far; greedy where that says nothing.
struct By<F>(F);

impl<F: Fn(usize) -> Option<Choice> + Send> Choose for By<F> {
    fn choose(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32]) -> Choice {
        (self.0)(ids.len() - prompt).unwrap_or_else(|| Greedy.choose(ids, prompt, logits))
    }
}

fn by(ids: &[u32], choose: impl Fn(usize) -> Option<Choice> + Send + 'static) -> Request {
    Request { ids: ids.to_vec(), max_new_tokens: 32, stop_ids: Vec::new(), choose: Box::new(By(choose)) }
}

/// Would catch: a panic that takes the thread or its batch with it, a poisoned request that hides.
#[tokio::test]
async fn one_that_fails_ends_alone() {
    let (generator, texts) = open(&options(1));
    let panics = generator.generate(by(&texts[0].ids, |new| if new == 5 { panic!("unlucky") } else { None }));
    let strange = generator.generate(by(&texts[1].ids, |_| Some(Choice::Token { id: 96, log_probability: 0.0 })));
    let stops = generator.generate(by(&texts[1].ids, |new| (new == 7).then_some(Choice::Stop)));
    let good = generator.generate(greedy(&texts[2].ids, 32));
    let (panics, strange, stops, good) = futures_util::join!(panics, strange, stops, good);
    refused(panics, &["panicked"]);
    refused(strange, &["token id 96"]);
    let stops = stops.unwrap();
    assert_eq!((stops.ids(), stops.finish), (texts[1].greedy[..7].to_vec(), Finish::Chooser));
    assert_eq!(good.unwrap().ids(), texts[2].greedy);
}

/// Numbers that overflow for one token alone: the norm of its row is not a number.
#[tokio::test]
async fn numbers_that_are_none_end_their_text_alone() {
    let bytes = std::fs::read(folder("gpt_neox").join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let words = file.tensor("gpt_neox.embed_in.weight").unwrap();
    let mut data = words.data().to_vec();
    let huge = half::bf16::from_f32(3e38).to_le_bytes();
    data[7 * 64..8 * 64].as_chunks_mut::<2>().0.iter_mut().for_each(|number| *number = huge);
    let changed = safetensors::tensor::TensorView::new(words.dtype(), words.shape().to_vec(), &data).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| match name.contains("embed_in") {
        true => (name, changed.clone()),
        false => (name, view),
    });
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    std::fs::copy(folder("gpt_neox").join("config.json"), copy.path().join("config.json")).unwrap();
    let generator = Generator::open("neox", copy.path(), None, &options(1)).unwrap();
    let texts = expected("gpt_neox", &load("gpt_neox", "config.json"));
    let text = texts.iter().find(|text| !text.ids.contains(&7) && !text.greedy.contains(&7)).unwrap();
    let (bad, good) = futures_util::join!(generator.generate(greedy(&[9, 7, 8], 4)), generator.generate(greedy(&text.ids, 32)));
    refused(bad, &["not a finite number"]);
    assert_eq!(good.unwrap().ids(), text.greedy);
    refused(generator.score(vec![7], vec![vec![9]]).await, &["not a finite number"]);
}

/// A chooser that tells each call and waits to be let on.
struct Gate(Sender<usize>, Arc<Mutex<Receiver<()>>>);

impl Choose for Gate {
    fn choose(&mut self, ids: &[u32], prompt: usize, logits: &mut [f32]) -> Choice {
        self.0.send(ids.len() - prompt).unwrap();
        // A test that has ended lets everybody on.
        self.1.lock().unwrap().recv().ok();
        Greedy.choose(ids, prompt, logits)
    }
}

/// Would catch: blocks that stay with a caller who has gone, and texts written for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_frees_its_blocks() {
    for streamed in [false, true] {
        let generator = Arc::new(narrow(2));
        let (calls, called) = channel();
        let (open, gate) = channel();
        let request = Request { choose: Box::new(Gate(calls, Arc::new(Mutex::new(gate)))), ..greedy(&[5; 3], 29) };
        let (sender, receiver) = unbounded_channel();
        let first = Arc::clone(&generator);
        let task = tokio::spawn(async move {
            match streamed {
                true => first.stream(request, sender).await,
                false => first.generate(request).await,
            }
        });
        assert_eq!(called.recv().unwrap(), 0);
        let second = Arc::clone(&generator);
        let waits = tokio::spawn(async move { second.generate(greedy(&[6; 20], 4)).await });
        if streamed {
            // Nobody reads any more.
            drop(receiver);
        } else {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        open.send(()).unwrap();
        assert_eq!(waits.await.unwrap().unwrap().tokens.len(), 4);
        assert!(called.recv().is_err(), "the text was gone on with for nobody");
    }
}

/// A large request waits for blocks, and a small one behind it does not overtake.
#[tokio::test]
async fn requests_are_admitted_in_order_of_arrival() {
    let generator = narrow(4);
    let (calls, _called) = channel();
    let (open, gate) = channel();
    let order = Arc::new(Mutex::new(Vec::new()));
    let holder = Request { choose: Box::new(Gate(calls, Arc::new(Mutex::new(gate)))), ..greedy(&[5; 3], 35) };
    let run = async |request: Request| generator.generate(request).await.unwrap().tokens.len();
    // Two blocks, then one: the pool has one left.
    let note = |name: &'static str, count: usize| {
        let order = Arc::clone(&order);
        by(&vec![5; count], move |new| {
            if new == 0 {
                order.lock().unwrap().push(name);
            }
            (new == 2).then_some(Choice::Stop)
        })
    };
    let large = run(Request { max_new_tokens: 4, ..note("large", 2 * BLOCK - 5) });
    let small = run(Request { max_new_tokens: 4, ..note("small", 3) });
    // Polled in this order: the first is let on when all have arrived.
    let open = async { (0..40).for_each(|_| open.send(()).unwrap()) };
    let (holder, large, small, ()) = futures_util::join!(run(holder), large, small, open);
    assert_eq!([holder, large, small], [35, 2, 2]);
    assert_eq!(*order.lock().unwrap(), ["large", "small"]);
}

#[test]
fn callers_without_a_runtime_are_answered_too() {
    let (generator, texts) = open(&options(2));
    let text = &texts[1];
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || generator.generate_blocking(greedy(&text.ids, 32)).unwrap().ids();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|ids| *ids == text.greedy));
    let (prefix, rest) = text.ids.split_at(4);
    let score = generator.score_blocking(prefix.to_vec(), vec![rest.to_vec()]).unwrap()[0];
    let each = generator.log_likelihood_blocking(text.ids.clone()).unwrap();
    assert!((each[3..].iter().sum::<f32>() - score).abs() < 1e-4);
    let found =
        generator.search_blocking(text.ids.clone(), 32, Vec::new(), BeamOptions { beams: 1, ..BeamOptions::default() }).unwrap();
    assert_eq!(found[0].ids, text.greedy);
}
