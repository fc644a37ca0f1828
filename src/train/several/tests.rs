mod written;

use super::*;
use crate::train::fit::Fit;
use crate::train::keep::Keep;
use crate::train::measure::{embeddings, score};
use crate::train::network::tests::{SHAPE, tiny_with};
use crate::train::network::{Shape, Tuning};
use crate::train::probe::{Labelled, regression};
use crate::train::shards::gradients;
use rand::RngExt;
use std::collections::HashMap;

fn body(dropout: f32) -> Network {
    tiny_with(Task::Tag, 0, &Tuning { tables: true, dropout, ..Tuning::default() })
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("label {i}")).collect()
}

/// Texts of unequal lengths with fillers from 3 to 10. Token 12 or 13 stands in each, and 14 or 15, and 16, 17 or 18.
fn texts(from: usize, count: usize) -> Vec<[Vec<u32>; 2]> {
    let one = |i: usize| {
        let mut ids: Vec<u32> = (0..1 + i % 3).map(|j| 3 + ((i * 7 + j * 3) % 8) as u32).collect();
        let kinds = [12 + (i % 2) as u32, 14 + (i / 2 % 2) as u32, 16 + (i / 4 % 3) as u32];
        kinds.iter().enumerate().for_each(|(n, id)| ids.insert((i / 3 + 2 * n) % (ids.len() + 1), *id));
        [[&[1], &ids[..], &[2]].concat(), kinds.to_vec()]
    };
    (from..from + count).map(one).collect()
}

/// A task's examples, from what stands in a text.
fn of(texts: &[[Vec<u32>; 2]], target: impl Fn(&[u32], &[u32]) -> Target) -> Vec<Example> {
    texts.iter().map(|[ids, kinds]| Example { ids: ids.clone(), types: vec![], target: target(ids, kinds) }).collect()
}

fn either(_: &[u32], kinds: &[u32]) -> Target {
    Target::Label((kinds[0] + kinds[1]) % 2)
}

fn third(_: &[u32], kinds: &[u32]) -> Target {
    Target::Label(kinds[2] - 16)
}

fn many(_: &[u32], kinds: &[u32]) -> Target {
    Target::Labels(
        [(0, kinds[0] == 12), (1, kinds[1] == 14), (2, kinds[2] == 16)].into_iter().filter(|of| of.1).map(|of| of.0).collect(),
    )
}

fn number(_: &[u32], kinds: &[u32]) -> Target {
    Target::Score(kinds[2] as f32 - 17.0)
}

fn words(ids: &[u32], _: &[u32]) -> Target {
    let tag = |(place, id): (usize, &u32)| (place > 0 && *id != 2).then(|| u32::from(*id > 15));
    Target::Tags(ids.iter().enumerate().map(tag).collect())
}

/// The tasks of these tests, with the texts to learn from and those to measure on.
struct Set {
    labels: [Vec<String>; 3],
    train: [Vec<Example>; 5],
    dev: [Vec<Example>; 5],
}

const TASKS: [(&str, Task); 5] =
    [("either", Task::Label), ("third", Task::Label), ("many", Task::Labels), ("words", Task::Tag), ("number", Task::Score)];

impl Set {
    fn new(count: usize) -> Self {
        let all = |from, count| {
            let texts = texts(from, count);
            let few = &texts[..count / 2];
            [of(&texts, either), of(few, third), of(&texts, many), of(&texts, words), of(&texts, number)]
        };
        Self { labels: [names(2), names(3), names(1)], train: all(0, count), dev: all(1_000, 60) }
    }

    fn parts(&self, numbers: &[usize]) -> Vec<Part<'_>> {
        let one = |&i: &usize| Part {
            name: TASKS[i].0,
            task: TASKS[i].1,
            labels: &self.labels[[0, 1, 1, 0, 2][i]],
            scale: None,
            train: &self.train[i],
            dev: &self.dev[i],
        };
        numbers.iter().map(one).collect()
    }
}

