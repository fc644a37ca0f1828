use super::*;
use crate::train::class_weights::Wanted;
use crate::train::diverged::{Diverged, Of};
use crate::train::fit::Fit;
use crate::train::keep::Keep;
use crate::train::network::Tuning;
use crate::train::network::tests::{drawn_with, tiny};
use crate::train::task::Task;

fn learner<'a>(network: &'a Network, examples: &'a Vec<Example>, labels: &'a [String]) -> Learner<'a> {
    Learner {
        network,
        train: examples,
        dev: Dev::Examples(examples),
        labels,
        blank: None,
        teacher: None,
        class_weights: None,
        seed: 1,
    }
}

#[test]
fn loss_falls_and_a_tiny_set_is_learnt() {
    let network = tiny();
    let target = |i: u32| Target::Label(i % 2);
    let ids = |i: u32| vec![1, 3 + i % 8, if i.is_multiple_of(2) { 12 } else { 13 }, 2];
    let examples: Vec<Example> = (0..24).map(|i| Example { ids: ids(i), types: vec![], target: target(i) }).collect();
    let learner = learner(&network, &examples, &[]);
    let all: Vec<usize> = (0..24).collect();
    let before = f64::from(learner.loss(&all, 0).unwrap().to_scalar::<f32>().unwrap());
    let plan = Plan { epochs: 60, rate: 1.5e-2, batch: 24, seed: 1, checks: 1, ..Plan::default() };
    let mut seen = Vec::new();
    let mut note = |record: &Record| {
        seen.push(record.clone());
        Ok(())
    };
    let fitted = Fit::new(&learner, &plan).observed(&mut note).run().unwrap();
    assert!(fitted.last_loss < before - 0.2, "{before} to {}", fitted.last_loss);
    assert_eq!(fitted.best, 1.0);
    assert_eq!(learner.measure().unwrap(), 1.0);
    assert_eq!(seen, fitted.records);
    assert_eq!(seen.iter().filter(|record| matches!(record, Record::Check { .. })).count(), 60);
}

/// Texts of unequal lengths in padded batches: each has token 12 or 13 somewhere.
fn set(task: Task) -> Vec<Example> {
    let one = |i: usize| {
        let mut ids = vec![1];
        ids.extend((0..2 + i % 3).map(|j| 3 + ((i * 7 + j * 3) % 8) as u32));
        let (at, kind) = (1 + i % (ids.len() - 1), i % 2);
        ids[at] = 12 + kind as u32;
        ids.push(2);
        let tag = |(token, id): (usize, &u32)| (token > 0 && *id != 2).then(|| id.saturating_sub(11).min(2));
        let target = match task {
            Task::Label => Target::Label(kind as u32),
            Task::Labels => Target::Labels(if kind == 0 { vec![0, 1] } else { vec![] }),
            Task::Score => Target::Score(kind as f32 - 0.5),
            Task::Tag => Target::Tags(ids.iter().enumerate().map(tag).collect()),
            Task::Answer if kind == 0 => Target::Span(at as u32, at as u32),
            Task::Answer => Target::Span(0, 0),
        };
        // Numbers are those of pairs.
        let second = |place: usize| u32::from(task == Task::Score && place > 1);
        let types = (0..ids.len()).map(second).collect();
        Example { ids, types, target }
    };
    (0..24).map(one).collect()
}

/// Would catch: a loss whose targets are shifted, a head that reads other rows than its loss, a measure that is none.
#[test]
fn a_tiny_set_of_each_kind_is_learnt() {
    let labels = ["O".to_owned(), "B-x".to_owned(), "B-y".to_owned()];
    for (task, outputs) in [(Task::Labels, 2), (Task::Score, 1), (Task::Tag, 3), (Task::Answer, 2)] {
        let network = drawn_with(task, outputs, &Tuning { tables: true, ..Tuning::default() });
        let examples = set(task);
        let learner = learner(&network, &examples, &labels);
        let plan = Plan { epochs: 70, rate: 1.5e-2, batch: 24, checks: 1, ..Plan::default() };
        let fitted = Fit::new(&learner, &plan).run().unwrap();
        assert!(fitted.best > 0.95, "{task:?}: {}", fitted.best);
        assert!((learner.measure().unwrap() - fitted.best).abs() < 1e-9);
    }
}

