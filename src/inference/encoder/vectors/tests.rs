//! Models on one encoder whose network counts what it is asked.

use crate::inference::backbone::Backbone;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::contents::contents;
use crate::inference::encoder::{Answer, Encoder, Head, Options};
use crate::inference::network::watching::Watching;
use crate::inference::network::{self, Sequence};
use crate::inference::tokenizer::{Cut, Text, TextTokenizer};
use crate::inference::weights::Weights;
use crate::inference::{InferenceError, Results, Threads};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the network saw each text, and what it does the next times before it runs.
#[derive(Default)]
struct Watched {
    seen: Mutex<BTreeMap<Vec<u32>, usize>>,
    next: Mutex<Vec<Act>>,
}

enum Act {
    /// Tells that it is there, and waits until it may go on.
    Wait(Sender<()>, Receiver<()>),
    Fail,
    Panic,
}

impl Watched {
    fn before(&self, texts: &[Sequence<'_>]) -> Result<(), InferenceError> {
        for text in texts {
            *self.seen.lock().unwrap().entry(text.ids.to_vec()).or_default() += 1;
        }
        loop {
            let act = self.next.lock().unwrap().pop();
            match act {
                None => return Ok(()),
                Some(Act::Fail) => return Err(InferenceError::Poison("told to fail".to_owned())),
                Some(Act::Panic) => panic!("told to panic"),
                Some(Act::Wait(there, go)) => {
                    there.send(()).unwrap();
                    go.recv().unwrap();
                }
            }
        }
    }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions/one")
}

/// Models that stand on one encoder.
struct World {
    backbone: Arc<Backbone>,
    watched: Arc<Watched>,
    whole: Encoder,
    heads: Vec<Encoder>,
    _folders: Vec<tempfile::TempDir>,
}

impl World {
    fn new(options: Options) -> Self {
        let (folder, watched) = (fixture(), Arc::new(Watched::default()));
        let (config, weights) = (ModelConfig::open(&folder).unwrap(), Weights::open(&folder, None).unwrap());
        let network = network::load(&config, &weights.tensors().unwrap()).unwrap();
        let tokenizer = TextTokenizer::open(&folder, network.max_tokens()).unwrap();
        let before = {
            let watched = Arc::clone(&watched);
            move |texts: &[Sequence<'_>]| watched.before(texts)
        };
        let network = Box::new(Watching(network, before));
        let backbone = Arc::new(Backbone::of(network, tokenizer, contents(&folder, weights.digest()).unwrap()));
        options.backbones.put(&backbone);
        let whole = Encoder::open("whole", &folder, None, &options).unwrap();
        let folders = vec![head(&backbone, weights.digest().as_str(), 2), head(&backbone, weights.digest().as_str(), 3)];
        let heads: Vec<Encoder> = folders.iter().map(|folder| whole.open_beside("head", folder.path()).unwrap()).collect();
        assert!(heads.iter().all(|head| head.shares_backbone(&whole)));
        Self { backbone, watched, whole, heads, _folders: folders }
    }

    /// How often each text was run, at the least and at the most, and how many texts.
    fn runs(&self) -> (usize, usize, usize) {
        let seen = self.watched.seen.lock().unwrap();
        (seen.values().copied().min().unwrap_or(0), seen.values().copied().max().unwrap_or(0), seen.len())
    }

    /// The next time the network is run it waits: until the second sends, as the first tells.
    fn stop(&self) -> (Receiver<()>, Sender<()>) {
        let ((there, is_there), (go, may_go)) = (channel(), channel());
        self.watched.next.lock().unwrap().push(Act::Wait(there, may_go));
        (is_there, go)
    }

    fn until_somebody_waits(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.backbone.flights.waiting() == 0 {
            assert!(Instant::now() < end, "nobody waits");
            std::thread::yield_now();
        }
    }
}

/// A folder with a head of so many labels on the encoder.
fn head(backbone: &Backbone, sha256: &str, labels: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weight: Vec<u8> = (0..labels * backbone.hidden).flat_map(|i| ((i * 31 % 17) as f32 * 0.1 - 0.8).to_le_bytes()).collect();
    let bias: Vec<u8> = (0..labels).flat_map(|i| (i as f32 * 0.1).to_le_bytes()).collect();
    let view = |shape, bytes| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap();
    let views =
        [("classifier.bias", view(vec![labels], &bias)), ("classifier.weight", view(vec![labels, backbone.hidden], &weight))];
    let file = safetensors::serialize(views, Some([("backbone".to_owned(), sha256.to_owned())].into())).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let names: serde_json::Map<_, _> = (0..labels).map(|i| (i.to_string(), format!("label {i}").into())).collect();
    let config = serde_json::json!({
        "model_type": "millrace_head",
        "backbone": { "folder": fixture(), "sha256": sha256 },
        "problem_type": "single_label_classification",
        "id2label": names,
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn options(results: &Results) -> Options {
    Options { threads: Threads::Exactly(2), results: results.clone(), ..Options::default() }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{}film {}", "good bad ".repeat(i % 4), "x".repeat(1 + i))).collect()
}

fn bits(answers: &[Answer]) -> Vec<(Vec<u32>, usize, bool)> {
    let one = |a: &Answer| (a.values.iter().map(|v| v.to_bits()).collect(), a.tokens, a.truncated);
    answers.iter().map(one).collect()
}

/// What a head says when nothing is kept and nobody else asks.
fn alone(ask: impl Fn(&World) -> Vec<Answer>) -> Vec<(Vec<u32>, usize, bool)> {
    bits(&ask(&World::new(Options { merge: false, ..options(&Results::default()) })))
}

/// Would catch: a network that is run again for another head, bits that depend on where a vector comes from, an answer at another text's
/// place.
#[test]
fn an_encoder_sees_each_text_once_whoever_asks() {
    let (results, texts) = (Results::new(1 << 20), texts(20));
    let world = World::new(options(&results));
    type Ask = (fn(&World) -> &Encoder, Head);
    let asks: [Ask; 4] = [
        (|world| &world.whole, Head::Embed),
        (|world| &world.heads[0], Head::Classify),
        (|world| &world.heads[1], Head::Logits),
        (|world| &world.heads[1], Head::Embed),
    ];
    let wanted: Vec<_> =
        asks.iter().map(|(of, head)| alone(|world| of(world).answer_blocking(*head, texts.clone()).unwrap())).collect();
    std::thread::scope(|scope| {
        for turn in 0..12 {
            let ((of, head), wanted) = (asks[turn % asks.len()], &wanted[turn % asks.len()]);
            let (world, texts) = (&world, &texts);
            scope.spawn(move || {
                // Each begins elsewhere.
                let mut turned: Vec<String> = texts.clone();
                turned.rotate_left(turn);
                let mut found = bits(&of(world).answer_blocking(head, turned).unwrap());
                found.rotate_right(turn);
                assert_eq!(&found, wanted);
            });
        }
    });
    assert_eq!(world.runs(), (1, 1, 20));
    // Labels of two heads, and 20 vectors, each once.
    assert_eq!(results.counts().answers, 3 * 20);
}

/// Would catch: windows, pairs, and heads that are asked together, that do not find what the others have computed.
#[tokio::test]
async fn windows_and_heads_together_use_the_same_vectors() {
    let (results, texts) = (Results::new(1 << 20), texts(9));
    let world = World::new(options(&results));
    let reference = World::new(Options { merge: false, ..options(&Results::default()) });
    let pairs: Vec<Text> = texts.iter().map(|text| Text::from(text.clone())).chain([Text::pair("good", "bad")]).collect();
    let windows = world.whole.windows(pairs.clone(), Cut::default()).await.unwrap().concat();
    let ask = async |world: &World| {
        let mut all = bits(&world.whole.answer_texts(Head::Embed, pairs.clone(), Cut::default()).await.unwrap());
        all.extend(bits(&world.heads[0].answer_windows(Head::Classify, windows.clone()).await.unwrap()));
        for one in world.whole.answer_heads(&[&world.heads[1], &world.heads[0]], texts.clone()).await.unwrap() {
            let scores = one.scores.concat().iter().map(|v| v.to_bits()).collect();
            all.extend(bits(&[one.embedding]));
            all.push((scores, 0, false));
        }
        all
    };
    let (found, wanted) = (ask(&world).await, ask(&reference).await);
    assert_eq!(found, wanted);
    assert_eq!(world.runs(), (1, 1, 10));
}

/// Would catch: a second caller who computes what the first one is at, though nothing is kept; one who gets another's failure, or waits
/// for ever.
#[test]
fn what_is_under_way_is_waited_for_and_a_failure_is_the_first_callers_own() {
    let texts = texts(3);
    let wanted = alone(|world| world.heads[0].answer_blocking(Head::Logits, texts.clone()).unwrap());
    for act in [None, Some(Act::Fail), Some(Act::Panic)] {
        let fails = act.is_some();
        let world = World::new(Options { threads: Threads::Exactly(1), ..options(&Results::default()) });
        world.watched.next.lock().unwrap().extend(act);
        let (is_there, go) = world.stop();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| world.whole.answer_blocking(Head::Embed, texts.clone()));
            is_there.recv().unwrap();
            let second = scope.spawn(|| world.heads[0].answer_blocking(Head::Logits, texts.clone()));
            world.until_somebody_waits();
            go.send(()).unwrap();
            assert_eq!(first.join().unwrap().is_err(), fails);
            assert_eq!(bits(&second.join().unwrap().unwrap()), wanted);
        });
        assert_eq!(world.runs(), if fails { (2, 2, 3) } else { (1, 1, 3) });
    }
}

/// Would catch: callers that wait for each other.
#[test]
fn callers_that_want_each_others_texts_all_end() {
    let (world, texts) = (World::new(options(&Results::default())), texts(12));
    let wanted = alone(|world| world.whole.answer_blocking(Head::Embed, texts.clone()).unwrap());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (world, texts, wanted) = (&world, &texts, &wanted);
            scope.spawn(move || {
                for round in 0..10 {
                    let order: Vec<usize> = (0..12).map(|i| (i * [1, 5, 7, 11][thread % 4] + round) % 12).collect();
                    let asked = order.iter().map(|&i| texts[i].clone()).collect();
                    let of = if thread % 2 == 0 { &world.whole } else { &world.heads[0] };
                    let found = bits(&of.answer_blocking(Head::Embed, asked).unwrap());
                    assert!(order.iter().zip(&found).all(|(&i, found)| *found == wanted[i]));
                }
            });
        }
    });
    assert_eq!(world.backbone.flights.waiting(), 0);
}

/// Would catch: vectors that are kept beyond the limit, or although nothing is to be kept.
#[test]
fn the_limit_holds_for_vectors_and_without_one_nothing_is_kept() {
    let (results, all) = (Results::new(8_000), texts(50));
    let world = World::new(options(&results));
    for of in [&world.whole, &world.heads[0], &world.heads[1]] {
        of.answer_blocking(Head::Embed, all.clone()).unwrap();
        let counts = results.counts();
        assert!(counts.bytes <= 8_000 && counts.answers > 0, "{counts:?}");
    }
    let off = World::new(options(&Results::default()));
    off.whole.answer_blocking(Head::Embed, all.clone()).unwrap();
    off.heads[0].answer_blocking(Head::Embed, all).unwrap();
    assert_eq!(off.runs(), (2, 2, 50));
}