fn values(parameters: &BTreeMap<String, Var>) -> Vec<Vec<f32>> {
    parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

/// Would catch: a head without a gradient, one that learns from another task's batches, a batch that does not reach the encoder.
#[test]
fn a_batch_reaches_the_encoder_and_its_own_head_alone() {
    let (network, set) = (body(0.1), Set::new(24));
    let learner = Several::new(&network, set.parts(&[0, 1, 2, 3, 4]), 1).unwrap();
    assert_eq!(learner.parameters.len(), network.parameters.len() + 10);
    let mut turns = [0; 5];
    for batch in (0..4).flat_map(|epoch| learner.batches(6, epoch)) {
        let own = |&number: &usize| learner.place(number).0.name;
        let name = own(&batch[0]);
        assert!(batch.iter().all(|number| own(number) == name));
        turns[TASKS.iter().position(|task| task.0 == name).unwrap()] += 1;
        let (_, stores) = gradients(&learner, &batch, 1).unwrap();
        for (parameter, var) in &learner.parameters {
            let reached = learner.reaches(&batch, parameter);
            assert_eq!(reached, !parameter.starts_with("heads.") || parameter.contains(&format!(".{name}.")), "{parameter}");
            for store in &stores {
                let Some(gradient) = store.get(var) else {
                    assert!(!reached, "{name}: no gradient for {parameter}");
                    continue;
                };
                let size = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                // Softmax ignores a constant that is added to all scores of keys.
                assert!(
                    reached && (size > 0.0 || parameter.ends_with("key.bias")),
                    "{name}: {parameter} has the gradient {size}"
                );
            }
        }
    }
    assert!(turns.iter().all(|count| *count > 2), "{turns:?}");
}

/// Texts of three words out of 36, and one of three words more. Words of odd number outvote the others or not: eight numbers of a text's
/// embedding cannot hold 36 words' votes unless the encoder learns which way each of them votes.
fn votes(from: u32, count: u32) -> [Vec<Example>; 2] {
    let mut rng = StdRng::seed_from_u64(u64::from(from));
    let mut examples = [vec![], vec![]];
    for _ in 0..count {
        let words: [u32; 3] = std::array::from_fn(|_| rng.random_range(3..39));
        let (place, mood): (usize, u32) = (rng.random_range(0..4), rng.random_range(0..3));
        let mut ids = words.to_vec();
        ids.insert(place, 39 + mood);
        let ids = [&[1], &ids[..], &[2]].concat();
        let odd = words.iter().filter(|word| *word % 2 == 1).count() > 1;
        for (of, label) in examples.iter_mut().zip([u32::from(odd), mood]) {
            of.push(Example { ids: ids.clone(), types: vec![], target: Target::Label(label) });
        }
    }
    examples
}

/// Would catch: heads that learn while the encoder does not, one task that is learnt at the cost of the other, figures in another order.
#[test]
fn tasks_are_learnt_that_need_the_encoder_to_learn() {
    let (train, dev, labels) = (votes(0, 480), votes(1, 150), [names(2), names(3)]);
    let part = |name, i: usize, train| Part { name, task: Task::Label, labels: &labels[i], scale: None, train, dev: &dev[i] };
    let tuning = Tuning { tables: true, ..Tuning::default() };
    let network = Network::new(Shape { vocab_size: 42, ..SHAPE }, Task::Tag, 0, &HashMap::new(), &tuning).unwrap();
    let parts = vec![part("votes", 0, &train[0][..]), part("mood", 1, &train[1][..240])];
    let learner = Several::new(&network, parts, 1).unwrap();
    // What a head alone can do on the encoder as it was.
    let frozen = |part: &Part<'_>| {
        let label = |example: &Example| if let Target::Label(label) = example.target { label } else { 0 };
        let vectors = embeddings(&network, part.train).unwrap();
        let data = Labelled { vectors, labels: part.train.iter().map(label).collect() };
        let head = regression(&data, part.labels.len(), 100.0).unwrap();
        let rows: Vec<Vec<f32>> = embeddings(&network, part.dev).unwrap().iter().map(|vector| head.logits(vector)).collect();
        score(part.task, &rows, part.dev, part.labels)
    };
    let before = frozen(&learner.parts()[0]);
    let plan = Plan { epochs: 8, rate: 1.5e-2, batch: 24, checks: 1, seed: 1, ..Plan::default() };
    let mut tags = Vec::new();
    let mut note = |record: &Record| {
        tags = learner.points(record);
        Ok(())
    };
    let fitted = Fit::new(&learner, &plan).observed(&mut note).run().unwrap();
    let (mean, figures) = learner.measures().unwrap();
    assert_eq!((mean, &figures[..]), (fitted.best, Record::best(&fitted.records)));
    let &[votes, _, mood, mood_f1] = &figures[..] else { panic!("{figures:?}") };
    assert!(before < 0.8 && votes > 0.85, "{before} with the encoder as it was, {votes} with the one that learnt");
    assert!(mood > 0.9 && mood_f1 > 0.9, "{figures:?}");
    assert!((mean - (votes + mood) / 2.0).abs() < 1e-12);
    let said = learner.said_with(mean, &figures);
    assert!(said.contains("; votes accuracy ") && said.contains("; mood accuracy ") && said.contains(", macro-F1 "), "{said}");
    let tags: Vec<&str> = tags.iter().map(|point| &*point.tag).collect();
    assert_eq!(tags, ["dev/mean", "dev/votes/accuracy", "dev/votes/macro_f1", "dev/mood/accuracy", "dev/mood/macro_f1"]);
}