/// Would catch: weights that count in one half of a batch alone, a rare label that still is never said.
#[test]
fn a_rare_label_is_found_where_it_counts_more() {
    // Token 12 stands in 9 texts of the first label and in 3 of the second, 13 in texts of the first label alone.
    let kinds = (0..36).map(|i| {
        if i < 9 {
            (12, 0)
        } else if i < 12 {
            (12, 1)
        } else {
            (13, 0)
        }
    });
    let one = |(i, (token, label)): (u32, (u32, u32))| Example {
        ids: vec![1, 3 + i % 8, token, 2],
        types: vec![],
        target: Target::Label(label),
    };
    let examples: Vec<Example> = (0..36).zip(kinds).map(one).collect();
    let names = ["common".to_owned(), "rare".to_owned()];
    let weights = ClassWeights::new(&Wanted::Balanced, &names, &[33, 3]).unwrap();
    let recall = |weights| {
        let network = drawn_with(Task::Label, 2, &Tuning { tables: true, ..Tuning::default() });
        let learner = Learner { class_weights: weights, ..learner(&network, &examples, &names) };
        let plan = Plan { epochs: 30, rate: 1e-2, batch: 36, checks: 1, ..Plan::default() };
        Fit::new(&learner, &plan).run().unwrap();
        let rows = logits(&network, &examples).unwrap();
        rows[9..12].iter().filter(|row| row[1] > row[0]).count()
    };
    assert_eq!((recall(None), recall(Some(&weights))), (0, 3));
}

/// Would catch: weights without numbers that are handed on as the best, since nothing but the last measurement saw them.
#[test]
fn a_rate_that_is_far_too_high_ends_the_run() {
    let examples = set(Task::Label);
    for (epochs, of) in [(3, [Of::Loss, Of::Gradient]), (1, [Of::Measure; 2])] {
        let network = drawn_with(Task::Label, 2, &Tuning { tables: true, ..Tuning::default() });
        let plan = Plan { epochs, rate: 1e30, batch: 24, checks: 1, ..Plan::default() };
        let error = Fit::new(&learner(&network, &examples, &[]), &plan).run().unwrap_err();
        let told = error.downcast_ref::<Diverged>().unwrap();
        assert!(of.contains(&told.of) || told.of == Of::Measure, "{told}");
        assert_eq!(told.rate, 1e30);
    }
}

/// Would catch: a moment, a draw, an order or a best weight that does not outlive the process; a run that goes on with other data.
#[test]
fn a_run_that_is_cut_off_goes_on_to_the_same_weights() {
    goes_on(Task::Tag, 3);
    goes_on(Task::Score, 1);
}

fn goes_on(task: Task, outputs: usize) {
    let folder = tempfile::tempdir().unwrap();
    let examples = set(task);
    let labels = ["O".to_owned(), "B-x".to_owned(), "B-y".to_owned()];
    let tuning = Tuning { tables: true, dropout: 0.1, ..Tuning::default() };
    let plan = Plan { epochs: 6, rate: 1e-2, batch: 8, checks: 2, ..Plan::default() };
    let fresh = || drawn_with(task, outputs, &tuning);
    let bits = |network: &Network| -> Vec<Vec<f32>> {
        network.parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let whole = fresh();
    let want = Fit::new(&learner(&whole, &examples, &labels), &plan).run().unwrap();
    let of = |learner: &Learner<'_>| {
        let mut keep = Keep::new(folder.path(), learner.fingerprint(&plan).unwrap());
        keep.every = std::time::Duration::ZERO;
        keep
    };
    for cut in [want.steps / 3, want.steps / 2, want.steps - 1] {
        let network = fresh();
        let learner = learner(&network, &examples, &labels);
        let mut die = |record: &Record| match record {
            Record::Step { step, .. } if *step > cut => anyhow::bail!("cut off"),
            _ => Ok(()),
        };
        let died = Fit::new(&learner, &plan).kept(&of(&learner)).observed(&mut die).run();
        assert_eq!(died.unwrap_err().to_string(), "cut off");
    }
    let network = fresh();
    let learner = learner(&network, &examples, &labels);
    let mut seen = Vec::new();
    let mut note = |record: &Record| {
        seen.push(record.clone());
        Ok(())
    };
    let keep = of(&learner);
    let got = Fit::new(&learner, &plan).kept(&keep).observed(&mut note).run().unwrap();
    assert_eq!(bits(&network), bits(&whole));
    assert_eq!((got.steps, got.tokens, got.last_loss, got.best), (want.steps, want.tokens, want.last_loss, want.best));
    assert_eq!((&seen, seen.len()), (&got.records, want.records.len()));
    let others = &examples[1..].to_vec();
    let other = Learner { train: others, blank: None, ..learner };
    let refused = Fit::new(&other, &plan).kept(&of(&other)).run().unwrap_err().to_string();
    assert!(refused.contains("other data"), "{refused}");
    keep.remove().unwrap();
    assert!(!Keep::folder(folder.path()).exists());
}