/// Would catch: a head's moments or its count of steps that do not outlive the process; a run that goes on with other tasks.
#[test]
fn a_run_that_is_cut_off_goes_on_to_the_same_bytes() {
    let (folder, set) = (tempfile::tempdir().unwrap(), Set::new(24));
    let plan = Plan { epochs: 3, rate: 1e-2, batch: 6, checks: 2, ..Plan::default() };
    let whole = body(0.1);
    fn learner<'a>(network: &'a Network, set: &'a Set) -> Several<'a> {
        Several::new(network, set.parts(&[0, 1, 2]), 1).unwrap()
    }
    let want = learner(&whole, &set);
    let fitted = Fit::new(&want, &plan).run().unwrap();
    for cut in [1, 5, fitted.steps - 1] {
        let network = body(0.1);
        let learner = learner(&network, &set);
        let mut keep = Keep::new(folder.path(), learner.fingerprint(&plan).unwrap());
        keep.every = std::time::Duration::ZERO;
        let mut die = |record: &Record| match record {
            Record::Step { step, .. } if *step > cut => anyhow::bail!("cut off"),
            _ => Ok(()),
        };
        assert!(Fit::new(&learner, &plan).kept(&keep).observed(&mut die).run().is_err());
    }
    let network = body(0.1);
    let again = learner(&network, &set);
    let keep = Keep::new(folder.path(), again.fingerprint(&plan).unwrap());
    let went = Fit::new(&again, &plan).kept(&keep).run().unwrap();
    assert_eq!((went.steps, went.best, went.tokens), (fitted.steps, fitted.best, fitted.tokens));
    assert_eq!(values(&again.parameters), values(&want.parameters));
    let fewer = Several::new(&network, set.parts(&[0, 1]), 1).unwrap();
    let refused = Fit::new(&fewer, &plan).kept(&Keep::new(folder.path(), fewer.fingerprint(&plan).unwrap())).run().unwrap_err();
    assert!(refused.to_string().contains("other data"), "{refused}");
}

/// Would catch: heads of a network that was read again that are those of nobody; names that mean two heads.
#[test]
fn heads_stand_on_another_network_and_what_cannot_be_is_refused() {
    let (network, set) = (body(0.0), Set::new(24));
    let learner = Several::new(&network, set.parts(&[0, 3]), 1).unwrap();
    let same = body(0.0);
    assert_eq!(learner.on(&same).measures().unwrap(), learner.measures().unwrap());
    let other = tiny_with(Task::Tag, 0, &Tuning { layers: Some(1), ..Tuning::default() });
    assert_eq!(learner.on(&other).parameters.len(), other.parameters.len() + 4);
    let refused = |network: &Network, parts: Vec<Part<'_>>| Several::new(network, parts, 1).err().unwrap().to_string();
    assert!(refused(&network, set.parts(&[0, 0])).contains("two tasks have the name either"));
    let answers = Part { task: Task::Answer, ..set.parts(&[0])[0] };
    assert!(refused(&network, vec![answers]).contains("answers"));
    let empty = Part { train: &[], ..set.parts(&[0])[0] };
    assert!(refused(&network, vec![empty]).contains("nothing to learn"));
    assert!(refused(&tiny_with(Task::Label, 2, &Tuning::default()), set.parts(&[0])).contains("none itself"));
}
